"""Intervals for means and quantiles of checkpoints, which follow one another and so are no independent samples.

A block bootstrap: the circular one (Politis and Romano 1992), with the block length of Politis and White (2004,
corrected by Patton, Politis and White 2009), as the `arch` package computes it. Plain percentile intervals are too
narrow for the few dozen checkpoints that people compare. Three things widen them: blocks are half as long again, and
never shorter than n^(1/3); the variance that is lost with the mean within n / b blocks is given back (a factor
n / (n - b)); and each draw is divided by a chi of n / b - 1 degrees of freedom, Student's remedy for a variance that is
itself an estimate. A test holds the coverage of all this against simulated series. Where fewer than five blocks are
left there is no interval.

A mean's resamples depend on sums of blocks only: long series are cut into a few thousand batches first, whose own
autocorrelation is what is left. A quantile goes by how many values lie below it, which is a mean (Woodruff 1952).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

RESAMPLES = 4000
FEWEST_VALUES = 10
FEWEST_BLOCKS = 5
FEWEST_BEYOND = 5
"""A quantile needs so many values on each of its sides."""
MOST_BATCHES = 2048
_LONGER = 1.5
"""Politis and White's length weighs noise as heavily as bias; blocks that are too short mislead."""
_CHUNK = 1 << 21
"""Block numbers drawn at once: bounds memory at some tens of MiB."""


