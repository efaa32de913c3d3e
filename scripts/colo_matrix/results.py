"""What the recordings of a matrix say: the counted checkpoints of a cell, in the seed's columns and as medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colotrace.crosscheck.fields import FIELDS, Kind, is_of_role
from colotrace.errors import InputError
from colotrace.phases import Role
from colotrace.recording import Series, open_recording

from .errors import ManifestError
from .journal import Journal, Run
from .plan import Cell, Conditions

Record = Mapping[str, Any]
Columns = Mapping[str, int | None]


@dataclass(frozen=True)
class Recorded:
    """One role in one recording: its completed checkpoints in order, those of the warm-up included; init once."""

    role: Role
    records: tuple[Record, ...]
    init_ns: int | None
    not_completed: int
    lost: int
    build_id: str


@dataclass(frozen=True)
class Side:
    """One role of a cell over all its runs. What is not known is None, never 0."""

    role: Role
    runs: tuple[Recorded, ...]
    conditions: Conditions

    def counted(self, run: Recorded) -> tuple[Record, ...]:
        """A run's checkpoints after the warm-up. One side may have had one more than asked for: it is left out."""
        begin = self.conditions.warm_up
        return run.records[begin : begin + self.conditions.checkpoints]

    def values(self, column: str) -> list[int]:
        """The column of all counted checkpoints in which it is known."""
        return [one[column] for run in self.runs for one in self.counted(run) if one[column] is not None]

    def medians(self, column: str) -> list[float]:
        """The column's median in each run in which it is known."""
        each = [[one[column] for one in self.counted(run) if one[column] is not None] for run in self.runs]
        return [statistics.median(values) for values in each if values]

    def first(self, column: str) -> list[int]:
        """The column of each run's first checkpoint after COLO began, which belongs to the warm-up."""
        return [run.records[0][column] for run in self.runs if run.records and run.records[0][column] is not None]

    def seed_columns(self) -> dict[str, int | None]:
        """The fourteen numbers of the seed's struct, over all counted checkpoints, truncated as the seed's."""
        return {name: self._field(name) for name in FIELDS}

    def _field(self, name: str) -> int | None:
        field = FIELDS[name]
        if not is_of_role(field, self.role):
            return None
        totals = self.values("total_ns")
        if field.kind is Kind.COUNT:
            return len(totals)
        if field.kind is Kind.SUM:
            return sum(totals)
        if field.kind is Kind.ONCE:
            inits = [run.init_ns for run in self.runs if run.init_ns is not None]
            return _mean(inits)
        return _mean(self.values(column_of(name)))


@dataclass(frozen=True)
class Measured:
    """A cell with its runs that have a recording."""

    cell: Cell
    runs: tuple[Run, ...]
    sides: Mapping[Role, Side]


def column_of(field: str) -> str:
    """The record's column that a field of the seed's averages."""
    special = {"avg_time": "total_ns", "dev_size": "device_bytes", "ram_size": "ram_bytes"}
    return special.get(field, field.removesuffix("_time") + "_ns")


def measure(cells: Iterable[Cell], journal: Journal) -> list[Measured]:
    """Reads the recordings of these cells; cells without one are left out."""
    found = []
    for cell in cells:
        runs = tuple(run for task, run in sorted(journal.runs.items()) if task.cell == cell and journal.is_done(task))
        if not runs:
            continue
        recorded = [one for run in runs for one in read(journal.path(run.task))]
        sides = {
            role: Side(role, tuple(one for one in recorded if one.role is role), journal.conditions) for role in Role
        }
        found.append(Measured(cell, runs, sides))
    return found


def read(path: Path) -> list[Recorded]:
    """The roles in a recording of attach. Raises ManifestError if it is none, or not whole."""
    remedy = "remove it, and scripts/matrix measures that run again"
    try:
        recording = open_recording(path)
    except InputError as error:
        raise ManifestError(error.message, remedy) from error
    problems = [*recording.problems, *(f"{path}: its end is missing" for run in recording.runs if not run.ended)]
    if problems:
        raise ManifestError(" / ".join(problems), remedy)
    return [_recorded(series) for series in recording.series()]


def _recorded(series: Series) -> Recorded:
    counts = series.counts
    inits = [note["init_ns"] for note in series.notes if note["event"] == "init"]
    return Recorded(
        series.role, tuple(series.records(range(counts.completed))), inits[0] if inits else None,
        counts.incomplete + counts.aborted, counts.lost, str(series.build_id),
    )  # fmt: skip


def _mean(values: list[int]) -> int | None:
    return sum(values) // len(values) if values else None
