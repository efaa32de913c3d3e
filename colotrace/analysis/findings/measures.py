"""Figures that several rules need. Arrays of nanoseconds, NaN where unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

MAD_TO_SIGMA = 1.4826
"""A median absolute deviation times this is the standard deviation, if values are normally distributed."""
SLICE_NS = 5_000_000
"""A difference that needs a cause: less is what the scheduler of a busy host makes, with slices of 3 ms and ticks of up
to 4 ms."""


def known(values: Floats) -> Floats:
    """The values that are not NaN."""
    return values[~np.isnan(values)]


def median(values: Floats) -> float:
    """The median of what is known, as a value that was measured (nearest rank); NaN of nothing."""
    found = np.sort(known(values))
    return float(found[(found.size - 1) // 2]) if found.size else float("nan")


def percentile(values: Floats, part: float) -> float:
    """The nearest-rank percentile (0 < part <= 1) of what is known; NaN of nothing."""
    found = np.sort(known(values))
    return float(found[max(0, int(np.ceil(part * found.size)) - 1)]) if found.size else float("nan")


def ratio(part: Floats, whole: Floats) -> Floats:
    """One over the other; NaN where the whole is 0 or less."""
    found = np.full(len(part), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def mean_cost(values: Floats, where: Flags, without: float) -> int:
    """What the values at `where` cost above `without`, on the average over all checkpoints, in nanoseconds."""
    return round(float(np.sum(np.maximum(values[where] - without, 0))) / len(values)) if len(values) else 0


def concentration(when_ns: Floats, period_ns: float) -> float:
    """How much moments cluster in one part of a period: 0 evenly spread to 1 all at once (circular statistics' R)."""
    return float(abs(np.exp(2j * np.pi * (when_ns % period_ns) / period_ns).mean())) if when_ns.size else 0.0