@dataclass(frozen=True)
class Estimate:
    """A statistic of one sample, in the sample's unit, and `draws` of it from resamples (sorted by nothing).

    `value` is None of an empty sample; `draws` is None where no interval can be given, and `reason` says why. `block`
    is the length of a block in values, `independent` roughly how many independent stretches the sample amounts to.
    """

    n: int
    value: float | None
    draws: Floats | None = None
    block: int = 1
    reason: str | None = None

    @property
    def independent(self) -> float:
        """n / block."""
        return self.n / self.block


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence interval; `low` and `high` are None with a `reason`."""

    value: float | None
    low: float | None
    high: float | None
    level: float
    reason: str | None = None


def estimate(
    values: Integers | Floats, quantile: float | None = None, *, resamples: int = RESAMPLES, seed: int = 1,
    capped: bool = False,
) -> Estimate:  # fmt: skip
    """The mean of a series in the order of time, or a quantile of it, with resamples; the same seed, the same draws.

    Where the values hang together over more than a FEWEST_BLOCKS-th of the series there are no draws; with `capped`
    there are, from blocks of that length: fit to tell of large effects only.
    """
    n = len(values)
    if n == 0:
        return Estimate(0, None, reason="no checkpoints")
    value = float(values.mean()) if quantile is None else float(np.quantile(values, quantile, method="inverted_cdf"))
    if n < FEWEST_VALUES:
        return Estimate(n, value, reason=f"{n} checkpoints are too few: an interval takes {FEWEST_VALUES}")
    if quantile is None:
        deviations, block = _deviations(values, value, resamples, seed, capped)
    else:
        beyond = int(min(n * quantile, n * (1 - quantile)))
        if beyond < FEWEST_BEYOND:
            return Estimate(n, value, reason=f"{n} checkpoints are too few for the {quantile:.1%} quantile")
        below = (values <= value).astype(np.float64)
        deviations, block = _deviations(below, float(below.mean()), resamples, seed, capped)
    if deviations is None:
        return Estimate(
            n, value, None, block, f"the times hang together over {block} of {n} checkpoints: too few independent ones"
        )
    if quantile is None:
        return Estimate(n, value, value + deviations, block)
    at = np.clip(np.ceil((quantile - deviations) * n).astype(np.int64) - 1, 0, n - 1)
    return Estimate(n, value, np.sort(values)[at].astype(np.float64), block)


def interval(one: Estimate, level: float = 0.95) -> Interval:
    """The interval of one estimate, in its unit."""
    if one.draws is None:
        return Interval(one.value, None, None, level, one.reason)
    return Interval(one.value, *_ends(one.draws, level), level)


def ratio_interval(a: Estimate, b: Estimate | float, level: float = 0.95) -> Interval:
    """b over a: above 1 where b is larger; `b` may be a number known exactly, or whose own error is not known.

    The two must have been drawn with different seeds. An end is infinite where a's mean may be 0.
    """
    over = b.value if isinstance(b, Estimate) else b
    reason = a.reason or (b.reason if isinstance(b, Estimate) else None)
    if a.value is None or over is None:
        return Interval(None, None, None, level, reason)
    if a.value <= 0:
        return Interval(None, None, None, level, "the first is 0")
    ratio = over / a.value
    others = b.draws if isinstance(b, Estimate) else np.array([b], dtype=np.float64)
    if a.draws is None or others is None:
        return Interval(ratio, None, None, level, reason)
    upper = np.maximum(others, 0)
    lower = np.maximum(a.draws, 0)
    ratios = np.full_like(lower, np.inf)
    np.divide(upper, lower, out=ratios, where=lower > 0)
    return Interval(ratio, *_ends(ratios, level), level)


def block_length(values: Floats) -> float:
    """Politis and White's length for the circular bootstrap (2004; corrected 2009), in values; 1 of a constant series.

    As arch.bootstrap.optimal_block_length() computes `circular`, for n of 10 or more.
    """
    n = len(values)
    eps = values - values.mean()
    variance = float(eps @ eps) / n
    if variance <= 0:
        return 1.0
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    run = max(5, int(math.log10(n)))
    lags = min(math.ceil(math.sqrt(n)) + run, n - 2)
    limit = 2 * math.sqrt(math.log10(n) / n)
    covariances = np.zeros(lags + 1)
    correlations = np.zeros(lags + 1)
    for lag in range(lags + 1):
        product = float(eps[lag:] @ eps[: n - lag])
        covariances[lag] = product / n
        late, early = eps[lag + 1 :], eps[: n - lag - 1]
        scale = math.sqrt(float(late @ late) * float(early @ early))
        correlations[lag] = abs(product) / scale if scale > 0 else 0.0
    quiet = (lag - run for lag in range(run, lags + 1) if bool(np.all(correlations[lag - run : lag] < limit)))
    first = next(quiet, None)
    window = min(2 * max(first, 1) if first is not None else lags, lags)
    lag_numbers = np.arange(1, window + 1)
    weights = np.minimum(1.0, 2 * (1 - lag_numbers / window))
    g = 2 * float(np.sum(weights * lag_numbers * covariances[1 : window + 1]))
    spectrum = covariances[0] + 2 * float(np.sum(weights * covariances[1 : window + 1]))
    if spectrum == 0:
        return float(longest)
    return float(min((1.5 * g * g / (spectrum * spectrum) * n) ** (1 / 3), longest))


def _deviations(
    values: Integers | Floats, mean: float, resamples: int, seed: int, capped: bool
) -> tuple[Floats | None, int]:
    """Resampled means less `mean`, and the block length in values; None if there are too few blocks."""
    size = -(-len(values) // MOST_BATCHES)  # values a batch
    n = len(values) // size
    batches = values[: n * size].reshape(n, size).mean(axis=1) if size > 1 else values.astype(np.float64)
    batches = batches - mean
    block = math.ceil(max(_LONGER * block_length(batches), n ** (1 / 3) if size == 1 else 1.0))
    if capped:
        block = min(block, n // FEWEST_BLOCKS)
    if n < FEWEST_BLOCKS * block:
        return None, block * size
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((batches - batches.mean(), batches[:block])))))
    of_block = sums[block : block + n] - sums[:n]
    of_block -= of_block.mean()
    blocks = -(-n // block)
    random = np.random.default_rng([seed, n, block])
    means = np.empty(resamples)
    step = max(1, _CHUNK // blocks)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        chosen = random.integers(n, size=(count, blocks))
        means[start : start + count] = of_block[chosen].sum(axis=1)
    means /= math.sqrt(blocks * block * n)  # blocks * block values in all, of which the last block's rest is too much
    freedom = n / block - 1
    means *= math.sqrt(n / (n - block)) * np.sqrt(freedom / random.chisquare(freedom, resamples))
    return means, block * size


def _ends(draws: Floats, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
