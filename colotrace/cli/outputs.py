"""The files that attach was told to write: a recording, or one a VM in a partitioned directory; and the armed file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from colotrace.cli.armed import ArmedFile
from colotrace.errors import OutputError
from colotrace.recording.writing import Writer, open_writer, partition_path


class Outputs:
    """Made sure of before anything is armed. `output` is a file, or a directory: it is there, or ends with /.

    Raises OutputError.
    """

    def __init__(self, output: str | None, armed_file: str | None) -> None:
        self.armed = ArmedFile(armed_file)
        self._directory: str | None = None
        self._whole: Writer | None = None
        self._by_pid: dict[int, Writer] = {}
        if output and (output.endswith("/") or os.path.isdir(output)):
            self._directory = output
            _make(output)
            import colotrace.recording.parquet  # noqa: F401 (later on, it might not be readable any more)
        elif output:
            self._whole = open_writer(output)

    @property
    def recording(self) -> bool:
        """Whether a recording is asked for."""
        return self._whole is not None or self._directory is not None

    def begin(self, headers: Sequence[Mapping[str, Any]]) -> None:
        """Takes the lines `attached`, one a target. Raises OutputError."""
        for header in headers:
            if self._directory is not None:
                self._by_pid[header["pid"]] = open_writer(partition_path(self._directory, header))
            self.write(header)

    def write(self, line: Mapping[str, Any]) -> None:
        """Writes a line where it belongs; in a directory, one of no process to all VMs' files. Raises OutputError."""
        if self._whole is not None:
            self._whole.write(line)
        elif line.get("pid") in self._by_pid:
            self._by_pid[line["pid"]].write(line)
        else:
            for writer in self._by_pid.values():
                writer.write(line)

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *_exception: object) -> None:
        for writer in (*([self._whole] if self._whole else []), *self._by_pid.values()):
            writer.close()


def _make(directory: str) -> None:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {directory}: {error.strerror}", "Choose another --output.") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {directory}", "Choose another --output.")
