"""From one format of recording to another, losing nothing: every line of the one is a line of the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from colotrace.errors import OutputError
from colotrace.recording.header import Header
from colotrace.recording.run import Run
from colotrace.recording.writing import Writer, open_writer, partition_path

Progress = Callable[[int], None]
_TOLD_ROWS = 10_000


def convert(run: Run, path: str, progress: Progress = lambda _rows: None) -> None:
    """Writes a run to a file of the format that its name asks for; `progress` is told of checkpoints written so far.

    Raises OutputError, also where the file would overwrite what is being read.
    """
    _check_other(run, path)
    writer = open_writer(path)
    try:
        _copy(run.all_lines(), lambda _line: [writer], progress)
    finally:
        writer.close()


def partition(run: Run, directory: str, suffix: str = ".parquet", progress: Progress = lambda _rows: None) -> list[str]:
    """Writes each of a run's targets to its place in a directory partitioned by host and VM; the files' paths.

    Lines of no process go to all of them. Raises OutputError.
    """
    pids = list(run.headers) or sorted({pid for batch in run.batches("pid") for pid in batch.column(0).to_pylist()})
    paths = {pid: partition_path(directory, _header_line(run.header(pid)), suffix) for pid in pids}
    for path in paths.values():
        _check_other(run, path)
    writers: dict[int, Writer] = {}
    try:
        for pid, path in paths.items():
            writers[pid] = open_writer(path)

        def of(line: dict[str, Any]) -> list[Writer]:
            own = writers.get(line.get("pid", -1))
            return [own] if own else list(writers.values())

        _copy(run.all_lines(), of, progress)
    finally:
        for writer in writers.values():
            writer.close()
    return list(paths.values())


def _copy(
    lines: Iterator[dict[str, Any]], writers: Callable[[dict[str, Any]], list[Writer]], progress: Progress
) -> None:
    rows = 0
    for line in lines:
        for writer in writers(line):
            writer.write(line)
        rows += line["type"] == "checkpoint"
        if rows % _TOLD_ROWS == 0:
            progress(rows)
    progress(rows)


def _header_line(header: Header) -> dict[str, Any]:
    return dict(header.raw) or {"pid": header.pid}


def _check_other(run: Run, path: str) -> None:
    if os.path.exists(path) and os.path.samefile(path, run.path):
        raise OutputError(f"{path} is what is being read", "Choose another name for the result.")
