"""How a time changes over a run: bins of consecutive checkpoints, a drift, and a step, each with its evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from colotrace.analysis.statistics import Integers, needed, rank

Floats = npt.NDArray[np.float64]

MOST_BINS = 120
COARSE_BINS = 10
LEAST_IN_BIN = 5
"""Checkpoints in a bin: fewer make its median an accident."""
LEAST_BINS = 8
"""Bins that a drift or a step is looked for in."""
CONFIDENCE = 0.95
STEP_CONFIDENCE = 0.99
HOUR_NS = 3_600_000_000_000
_GAP = 0.05
"""The part of the whole time without a checkpoint at which bins are cut."""


@dataclass(frozen=True)
class Bin:
    """Consecutive checkpoints: `begin_ns` and `end_ns` are when the first and the last of them began, `n` how many.

    Times are by Trend.clock. `median_ns`, `p99_ns` (None below 100 checkpoints) and `max_ns`
    are of the pause (Trend.of). `mean_ns` has each row's mean, so that the parts of the total can be stacked.
    """

    begin_ns: int
    end_ns: int
    n: int
    median_ns: int
    p99_ns: int | None
    max_ns: int
    mean_ns: Mapping[str, int | None] = field(default_factory=dict)
    median_by_row_ns: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """A slope over time: Theil-Sen's, the median of the slopes between all pairs of bins' medians.

    In nanoseconds per hour, with the confidence interval that Kendall's tau gives (Sen 1968), widened for bins that
    are correlated with their neighbours (Hamed and Rao 1998). `evidence` is whether the interval excludes 0; its ends
    are None where the bins hang together so much that they bound nothing.
    """

    per_hour_ns: float
    low_ns: float | None
    high_ns: float | None
    confidence: float
    evidence: bool


@dataclass(frozen=True)
class Step:
    """One change of level (Pettitt 1979): the median levels before and after `when_ns` (by Trend.clock)."""

    when_ns: int
    before_ns: int
    after_ns: int


@dataclass(frozen=True)
class Trend:
    """What changed over time. `of` is the row that bins' medians are of (`pause`, or `total` where no pause is known).

    `clock` is what moments are by: CLOCK_REALTIME, nanoseconds since 1970 (UTC), or CLOCK_MONOTONIC where the recording
    does not tell how to turn one into the other. `bins` are for pictures, the few `coarse` ones for a table.
    `drift` and `step` are of that row, `drift_by_row` of every other; the latter's intervals are each so wide that all
    of them hold together with CONFIDENCE (Bonferroni). `step` is None if there is no evidence for one (99 %), or if a
    steady drift fits the bins better. `missing` gives the reason for a drift that is None.
    """

    of: str
    bins: tuple[Bin, ...]
    drift: Drift | None
    step: Step | None
    coarse: tuple[Bin, ...] = ()
    clock: str = "CLOCK_REALTIME"
    drift_by_row: Mapping[str, Drift] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def edges_of(when_ns: Integers, most: int = MOST_BINS) -> list[int]:
    """Where bins begin among ascending times, and where the last one ends.

    Bins have equally many checkpoints, so that their medians are equally good, except that a gap of a twentieth of the
    whole time (a pause between two runs, say) is always between two bins. There are no more bins than checkpoints in
    one: a bin should outlast what makes neighbouring checkpoints alike.
    """
    n = int(when_ns.size)
    if not n:
        return [0]
    gaps = np.diff(when_ns)
    span = int(when_ns[-1] - when_ns[0])
    cuts = np.flatnonzero(gaps > span * _GAP) + 1 if n > LEAST_IN_BIN * 4 else np.empty(0, np.int64)
    wanted = min(most, math.isqrt(n))
    starts = [0, *(int(cut) for cut in cuts), n]
    edges = [0]
    for start, end in pairwise(starts):
        count = end - start
        bins = max(1, min(count // LEAST_IN_BIN, round(wanted * count / n)))
        edges += [start + count * (i + 1) // bins for i in range(bins)]
    return edges


def medians(values: Integers, edges: Sequence[int]) -> list[int | None]:
    """The median (nearest rank) of each bin; None for an empty one."""
    found: list[int | None] = []
    for start, end in pairwise(edges):
        part = values[start:end]
        found.append(int(np.partition(part, rank(part.size, 500))[rank(part.size, 500)]) if part.size else None)
    return found


def means(values: Integers, edges: Sequence[int]) -> list[int | None]:
    """The mean of each bin, to the nanosecond; None for an empty one."""
    return [
        round(float(values[start:end].mean())) if end > start else None
        for start, end in pairwise(edges)
    ]


def p99_and_max(values: Integers) -> tuple[int | None, int]:
    """A bin's p99, if it has enough values for one, and its maximum."""
    n = int(values.size)
    p99 = int(np.partition(values, rank(n, 990))[rank(n, 990)]) if n >= needed(990) else None
    return p99, int(values.max())


