"""Recordings as CSV (RFC 4180): a row a line, checkpoints in columns, every other line as JSON in the last column.

Cells that a spreadsheet would take for a formula begin with an apostrophe, which reading takes away again.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from colotrace.errors import InputError
from colotrace.recording.jsonl import Problems
from colotrace.recording.lines import LineFile
from colotrace.recording.schema import COLUMNS, INTEGER, NAMES, SCHEMA_VERSION, compact, from_row, to_row

_FIELDS = ("type", *NAMES, "line")
_INTEGERS = frozenset(column.name for column in COLUMNS if column.kind == INTEGER)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_LARGEST_CELL = 1 << 24


class CsvWriter:
    """Each row is in the file once write() has returned. Raises OutputError as LineFile does."""

    def __init__(self, path: str) -> None:
        self._file = LineFile(path)
        self._text = io.StringIO()
        self._csv = csv.writer(self._text)  # it ends rows with CR LF, and so quotes both in cells
        self._put(_FIELDS)

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line. Raises ValueError for a checkpoint that cannot be a row."""
        if line["type"] == "checkpoint":
            row = to_row(line)
            self._put(["checkpoint", *(_cell(row[name]) for name in NAMES), ""])
        else:
            self._put([_cell(line["type"]), *("" for _ in NAMES), _cell(compact(line))])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _put(self, cells: Any) -> None:
        self._text.seek(0)
        self._text.truncate()
        self._csv.writerow(cells)
        self._file.write_line(self._text.getvalue().removesuffix("\n"))


def read_csv(path: str, problems: Problems) -> Iterator[Mapping[str, Any]]:
    """The lines in a CSV file, in order; what is none is told to `problems`. Raises OSError, InputError."""
    csv.field_size_limit(_LARGEST_CELL)
    with open(path, "rb") as raw:
        torn = _is_torn(raw)
        rows = csv.reader(io.TextIOWrapper(raw, "utf-8", "replace", newline=""))
        names = next(rows, None)
        if names is None or names[:1] != ["type"]:
            raise InputError(f"{path} is no recording of colotrace", "Its first row would begin with `type`.")
        unknown = [name for name in names if name not in _FIELDS]
        if unknown:
            raise InputError(
                f"{path} has columns that schema version {SCHEMA_VERSION} has not: {', '.join(unknown)}",
                "Was it made by a newer colotrace?",
            )
        while True:
            try:
                cells = next(rows, None)
            except csv.Error as error:
                problems.add(f"no CSV ({error}); nothing behind it was read", f"line {rows.line_num}")
                return
            if cells is None:
                break
            where = f"line {rows.line_num}"
            try:
                if len(cells) != len(names):
                    raise ValueError
                line = _line(dict(zip(names, cells, strict=True)))
            except (ValueError, RecursionError):
                problems.add("no row of a recording", where)
                continue
            yield line
        if torn:
            problems.add("the end is cut off in the middle of a line", f"line {rows.line_num}")


def _line(cells: dict[str, str]) -> dict[str, Any]:
    if cells["type"] != "checkpoint":
        line = json.loads(_text(cells.get("line", "")) or "")
        if not isinstance(line, dict) or not isinstance(line.get("type"), str):
            raise ValueError
        return line
    row: dict[str, Any] = {}
    for name in NAMES:
        cell = cells.get(name, "")
        row[name] = None if cell == "" else int(cell) if name in _INTEGERS else _text(cell)
    return from_row(row)


def _cell(value: int | str | None) -> str:
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and (not text or text.startswith(_FORMULA)) else text


def _text(cell: str) -> str:
    return cell.removeprefix("'")


def _is_torn(raw: io.BufferedReader) -> bool:
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(size - 1, 0))
    last = raw.read(1)
    raw.seek(0)
    return last not in (b"", b"\n")
