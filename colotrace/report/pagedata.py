"""What a page or picture shows of one series, gathered once: counts, distributions, bins over time, chosen checkpoints.

Works at any size: columns are read one at a time, and only the slowest checkpoints and an even sample of the rest become
records. Up to WHOLE checkpoints on a page, all of them do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colotrace.analysis.statistics import Distribution, Histogram, Integers, distribution, histogram
from colotrace.analysis.trend import edges_of, means, medians, p99_and_max
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Role

WHOLE = 20_000
"""So many checkpoints fit one page; of a longer recording it has the slowest, and a sample."""
SLOWEST = 50
MOST_BINS = 240


@dataclass(frozen=True)
class TimeBin:
    """Consecutive checkpoints: when the first and the last began (wall clock, ns since 1970), how many, and their figures.

    `mean_ns` has the parts of the total; `slowest` is the row (among completed ones) with the longest pause.
    """

    begin_ns: int
    end_ns: int
    n: int
    mean_ns: Mapping[str, int | None]
    median_ns: int | None
    p99_ns: int | None
    max_ns: int
    slowest: int


@dataclass(frozen=True)
class SeriesData:
    """One series as pictures need it. `parts` are the phases of the total and `other`; `of` is the row that is ranked.

    `rows` are the completed checkpoints that are here as `records`, ascending; `slowest` those with the longest `of`, the
    longest first.
    """

    series: Any
    parts: tuple[str, ...]
    of: str
    distributions: Mapping[str, Distribution]
    histograms: Mapping[str, Histogram]
    bins: tuple[TimeBin, ...]
    rows: tuple[int, ...]
    records: tuple[Mapping[str, Any], ...]
    slowest: tuple[int, ...]

    @property
    def role(self) -> Role:
        """Whose checkpoints they are."""
        role: Role = self.series.role
        return role

    @property
    def whole(self) -> bool:
        """Whether every completed checkpoint is among the records."""
        return len(self.rows) == int(self.series.counts.completed)

    def excess(self, record: Mapping[str, Any]) -> tuple[str, int] | None:
        """The part that is longest over its own median in this record, and by how much; None if no part is known."""
        known = [
            (int(record[f"{part}_ns"]) - found.p50, part)
            for part in self.parts
            if (found := self.distributions.get(part)) and found.p50 is not None and record.get(f"{part}_ns") is not None
        ]
        if not known:
            return None
        by, part = max(known)
        return part, by


def gather(series: Any, budget: int = WHOLE) -> SeriesData:
    """Reads a series (colotrace.recording.Series), column by column; `budget` bounds the records that are kept."""
    completed = int(series.counts.completed)
    parts = tuple(p.value for p in ROLE_PHASES[series.role] if p not in OUTSIDE_TOTAL) + ("other",)
    distributions, histograms = {}, {}
    for row in ("wait", *parts, "total", "pause"):
        values = series.values(f"{row}_ns")
        if values.size:
            distributions[row] = distribution(values)
            found = histogram(values)
            if found:
                histograms[row] = found
    of = next((row for row in ("pause", "total") if row in distributions and distributions[row].n == completed), "")
    ranked = series.values(f"{of}_ns") if of else np.empty(0, np.int64)
    slowest = _largest(ranked, min(SLOWEST, budget))
    rows = sorted({*slowest, *_evenly(completed, budget if completed <= budget else budget - len(slowest))})
    return SeriesData(
        series,
        parts,
        of,
        distributions,
        histograms,
        _bins(series, parts, ranked),
        tuple(rows),
        tuple(series.records(rows)),
        tuple(slowest),
    )


def _bins(series: Any, parts: Sequence[str], ranked: Integers) -> tuple[TimeBin, ...]:
    when = series.values("begin_ns")
    if not ranked.size or when.size != ranked.size:
        return ()
    when = when + series.wall_offset_ns()
    order = np.argsort(when, kind="stable") if np.any(np.diff(when) < 0) else None
    if order is not None:
        when, ranked = when[order], ranked[order]
    edges = list(range(when.size + 1)) if when.size <= MOST_BINS else edges_of(when, MOST_BINS)
    by_part: dict[str, list[int | None]] = {}
    for part in parts:
        values = series.values(f"{part}_ns")
        if values.size == when.size:
            by_part[part] = means(values if order is None else values[order], edges)
    middles = medians(ranked, edges)
    bins = []
    for i, (start, end) in enumerate(zip(edges, edges[1:], strict=False)):
        p99, most = p99_and_max(ranked[start:end])
        row = start + int(np.argmax(ranked[start:end]))
        bins.append(
            TimeBin(
                int(when[start]),
                int(when[end - 1]),
                end - start,
                {part: found[i] for part, found in by_part.items()},
                middles[i],
                p99,
                most,
                row if order is None else int(order[row]),
            )
        )
    return tuple(bins)


def _largest(values: Integers, count: int) -> list[int]:
    """The indices of the largest values, the largest first, the earlier first among equals."""
    count = min(count, int(values.size))
    if not count:
        return []
    found = np.argpartition(values, values.size - count)[values.size - count :]
    return [int(i) for i in found[np.lexsort((found, -values[found]))]]


def _evenly(total: int, count: int) -> list[int]:
    """`count` indices spread evenly over `total`; all of them if there are no more."""
    if total <= count:
        return list(range(total))
    return [int(i) for i in np.linspace(0, total - 1, max(count, 0)).astype(np.int64)]
