"""What a page costs in the ram phase: a straight line through (pages, nanoseconds), with honest errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colotrace.analysis.statistics import CHUNK, Integers, exact_sum

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
        least, most = int(pages.min()), int(pages.max())
        if least == most:
            return f"every checkpoint sent {least:,} pages" + (_but(left_out) if left_out else "")
        line = _Line(pages, ram_ns)
        furthest = int((pages.argmax if most - line.mean_pages > line.mean_pages - least else pages.argmin)())
        if 1 / n + (int(pages[furthest]) - line.mean_pages) ** 2 / line.spread <= LARGEST_LEVERAGE:
            break
        if len(left_out) == _MOST_LEFT_OUT:
            return "a few checkpoints with many more pages than all others would decide the slope alone"
        left_out.append((int(pages[furthest]), int(ram_ns[furthest])))
        pages, ram_ns = np.delete(pages, furthest), np.delete(ram_ns, furthest)
    level, both, steep = line.newey_west()
    var_level, cov, var_slope = level / n**2, both / (n * line.spread), steep / line.spread**2
    var_fixed = var_level - 2 * line.mean_pages * cov + line.mean_pages**2 * var_slope
    small = n / (n - 2)
    return RamCost(
        n=n,
        fixed_ns=line.mean_ns - line.slope * line.mean_pages,
        fixed_error_ns=math.sqrt(max(0.0, var_fixed * small)),
        per_page_ns=line.slope,
        per_page_error_ns=math.sqrt(max(0.0, var_slope * small)),
        r_squared=line.r_squared,
        least_pages=least,
        most_pages=most,
        left_out=tuple(left_out),
    )


class _Line:
    """Least squares in pieces: floats for all checkpoints at once would take several times the columns' memory."""

    def __init__(self, pages: Integers, ns: Integers) -> None:
        self._pages, self._ns = pages, ns
        n = int(pages.size)
        self.mean_pages, self.mean_ns = exact_sum(pages) / n, exact_sum(ns) / n
        self.slope = 0.0
        sums = np.zeros(3)
        for _, centred, residuals in self._pieces():
            sums += (centred @ centred, centred @ residuals, residuals @ residuals)
        self.spread, power = float(sums[0]), float(sums[2])
        self.slope = float(sums[1]) / self.spread
        rest = sum(float(residuals @ residuals) for _, _, residuals in self._pieces())
        self.r_squared = 1 - rest / power if power else None

    def _pieces(self, lead: int = 0) -> Iterator[tuple[int, Floats, Floats]]:
        """(how many were in the piece before, pages - mean, ns - the line); each has up to `lead` of those."""
        for start in range(0, self._pages.size, CHUNK):
            again = min(lead, start)
            part = slice(start - again, start + CHUNK)
            centred: Floats = np.subtract(self._pages[part], self.mean_pages, dtype=np.float64)
            yield again, centred, self._ns[part] - self.mean_ns - self.slope * centred

    def newey_west(self) -> tuple[float, float, float]:
        """The long-run covariance, summed over the sample, of the two estimating equations: level, both, slope.

        Bartlett's weights; Newey and West's lag, 4 (n / 100)^(2/9).
        """
        n = self._pages.size
        lags = min(n - 1, int(4 * (n / 100) ** (2 / 9)))
        sums = np.zeros(3)
        for begin, centred, u in self._pieces(lags):
            w = u * centred
            sums += (u[begin:] @ u[begin:], u[begin:] @ w[begin:], w[begin:] @ w[begin:])
            for lag in range(1, min(lags + 1, u.size)):
                first = max(begin, lag)
                now, then = slice(first, None), slice(first - lag, u.size - lag)
                weight = 1 - lag / (lags + 1)
                cross = u[now] @ w[then] + w[now] @ u[then]
                sums += (2 * weight * (u[now] @ u[then]), weight * cross, 2 * weight * (w[now] @ w[then]))
        return float(sums[0]), float(sums[1]), float(sums[2])


def _but(left_out: list[tuple[int, int]]) -> str:
    return f" but {len(left_out)} with {', '.join(f'{pages:,}' for pages, _ in left_out)}"
