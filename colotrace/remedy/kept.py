"""What was there before a remedy, for --revert: $XDG_STATE_HOME/colotrace/remedies, a file (0600) for each remedy
and process.

It is written before anything is changed, so that a killed run leaves nothing that cannot be taken back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colotrace.cachedir import new_file, private_directory, read_file, state_root
from colotrace.errors import OutputError
from colotrace.target.process import Process

_LARGEST_BYTES = 1 << 16


class Kept:
    """One remedy's file for one process, by pid, start time and boot. Holds a lock while the `open_kept` block runs."""

    def __init__(self, directory: int, remedy: str, process: Process) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        self._directory = directory
        self._name = f"{remedy}-{process.pid}-{process.identity.start_ticks}-{boot}.json"

    def read(self) -> dict[str, Any] | None:
        """`setting` (as_json() of it), the `value` that it had and what was `applied`; None if nothing is kept."""
        data = read_file(self._directory, self._name, _LARGEST_BYTES)
        try:
            record = json.loads(data) if data is not None else None
        except ValueError:
            return None
        return record if isinstance(record, dict) and {"setting", "value"} <= record.keys() else None

    def write(self, setting: dict[str, Any], value: int, applied: int | None) -> None:
        """Keeps it. Raises OutputError: then nothing may be changed."""
        try:
            with new_file(self._directory, self._name) as file:
                os.write(file, json.dumps({"setting": setting, "value": value, "applied": applied}).encode())
                os.fsync(file)
        except OSError as error:
            raise OutputError(f"cannot keep what was there before: {error.strerror or error}") from error

    def forget(self) -> None:
        """Removes the file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._directory)


@contextlib.contextmanager
def open_kept(remedy: str, process: Process) -> Iterator[Kept]:
    """Raises OutputError if there is no directory of ours alone to keep it in."""
    with private_directory(state_root(), "remedies") as directory:
        if directory is None:
            raise OutputError(
                "there is no safe directory to keep what was there before",
                "Set XDG_STATE_HOME, or HOME, to a directory of this user's own.",
            )
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield Kept(directory, remedy, process)
