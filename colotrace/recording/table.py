"""A recording's columns as Arrow: the schema, batches of rows, and rows kept out of memory when there are many."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colotrace.recording.schema import COLUMNS, INTEGER, NAMES, WORDS, Row

Wanted = Callable[[int, int], bool]
"""Whether any of the rows begin..end-1 is of use."""

BATCH_ROWS = 4096
MOST_IN_MEMORY = 1 << 18
"""Rows; more of them go to a file in $TMPDIR that has no name and goes with the process."""

_TYPES = {INTEGER: pa.int64(), WORDS: pa.dictionary(pa.int32(), pa.string())}
SCHEMA = pa.schema(
    [
        pa.field(c.name, _TYPES.get(c.kind, pa.string()), nullable=not c.required, metadata={"title": c.title})
        for c in COLUMNS
    ]
)
"""The schema of a Parquet recording."""


def to_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as a record batch of SCHEMA."""
    arrays = [pa.array([row[name] for row in rows], type=SCHEMA.field(name).type) for name in NAMES]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def to_rows(batch: Any) -> list[Row]:
    """The rows of a record batch or table, columns that it has not as null."""
    columns = {name: batch.column(name).to_pylist() for name in NAMES if name in batch.schema.names}
    return [{name: columns[name][at] if name in columns else None for name in NAMES} for at in range(batch.num_rows)]


class RowStore:
    """Rows in the order in which they were added; read as often as needed, by column."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: list[Row] = []
        self._batches: list[pa.RecordBatch] = []
        self._spilled: pq.ParquetWriter | None = None
        self._file: Any = None
        self.rows = 0
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Appends a row."""
        self.rows += 1
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._pack()

    def finish(self) -> ParquetPart | TablePart:
        """All rows, to be read; no more can be added."""
        self._pack()
        if self._spilled is None:
            return TablePart(pa.Table.from_batches(self._batches, SCHEMA))
        self._spill()
        self._spilled.close()
        return ParquetPart(pq.ParquetFile(self._file))

    def _pack(self) -> None:
        if self._rows:
            self._batches.append(to_batch(self._rows))
            self._rows = []
        if sum(batch.num_rows for batch in self._batches) >= MOST_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._spilled is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as what reads it)
            self._spilled = pq.ParquetWriter(self._file, SCHEMA)
        if self._batches:
            self._spilled.write_table(pa.Table.from_batches(self._batches, SCHEMA))
        self._batches = []


class TablePart:
    """Rows in memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.rows = table.num_rows

    def pieces(self, names: Sequence[str], wanted: Wanted) -> Iterator[tuple[int, pa.RecordBatch]]:
        """These columns, a piece at a time with the place of its first row."""
        begin = 0
        for batch in self._table.select(names).to_batches():
            yield begin, batch
            begin += batch.num_rows

    def take(self, positions: Sequence[int]) -> list[Row]:
        """Whole rows by their positions, which ascend."""
        return to_rows(self._table.take(list(positions)))


class ParquetPart:
    """Rows in a Parquet file."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.rows = file.metadata.num_rows
        self._has = set(file.schema_arrow.names)

    def pieces(self, names: Sequence[str], wanted: Wanted) -> Iterator[tuple[int, pa.RecordBatch]]:
        """These columns, a row group at a time with the place of its first row; those that the file has not are null.

        Row groups that are not wanted are not read.
        """
        there = [name for name in names if name in self._has]
        begin = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if wanted(begin, begin + rows):
                table = self._file.read_row_group(group, columns=there or ["pid"], use_threads=True)
                arrays = [_column(table, name, rows) for name in names]
                at = begin
                for batch in pa.Table.from_arrays(arrays, names=list(names)).combine_chunks().to_batches():
                    yield at, batch
                    at += batch.num_rows
            begin += rows

    def take(self, positions: Sequence[int]) -> list[Row]:
        """Whole rows by their positions, which ascend."""
        found: list[Row] = []
        begin, at = 0, 0
        for group in range(self._file.num_row_groups):
            end = begin + self._file.metadata.row_group(group).num_rows
            here = []
            while at < len(positions) and positions[at] < end:
                here.append(positions[at] - begin)
                at += 1
            if here:
                found += to_rows(self._file.read_row_group(group).take(here))
            begin = end
        return found


def _column(table: pa.Table, name: str, rows: int) -> Any:
    kind = SCHEMA.field(name).type
    if name not in table.schema.names:
        return pa.nulls(rows, kind)
    column = table.column(name)
    return column if column.type == kind else column.cast(kind)


def open_parquet(path: str) -> tuple[pq.ParquetFile, int]:
    """A Parquet file up to its last whole footer, and how many bytes lie behind that (0 unless a write was cut off).

    Raises ValueError if it has none, OSError.
    """
    if os.path.getsize(path) < 12:
        raise ValueError("too short for a Parquet file")
    buffer = pa.memory_map(path).read_buffer()
    view = memoryview(buffer)
    if bytes(view[:4]) != b"PAR1":
        raise ValueError("no Parquet file")
    end = len(view)
    while end >= 12:
        if bytes(view[end - 4 : end]) == b"PAR1":
            try:
                if end == len(view):  # pages of a mapping would stay in memory until others need it
                    return pq.ParquetFile(path), 0
                return pq.ParquetFile(pa.BufferReader(buffer.slice(0, end))), len(view) - end
            except (pa.ArrowException, OSError):
                pass
        end = _previous_magic(view, end - 1)
    raise ValueError("it has no whole footer")


def _previous_magic(view: memoryview, before: int) -> int:
    """Where the last PAR1 that ends at or before `before` ends; 0 if there is none."""
    step = 1 << 20
    while before >= 4:
        start = max(before - step, 0)
        found = bytes(view[start:before]).rfind(b"PAR1")
        if found >= 0:
            return start + found + 4
        before = start + 3 if start else 0
    return 0


def metadata_of(file: pq.ParquetFile) -> Mapping[bytes, bytes]:
    """The file's key-value metadata."""
    return file.metadata.metadata or {}
