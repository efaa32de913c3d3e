"""What a page or picture shows of one series beyond its report: bars over time, and the checkpoints it carries whole.

Works at any size: a recording of up to WHOLE checkpoints is carried whole; of a longer one the slowest, each bar's
slowest, and an even sample of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from colotrace.analysis.statistics import Integers
from colotrace.analysis.summary import SeriesReport
from colotrace.analysis.trend import Bin, edges_of
from colotrace.recording.schema import BEGIN_WALL

if TYPE_CHECKING:
    from colotrace.recording import Series

WHOLE, PART = 20_000, 5_000
"""A page carries so many checkpoints whole, all series together; and so many if there are more than that."""
SINGLE_BARS = 240
"""Up to so many checkpoints have a bar each."""
_NO_PARTS = ("wait", "total", "pause")


@dataclass(frozen=True)
class Bar:
    """A bin of the trend, or one checkpoint; `slowest` is the row (among completed ones) of its longest pause."""

    bin: Bin
    slowest: int


@dataclass(frozen=True)
class SeriesData:
    """A series' report, its bars, and the completed checkpoints `rows` (ascending) as whole `records`."""

    report: SeriesReport
    bars: tuple[Bar, ...]
    rows: tuple[int, ...]
    records: tuple[Mapping[str, Any], ...]
    times_of_day: bool
    """Whether the bars' times are nanoseconds since 1970, or of CLOCK_MONOTONIC."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The phases of the total, and `other`."""
        return tuple(row.name for row in self.report.rows if row.name not in _NO_PARTS)

    @property
    def whole(self) -> bool:
        """Whether every completed checkpoint is among the records."""
        return len(self.rows) == self.report.outcomes.completed


def gather(report: SeriesReport, series: Series, budget: int = WHOLE) -> SeriesData:
    """Takes from the series what its report does not have; `budget` bounds the records."""
    completed = report.outcomes.completed
    begins, are_wall = _begins(series)
    bars = _bars(report, series, begins) if completed > SINGLE_BARS else ()
    wanted = {one.row_index for one in report.slowest} | {bar.slowest for bar in bars}
    if completed <= budget:
        rows = list(range(completed))
    else:
        spread = np.linspace(0, completed - 1, max(0, budget - len(wanted))).astype(np.int64)
        rows = sorted(wanted | {int(row) for row in spread})
    records = tuple(series.records(rows)) if rows else ()
    if completed <= SINGLE_BARS and len(rows) == completed:
        bars = _single_bars(report, records, begins)
    return SeriesData(report, bars, tuple(rows), records, are_wall)


def _begins(series: Series) -> tuple[Integers, bool]:
    """When the checkpoints began, and whether as times of day: each by the clock of its own run, as in the report."""
    begins, walls = series.values("begin_ns"), series.values(BEGIN_WALL)
    return (walls, True) if walls.size == begins.size else (begins, False)


def _bars(report: SeriesReport, series: Series, begin: Integers) -> tuple[Bar, ...]:
    """The trend's bins, each with its slowest row. Nulls among the times leave no way from a bin to its rows."""
    times = series.values(f"{report.trend.of}_ns")
    if begin.size != times.size:
        return ()
    if bool(np.all(begin[1:] >= begin[:-1])):  # nearly always; spares three copies of a long column
        edges = edges_of(begin)
        found = [start + int(np.argmax(times[start:end])) for start, end in pairwise(edges)]
    else:
        order = np.argsort(begin, kind="stable")
        edges, times = edges_of(begin[order]), times[order]
        found = [int(order[start + int(np.argmax(times[start:end]))]) for start, end in pairwise(edges)]
    bins = report.trend.bins
    return tuple(map(Bar, bins, found)) if len(bins) == len(found) else ()


def _single_bars(report: SeriesReport, records: Sequence[Mapping[str, Any]], begins: Integers) -> tuple[Bar, ...]:
    """A bar for each checkpoint, in the order of time."""
    parts = [row.name for row in report.rows if row.name not in _NO_PARTS]
    bars = []
    whens = iter(begins)
    for row, record in enumerate(records):
        if record["begin_ns"] is None:
            continue
        when, took = int(next(whens)), record[f"{report.trend.of}_ns"]
        if took is None:
            continue
        bars.append(Bar(Bin(when, when, 1, took, None, took, {part: record.get(f"{part}_ns") for part in parts}), row))
    return tuple(sorted(bars, key=lambda bar: bar.bin.begin_ns))
