"""A recording's writer by its file's name, and where a partitioned recording goes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from colotrace.errors import OutputError
from colotrace.recording.schema import compact

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}
_NOBODY = "__HIVE_DEFAULT_PARTITION__"
_PLAIN = " !$&()+,-.;<>@_`|~"
"""What Hive, Spark and DuckDB leave as it is in a partition's directory, besides letters and digits."""


class Writer(Protocol):
    """Takes a recording's lines in order. Raises OutputError if they cannot be written."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line."""

    def close(self) -> None:
        """Makes the file whole."""


def format_of(path: str) -> str:
    """The format that a file's name asks for: parquet, csv, else jsonl."""
    return FORMATS.get(os.path.splitext(path)[1].lower(), "jsonl")


def open_writer(path: str) -> Writer:
    """A writer of the format that the file's name asks for. Raises OutputError."""
    kind = format_of(path)
    if kind == "parquet":
        from colotrace.recording.parquet import ParquetWriter

        return ParquetWriter(path)
    if kind == "csv":
        from colotrace.recording.csvfile import CsvWriter

        return CsvWriter(path)
    from colotrace.recording.jsonl import JsonlWriter

    return JsonlWriter(path)


def partition_path(directory: str, header: Mapping[str, Any], suffix: str = ".parquet") -> str:
    """Where a target's recording goes in a directory partitioned by host and VM, hive style; makes the directories.

    `header` is its `attached` line. Raises OutputError.
    """
    parts = [f"{key}={_value(header.get(name))}" for key, name in (("host", "host"), ("vm", "name"))]
    folder = os.path.join(directory, *parts)
    started = str(header.get("started") or "unknown").partition(".")[0].replace(":", "")
    run = str(header.get("run") or "")[:8] or hashlib.sha256(compact(header).encode()).hexdigest()[:8]
    name = f"{quote(started, safe='')}-{quote(run, safe='')}-{header.get('pid')}{suffix}"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}", "Choose another directory.") from error
    return os.path.join(folder, name)


def _value(text: object) -> str:
    return quote(text, safe=_PLAIN, errors="replace") if isinstance(text, str) and text else _NOBODY
