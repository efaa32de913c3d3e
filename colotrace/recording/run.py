"""One recording file, opened: its headers, its rows by column, and all its other lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from colotrace.errors import InputError
from colotrace.recording.csvfile import read_csv
from colotrace.recording.header import Header, check_version, parse_header, unknown_header
from colotrace.recording.jsonl import Problems, read_jsonl
from colotrace.recording.parquet import read_parquet
from colotrace.recording.schema import NAMES, Row, from_row, to_row
from colotrace.recording.table import ParquetPart, RowStore, TablePart, Wanted, to_rows
from colotrace.recording.writing import format_of

KNOWN_TYPES = frozenset({"attached", "note", "failover", "summary"})


class Run:
    """One attach. `headers` are by pid; `lines` are all lines but checkpoints, each with `after_row`, the number of
    checkpoints before it; `ended` tells whether the tracer summed up; `problems` are sentences for people."""

    def __init__(
        self, path: str, kind: str, parts: Sequence[ParquetPart | TablePart], lines: Sequence[Mapping[str, Any]],
        problems: Sequence[str],
    ) -> None:  # fmt: skip
        self.path, self.format = path, kind
        self.lines = tuple(lines)
        self.rows = sum(part.rows for part in parts)
        self.headers: dict[int, Header] = {}
        self._parts = [part for part in parts if part.rows]
        self.ended = any(line["type"] == "summary" for line in lines)
        found = [*problems]
        for line in lines:
            if line["type"] == "attached":
                try:
                    header = parse_header({name: value for name, value in line.items() if name != "after_row"})
                except ValueError as error:
                    found.append(str(error))
                else:
                    self.headers.setdefault(header.pid, header)
        unknown = sorted({str(line["type"]) for line in lines} - KNOWN_TYPES)
        if unknown:
            found.append(f"lines of a type that this version does not know: {', '.join(unknown)}")
        if not self.headers:
            found.append("no line `attached`: who was recorded, when, and by what plan is unknown")
        if not self.ended:
            found.append("no line `summary`: the tracer did not end by itself, or still runs")
        self.problems = tuple(found)

    @property
    def started(self) -> str:
        """When it began, ISO 8601; empty if unknown."""
        return next((header.started for header in self.headers.values() if header.started), "") or ""

    def header(self, pid: int) -> Header:
        """A target's header; one that knows nothing if the file has none."""
        return self.headers.get(pid) or unknown_header(pid)

    def batches(self, *names: str) -> Iterator[Any]:
        """Record batches of these columns, in the rows' order."""
        for _, batch in self.pieces(names, lambda begin, end: True):
            yield batch

    def pieces(self, names: Sequence[str], wanted: Wanted) -> Iterator[tuple[int, Any]]:
        """The same with the place of each batch's first row, without most batches of which nothing is wanted."""
        first = 0
        for part in self._parts:
            for at, batch in part.pieces(names, _behind(first, wanted)):
                yield first + at, batch
            first += part.rows

    def take(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Whole checkpoints, as their lines, by their positions among the rows; positions ascend."""
        found: list[Row] = []
        begin = 0
        for part in self._parts:
            here = [at - begin for at in positions if begin <= at < begin + part.rows]
            if here:
                found += part.take(here)
            begin += part.rows
        return [from_row(row) for row in found]

    def all_lines(self) -> Iterator[dict[str, Any]]:
        """All lines in their order, checkpoints among them."""
        others = iter(self.lines)
        other = next(others, None)
        rows = itertools.chain.from_iterable(to_rows(batch) for batch in self._whole_batches())
        for at, row in enumerate(rows):
            while other is not None and other["after_row"] <= at:
                yield _bare(other)
                other = next(others, None)
            yield from_row(row)
        while other is not None:
            yield _bare(other)
            other = next(others, None)

    def _whole_batches(self) -> Iterator[Any]:
        for batch in self.batches(*NAMES):
            for start in range(0, batch.num_rows, 4096):
                yield batch.slice(start, 4096)


def open_run(path: str) -> Run:
    """Opens one recording. Raises InputError if it cannot be read, is none, or comes from a newer schema."""
    kind = format_of(path)
    problems = Problems()
    try:
        if kind == "parquet":
            parts, lines = read_parquet(path, problems)
            return Run(path, kind, parts, lines, problems.sentences())
        read = read_csv if kind == "csv" else read_jsonl
        store, others = RowStore(), []
        for line in read(path, problems):
            if line["type"] == "attached":
                check_version(line)  # a newer schema is told at once
            if line["type"] == "checkpoint":
                try:
                    store.add(to_row(line))
                except ValueError as error:
                    problems.add(f"a checkpoint that cannot be one ({error})", f"checkpoint {store.rows + 1}")
            else:
                others.append({"after_row": store.rows, **line})
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no recording of colotrace: {error}") from error
    except InputError as error:
        if path not in error.message:
            raise InputError(f"{path}: {error.message}", error.remedy) from error
        raise
    if not store.rows and not any(line["type"] in KNOWN_TYPES for line in others):
        found = problems.sentences()
        raise InputError(
            f"{path} holds no recording of colotrace" + (f" ({found[0]})" if found else ": it is empty"),
            "colotrace attach --output FILE makes one; .jsonl, .csv and .parquet are read.",
        )
    return Run(path, kind, [store.finish()], others, problems.sentences())


def _behind(first: int, wanted: Wanted) -> Wanted:
    return lambda begin, end: wanted(first + begin, first + end)


def _bare(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "after_row"}
