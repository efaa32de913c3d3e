"""Recordings as Parquet: checkpoints are its rows, all other lines are in its key-value metadata.

A Parquet file can be read once its footer is written. So each row group is appended together with a new footer of the
whole file, in one write(2): whatever was there stays readable if the tracer is killed (row groups are found by absolute
offsets, and what lies between them is nobody's). Footers cost bytes, so row groups are large, and what has not yet
filled one is in a journal of JSON lines beside the file, FILE.journal, a line per write(2); it goes when the run ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colotrace.errors import InputError
from colotrace.newfile import open_private
from colotrace.recording.header import check_version
from colotrace.recording.jsonl import Problems, parse_lines
from colotrace.recording.lines import LineFile, write_whole
from colotrace.recording.schema import SCHEMA_VERSION, Row, compact, to_row
from colotrace.recording.table import SCHEMA, ParquetPart, RowStore, TablePart, metadata_of, open_parquet, to_batch

GROUP_ROWS = 1 << 16
_PACKED_ROWS = 1024
LINES, VERSION = b"colotrace.lines", b"colotrace.schema_version"
_JOURNAL_TYPE = "journal"
_ZEROS = memoryview(bytes(1 << 20))


def journal_path(path: str) -> str:
    """Where the journal of a recording is while it is written."""
    return f"{path}.journal"


class ParquetWriter:
    """Writes a Parquet recording. Raises OutputError as LineFile does."""

    def __init__(self, path: str, group_rows: int = GROUP_ROWS) -> None:
        self._path, self._group_rows = path, group_rows
        self._fd = open_private(path, "--output", empty=True)
        self._rows: list[Row] = []
        self._batches: list[pa.RecordBatch] = []
        self._packed = self._written = 0
        self._lines: list[dict[str, Any]] = []
        self._footer_lines = 0
        self._groups: list[Any] = []
        try:
            self._journal = LineFile(journal_path(path))
        except BaseException:
            os.close(self._fd)
            raise
        self._append(None)

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line: to the journal at once, to the file with the next row group."""
        if line["type"] == "checkpoint":
            row = to_row(line)
            self._journal.write(line)
            self._rows.append(row)
            if len(self._rows) >= _PACKED_ROWS:
                self._pack()
        else:
            self._journal.write(line)
            self._lines.append({"after_row": self._written + self._packed + len(self._rows), **line})
        if self._packed >= self._group_rows:
            self._append(pa.Table.from_batches(self._batches, SCHEMA))

    def close(self) -> None:
        """Writes what is left and removes the journal."""
        self._pack()
        if self._batches or len(self._lines) > self._footer_lines:
            self._append(pa.Table.from_batches(self._batches, SCHEMA) if self._batches else None)
        self._journal.close()
        os.close(self._fd)
        with contextlib.suppress(OSError):  # not ours to remove any more: it is empty but for its first line
            os.unlink(journal_path(self._path))

    def _pack(self) -> None:
        if self._rows:
            self._batches.append(to_batch(self._rows))
            self._packed += len(self._rows)
            self._rows = []

    def _append(self, table: pa.Table | None) -> None:
        """Appends a row group, if any, and a footer; then the journal begins anew."""
        at = os.fstat(self._fd).st_size
        group = b""
        if table is not None:
            group, metadata = _row_group(table, at)
            self._groups.append(metadata)
            self._written += table.num_rows
            self._batches, self._packed = [], 0
        footer = _footer(self._groups, self._lines)
        write_whole(self._fd, group + (footer[4:] if at else footer), self._path)
        self._footer_lines = len(self._lines)
        self._journal.empty()
        self._journal.write({"type": _JOURNAL_TYPE, "after_rows": self._written, "after_lines": self._footer_lines})