def drift_of(when_ns: Floats, level_ns: Floats, confidence: float = CONFIDENCE) -> Drift | None:
    """The drift of bins' levels; None with fewer than LEAST_BINS bins, or if all are at one time."""
    n = level_ns.size
    if n < LEAST_BINS:
        return None
    first, second = np.triu_indices(n, 1)
    apart = when_ns[second] - when_ns[first]
    slopes = np.sort((level_ns[second] - level_ns[first])[apart > 0] / apart[apart > 0])
    if not slopes.size:
        return None
    slope = float(np.median(slopes))
    variance = n * (n - 1) * (2 * n + 5) / 18 * _inflation(level_ns - slope * when_ns)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    if reach >= slopes.size:  # not even the steepest slopes bound it
        return Drift(slope * HOUR_NS, None, None, confidence, False)
    low = float(slopes[max(0, math.floor((slopes.size - reach) / 2))]) * HOUR_NS
    high = float(slopes[min(slopes.size - 1, math.ceil((slopes.size + reach) / 2))]) * HOUR_NS
    return Drift(slope * HOUR_NS, low, high, confidence, low > 0 or high < 0)


def step_of(when_ns: Integers, level_ns: Floats) -> Step | None:
    """The change of level that Pettitt's test finds; None without evidence, or if a steady drift fits better."""
    n = level_ns.size
    if n < LEAST_BINS:
        return None
    order = np.argsort(np.argsort(level_ns, kind="stable")) + 1
    _, groups, sizes = np.unique(level_ns, return_inverse=True, return_counts=True)
    ranks = (np.bincount(groups, order) / sizes)[groups]  # equal levels share their mean rank
    statistic = np.abs(2 * np.cumsum(ranks)[:-1] - np.arange(1, n) * (n + 1))
    at = int(statistic.argmax()) + 1
    before, after = level_ns[:at], level_ns[at:]
    residuals = np.concatenate([before - np.median(before), after - np.median(after)])
    chance = 2 * math.exp(-6 * float(statistic.max()) ** 2 / ((n**3 + n**2) * _inflation(residuals)))
    if chance > 1 - STEP_CONFIDENCE:
        return None
    line = drift_of(when_ns.astype(np.float64) - float(when_ns[0]), level_ns)
    if line is not None:
        slanted = level_ns - line.per_hour_ns / HOUR_NS * (when_ns - when_ns[0])
        if np.abs(slanted - np.median(slanted)).sum() <= np.abs(residuals).sum():
            return None
    return Step(int(when_ns[at]), int(np.median(before)), int(np.median(after)))


def _inflation(residuals: Floats) -> float:
    """By how much autocorrelation widens Kendall's variance: Hamed and Rao's factor, from ranks; never below 1."""
    n = residuals.size
    ranks = np.argsort(np.argsort(residuals)).astype(float)
    ranks -= ranks.mean()
    power = float(ranks @ ranks)
    if not power or not np.ptp(residuals):
        return 1.0
    bound = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) / math.sqrt(n)
    total = 0.0
    for lag in range(1, n - 2):
        correlation = float(ranks[lag:] @ ranks[:-lag]) / power
        if abs(correlation) > bound:
            total += (n - lag) * (n - lag - 1) * (n - lag - 2) * correlation
    return max(1.0, 1 + 2 / (n * (n - 1) * (n - 2)) * total)
