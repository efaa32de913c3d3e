"""Whether times form two separate modes, and what goes with them.

Times of a phase are skewed and have heavy tails, so only counts are looked at. Two modes are there if there is a valley
between the medians of a faster and a slower part: a stretch that holds far fewer values than one around either median.
A tail has none, for it is densest next to the body; but an even one looks on a logarithmic axis as if it had, and a
skewed one on a linear axis, so the valley must be there on both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

LEAST_PART = 0.1
"""Of the values, in either mode: fewer are outliers."""
_SPLITS = 200
_VALLEY = (0.3, 0.7)
"""The valley, in parts of the way from one median to the other."""
_AROUND = 0.15
"""The stretch around a median, to either side, in the same measure."""
_SHALLOW = 0.25
"""A valley is at most so dense as the stretch around either median."""
_DEVIATIONS = 3.8
"""And by so many standard deviations emptier than if it were as dense: what chance alone makes in 1 of 10,000."""
_BEYOND_CHANCE = 1.95
"""Kolmogorov and Smirnov's statistic, scaled, that chance exceeds in 1 of 1,000."""


@dataclass(frozen=True)
class Modes:
    """Two modes: which values are in the slower and which in the faster one (unknown ones in neither), their medians,
    the border between them, and from where to where the valley is looked at, in which the border lies."""

    slow: Flags
    fast: Flags
    fast_median: float
    slow_median: float
    border: float
    valley: tuple[float, float]

    @property
    def between(self) -> float:
        """The difference of the two medians."""
        return self.slow_median - self.fast_median

    @property
    def slow_part(self) -> float:
        """The slower mode's part of the known values."""
        return float(self.slow.sum() / (self.slow | self.fast).sum())


@dataclass(frozen=True)
class Divide:
    """How a figure divides slow from fast: so many of either are above (or, if not `above`, at or below) `border`."""

    border: float
    above: bool
    slow_part: float
    fast_part: float

    @property
    def strength(self) -> float:
        """The difference of the two parts (Youden's J): 0 the figure says nothing of the mode, 1 all of it."""
        return self.slow_part - self.fast_part


def modes_of(values: Floats) -> Modes | None:
    """The two modes of positive values; None if they form one, or too few are known. NaN where unknown."""
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(values) & (values > 0)
    x: Floats = np.sort(values[usable])
    n = x.size
    least = max(1, math.ceil(LEAST_PART * n))
    if n < 2 * least or not x[0] < x[-1]:
        return None
    splits = np.unique(np.linspace(least, n - least, min(_SPLITS, n - 2 * least + 1)).astype(np.int64))
    logarithms: Floats = np.log(x)
    depth = np.minimum(_depth(x, splits), _depth(logarithms, splits))
    split = int(splits[int(depth.argmax())])
    if not depth.max() >= _DEVIATIONS:
        return None
    border, valley = _border(logarithms, split), _valley(x, split)
    with np.errstate(invalid="ignore"):
        slow = usable & (values > border)
    fast = usable & ~slow
    if min(int(slow.sum()), int(fast.sum())) < least:
        return None
    return Modes(slow, fast, float(np.median(values[fast])), float(np.median(values[slow])), border, valley)


def divide_of(figure: Floats, slow: Flags, fast: Flags) -> Divide | None:
    """The border at which a figure divides slow from fast best; None if that is no better than chance makes it."""
    with np.errstate(invalid="ignore"):
        slow, fast = slow & np.isfinite(figure), fast & np.isfinite(figure)
    slow_n, fast_n = int(slow.sum()), int(fast.sum())
    if not slow_n or not fast_n:
        return None
    points = np.unique(figure[slow | fast])
    below_slow = np.searchsorted(np.sort(figure[slow]), points, "right") / slow_n
    below_fast = np.searchsorted(np.sort(figure[fast]), points, "right") / fast_n
    at = int(np.abs(below_slow - below_fast).argmax())
    above = bool(below_fast[at] > below_slow[at])
    parts = (1 - below_slow[at], 1 - below_fast[at]) if above else (below_slow[at], below_fast[at])
    border = float(points[at] + points[min(at + 1, points.size - 1)]) / 2
    found = Divide(border, above, float(parts[0]), float(parts[1]))
    return found if found.strength * math.sqrt(slow_n * fast_n / (slow_n + fast_n)) >= _BEYOND_CHANCE else None


def _border(logarithms: Floats, split: int) -> float:
    """The middle of the widest gap in the valley."""
    edges = np.searchsorted(logarithms, _valley(logarithms, split))
    beside = logarithms[max(0, edges[0] - 1) : edges[1] + 1]
    gap = int(np.diff(beside).argmax())
    return math.exp(float(beside[gap : gap + 2].mean()))


def _valley(x: Floats, split: int) -> tuple[float, float]:
    low, high = float(x[(split - 1) // 2]), float(x[(split + x.size) // 2])
    return low + _VALLEY[0] * (high - low), low + _VALLEY[1] * (high - low)


def _depth(x: Floats, splits: NDArray[np.int64]) -> Floats:
    """For each split of ascending values into a lower and an upper part: by how many standard deviations the valley is
    emptier than chance would make it if it were as dense as the smaller peak; 0 where it is not empty enough."""
    low, high = x[(splits - 1) // 2], x[(splits + x.size) // 2]
    way = high - low
    around_low = _count(x, low - _AROUND * way, low + _AROUND * way)
    around_high = _count(x, high - _AROUND * way, high + _AROUND * way)
    valley = _count(x, low + _VALLEY[0] * way, low + _VALLEY[1] * way)
    peak = np.minimum(around_low, around_high)
    length = (_VALLEY[1] - _VALLEY[0]) / (2 * _AROUND)
    part, both = 1 / (1 + length), np.maximum(peak + valley, 1)
    deviations = (peak - part * both) / np.sqrt(part * (1 - part) * both)
    depth: Floats = np.where((way > 0) & (valley <= _SHALLOW * length * peak), deviations, 0.0)
    return depth


def _count(x: Floats, begin: Floats, end: Floats) -> Floats:
    counted: Floats = (np.searchsorted(x, end, "right") - np.searchsorted(x, begin, "left")).astype(np.float64)
    return counted