def _row_group(table: pa.Table, at: int) -> tuple[bytes, Any]:
    """The bytes of a row group that is to lie at an offset of a file, and its metadata."""
    sink, metadata = _Sink(), []  # type: ignore[var-annotated]
    stream = pa.PythonFile(sink, mode="w")
    writer = pq.ParquetWriter(stream, SCHEMA, metadata_collector=metadata, compression="zstd")
    while (left := at - stream.tell()) > 0:  # offsets in the metadata are those of the stream
        stream.write(_ZEROS[:left])
    sink.keeps = True
    writer.write_table(table, row_group_size=table.num_rows)
    sink.keeps = False
    writer.close()
    return b"".join(sink.parts), metadata[0]


class _Sink(io.RawIOBase):
    """Keeps what is written to it when told to, and lets the rest go."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self.keeps = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.keeps:
            self.parts.append(bytes(data))
        return len(data)


def _footer(groups: list[Any], lines: list[dict[str, Any]]) -> bytes:
    """A Parquet file's beginning and end, with these row groups in between."""
    described = {LINES: compact(lines), VERSION: str(SCHEMA_VERSION)}
    empty = pa.BufferOutputStream()
    pq.ParquetWriter(empty, SCHEMA.with_metadata(described)).close()
    metadata = pq.read_metadata(pa.BufferReader(empty.getvalue()))
    for group in groups:
        metadata.append_row_groups(group)
    whole = pa.BufferOutputStream()
    metadata.write_metadata_file(whole)
    data: bytes = whole.getvalue().to_pybytes()
    return data


def read_parquet(path: str, problems: Problems) -> tuple[list[ParquetPart | TablePart], list[dict[str, Any]]]:
    """A Parquet recording's rows, and its other lines with `after_row` each. Raises OSError, InputError."""
    try:
        file, behind = open_parquet(path)
    except (ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} is no whole Parquet file: {error}", "Was it copied to its end?") from error
    lacking = [name for name in ("role", "pid", "sequence", "outcome") if name not in file.schema_arrow.names]
    if lacking:
        raise InputError(f"{path} is no recording of colotrace: it has no column {', '.join(lacking)}")
    lines = _lines_in(file, path)
    if behind:
        problems.add("the last write was cut off; it is in the journal, if that was kept", f"{behind:,} bytes")
    parts: list[ParquetPart | TablePart] = [ParquetPart(file)]
    if os.path.exists(journal_path(path)):
        rest = RowStore()
        for line in _journal(path, parts[0].rows, len(lines), problems):
            if line["type"] != "checkpoint":
                lines.append({"after_row": parts[0].rows + rest.rows, **line})
                continue
            try:
                rest.add(to_row(line))
            except ValueError as error:
                problems.add(f"a checkpoint that cannot be one ({error})", "in the journal")
        if rest.rows:
            problems.add("the tracer did not end by itself; its last records come from its journal", f"{rest.rows:,}")
            parts.append(rest.finish())
    return parts, lines


def _lines_in(file: pq.ParquetFile, path: str) -> list[dict[str, Any]]:
    described = metadata_of(file)
    try:
        check_version({"schema_version": int(described.get(VERSION, b"1"))})
        lines = json.loads(described.get(LINES, b"[]"))
        if not all(isinstance(line, dict) and isinstance(line.get("type"), str) for line in lines):
            raise ValueError
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} has metadata of colotrace that cannot be read") from error
    return list(lines)


def _journal(path: str, rows: int, lines: int, problems: Problems) -> Iterator[Mapping[str, Any]]:
    """The lines of a journal that are not in the file yet."""
    skip = {True: 0, False: 0}  # by whether it is a checkpoint
    with open(journal_path(path), "rb") as opened:
        found = Problems()
        for line in parse_lines(opened, found):
            if line["type"] == _JOURNAL_TYPE:
                skip = {True: rows - int(line["after_rows"]), False: lines - int(line["after_lines"])}
                continue
            is_row = line["type"] == "checkpoint"
            if skip[is_row] > 0:
                skip[is_row] -= 1
            else:
                yield line
        for sentence in found.sentences():
            problems.add(sentence, "in the journal")
