"""One sample of whole numbers (times in nanoseconds, sizes in bytes) described: moments, percentiles, histogram.

Percentiles are by nearest rank (numpy's `inverted_cdf`): values that were really measured, as in the live view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

PERCENTILES = {"p50": 500, "p90": 900, "p99": 990, "p999": 999}
"""Fields of a Distribution, and how many of 1,000 values such a percentile is not exceeded by."""
PERCENTILE_NAMES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
NO_VALUES = "there are no values"
ONE_VALUE = "one value has no spread"
CHUNK = 1 << 20
_BINS_PER_DECADE = 20


@dataclass(frozen=True)
class Distribution:
    """A sample of integers, in the unit of its values.

    `total` is their exact sum. `sd` is the sample's standard deviation (divided by n - 1). A percentile is the smallest
    value that at least that part of the sample does not exceed; it is None unless at least one value of the sample lies
    beyond its rank (p90 takes 10 values, p99 100, p99.9 1,000): with fewer it would be the maximum under another name.
    `missing` gives the reason, by field name, for each field that is None.
    """

    n: int
    total: int
    mean: float | None
    sd: float | None
    min: int | None
    p50: int | None
    p90: int | None
    p99: int | None
    p999: int | None
    max: int | None
    missing: Mapping[str, str] = field(default_factory=dict)

    def as_json(self, unit: str) -> dict[str, object]:
        """Members with their unit (`mean_ns`), as whole numbers: mean and sd rounded; null where not known."""
        names = ("mean", "sd", "min", *PERCENTILES, "max")
        values = {name: getattr(self, name) for name in names}
        figures = {f"{name}_{unit}": None if v is None else round(v) for name, v in values.items()}
        return {"n": self.n, f"sum_{unit}": self.total, **figures, "missing": dict(self.missing)}


def distribution(values: Integers) -> Distribution:
    """Describes a sample; the array is left as it is. Takes one copy of it (for the percentiles) at a time."""
    n = int(values.size)
    if n == 0:
        fields = ("mean", "sd", "min", *PERCENTILES, "max")
        return Distribution(0, 0, None, None, None, None, None, None, None, None, dict.fromkeys(fields, NO_VALUES))
    total = exact_sum(values)
    mean = total / n
    missing: dict[str, str] = {}
    sd = None
    if n > 1:
        sd = math.sqrt(_squares(values, mean) / (n - 1))
    else:
        missing["sd"] = ONE_VALUE
    found: dict[str, int | None] = dict.fromkeys(PERCENTILES)
    given = {}
    for name, thousandths in PERCENTILES.items():
        if n >= needed(thousandths):
            given[name] = rank(n, thousandths)
        else:
            missing[name] = f"{PERCENTILE_NAMES[name]} takes {needed(thousandths):,} values; there are {n:,}"
    ordered = np.partition(values, sorted(set(given.values()))) if given else values
    found |= {name: int(ordered[index]) for name, index in given.items()}
    return Distribution(n, total, mean, sd, int(values.min()), **found, max=int(values.max()), missing=missing)


def needed(thousandths: int) -> int:
    """How many values it takes for one of them to lie beyond this percentile's rank."""
    return -(-1000 // (1000 - thousandths))


def rank(n: int, thousandths: int) -> int:
    """The index of a percentile among n values in ascending order."""
    return max(0, -(-thousandths * n // 1000) - 1)


def exact_sum(values: Integers) -> int:
    """The sum as a Python integer: int64 overflows at 10 million waits of a quarter of an hour."""
    total = 0
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        total += (int((part >> 32).sum()) << 32) + int((part & 0xFFFFFFFF).sum())
    return total


def _squares(values: Integers, mean: float) -> float:
    parts = []
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK] - mean
        parts.append(float(np.dot(part, part)))
    return math.fsum(parts)


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each of a row of bins, on a logarithmic scale: 20 bins a decade.

    `edges` are one more than `counts`; bin i holds edges[i] <= value < edges[i + 1]. The bins are neighbours without
    gaps, and begin and end with one that is not empty. Zeros have the bin [0, 1) for themselves.
    """

    edges: tuple[int, ...]
    counts: tuple[int, ...]

    def as_json(self, unit: str) -> dict[str, object]:
        """An object of JSON types."""
        return {f"edges_{unit}": list(self.edges), "counts": list(self.counts)}


def _grid() -> Integers:
    """0, 1, and whole numbers 10^(k/20) up to the largest int64, each once."""
    steps = np.unique(np.rint(10 ** (np.arange(18 * _BINS_PER_DECADE + 1) / _BINS_PER_DECADE)).astype(np.int64))
    return np.concatenate([[0], steps, [2 * 10**18, 4 * 10**18, np.iinfo(np.int64).max]])


def histogram(values: Integers) -> Histogram | None:
    """The histogram of values that are not negative; None if there are none."""
    if not values.size:
        return None
    grid = _grid()
    counts = np.zeros(grid.size, np.int64)
    for start in range(0, values.size, CHUNK):
        bins = np.searchsorted(grid, values[start : start + CHUNK], side="right") - 1
        counts += np.bincount(np.clip(bins, 0, None), minlength=grid.size)
    counts[-2] += counts[-1]  # the largest int64 itself has no edge above it
    used = np.flatnonzero(counts[:-1])
    first, last = int(used[0]), int(used[-1])
    return Histogram(
        tuple(int(edge) for edge in grid[first : last + 2]), tuple(int(count) for count in counts[first : last + 1])
    )
