"""What a page costs in the ram phase: a straight line through (pages, nanoseconds), with honest errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colotrace.analysis.statistics import Integers

LEAST = 10
"""Checkpoints that a line is drawn through."""
LARGEST_LEVERAGE = 0.5
_MOST_LEFT_OUT = 3
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RamCost:
    """ram_ns = fixed_ns + per_page_ns * ram_pages, by least squares over `n` checkpoints.

    The standard errors are Newey and West's: a checkpoint resembles the one before it, and textbook errors would be too
    small. `r_squared` is the part of the variance that the line explains. `left_out` are (pages, ns) of checkpoints
    that would each have decided the slope alone (leverage over 1/2), as the first of a run does, which sends all RAM.
    """

    n: int
    fixed_ns: float
    fixed_error_ns: float
    per_page_ns: float
    per_page_error_ns: float
    r_squared: float | None
    least_pages: int
    most_pages: int
    left_out: tuple[tuple[int, int], ...] = ()

    def as_json(self) -> dict[str, object]:
        """An object of JSON types; times as floats, since a page costs few nanoseconds."""
        return {
            "n": self.n,
            "fixed_ns": self.fixed_ns,
            "fixed_error_ns": self.fixed_error_ns,
            "per_page_ns": self.per_page_ns,
            "per_page_error_ns": self.per_page_error_ns,
            "r_squared": self.r_squared,
            "least_pages": self.least_pages,
            "most_pages": self.most_pages,
            "left_out": [{"ram_pages": pages, "ram_ns": ns} for pages, ns in self.left_out],
        }


def fit(pages: Integers, ram_ns: Integers) -> RamCost | str:
    """The line through aligned columns in their order in time, or the reason why there is none."""
    left_out: list[tuple[int, int]] = []
    while True:
        n = int(pages.size)
        if n < LEAST:
            return f"a line takes {LEAST} checkpoints with pages and a ram phase; there are {n}"
        centred: Floats = pages - float(pages.mean())
        spread = float(centred @ centred)
        if not np.ptp(pages):
            return f"every checkpoint sent {int(pages[0]):,} pages" + (_but(left_out) if left_out else "")
        furthest = int(np.abs(centred).argmax())
        if 1 / n + float(centred[furthest]) ** 2 / spread <= LARGEST_LEVERAGE:
            break
        if len(left_out) == _MOST_LEFT_OUT:
            return "a few checkpoints with many more pages than all others would decide the slope alone"
        left_out.append((int(pages[furthest]), int(ram_ns[furthest])))
        pages, ram_ns = np.delete(pages, furthest), np.delete(ram_ns, furthest)
    mean_pages, mean_ns = float(pages.mean()), float(ram_ns.mean())
    residuals: Floats = ram_ns - mean_ns
    power = float(residuals @ residuals)
    slope = float(centred @ residuals) / spread
    residuals -= slope * centred
    rest = float(residuals @ residuals)
    level, both, steep = _newey_west(residuals, centred)
    var_level, cov, var_slope = level / n**2, both / (n * spread), steep / spread**2
    var_fixed = var_level - 2 * mean_pages * cov + mean_pages**2 * var_slope
    small = n / (n - 2)
    return RamCost(
        n=n,
        fixed_ns=mean_ns - slope * mean_pages,
        fixed_error_ns=math.sqrt(max(0.0, var_fixed * small)),
        per_page_ns=slope,
        per_page_error_ns=math.sqrt(max(0.0, var_slope * small)),
        r_squared=1 - rest / power if power else None,
        least_pages=int(pages.min()),
        most_pages=int(pages.max()),
        left_out=tuple(left_out),
    )


def _newey_west(residuals: Floats, centred: Floats) -> tuple[float, float, float]:
    """The long-run covariance, summed over the sample, of the two estimating equations: level, both, slope.

    Bartlett's weights; Newey and West's lag, 4 (n / 100)^(2/9).
    """
    lags = min(residuals.size - 1, int(4 * (residuals.size / 100) ** (2 / 9)))
    weighted = residuals * centred
    level, both, steep = float(residuals @ residuals), float(residuals @ weighted), float(weighted @ weighted)
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        u, v = residuals[lag:], residuals[:-lag]
        w, x = weighted[lag:], weighted[:-lag]
        level += 2 * weight * float(u @ v)
        both += weight * (float(u @ x) + float(w @ v))
        steep += 2 * weight * float(w @ x)
    return level, both, steep


def _but(left_out: list[tuple[int, int]]) -> str:
    return f" but {len(left_out)} with {', '.join(f'{pages:,}' for pages, _ in left_out)}"
