"""Whether moments come at regular intervals: a search over periods with a known rate of false alarms.

Rayleigh's test of circular statistics: if moments keep to a period, their phases in it cluster. The chance that random
moments cluster as much is known (Zar, Biostatistical Analysis, 1999); it is multiplied by the number of independent
periods that were tried, and the power is measured against what other periods nearby have, since moments that come in
bursts cluster in all long periods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Floats

LEAST_MOMENTS = 6
LEAST_PERIODS = 5
"""Periods in the time observed: below, a few bursts look like a period."""
LEAST_SAMPLES = 5
"""Observations in a period: below, every other or third observation looks like one."""
_BINS = 4
"""In the time from one observation to the next: a shift of at most 1/40 of the shortest period."""
MOST_SAMPLES = (1 << 19) // _BINS
"""Observations that would fit into the time observed; in more, as gaps make them, a search takes too long."""
_OVERSAMPLED = 4
_TRIALS = 3
"""An oversampled search finds this many times what the independent periods alone would give by chance."""
_DIVISORS = range(2, 13)
_SAME = 0.75
"""Short pulses keep to each fraction of their period as well: the longest one that fits about as well is meant."""


@dataclass(frozen=True)
class Period:
    """`period_ns`, `phase_ns` (a moment at which it comes), how much the moments cluster there (0 to 1), the `chance`
    of finding as much by accident in any period tried, and the range of periods tried."""

    period_ns: float
    phase_ns: float
    clustered: float
    chance: float
    tried_ns: tuple[float, float]

    def distance(self, moments: Floats) -> Floats:
        """How far each moment is from the nearest one at which the period comes, in nanoseconds."""
        off = (moments - self.phase_ns + self.period_ns / 2) % self.period_ns - self.period_ns / 2
        far: Floats = np.abs(off)
        return far


def find_period(moments: Floats, span_ns: float, interval_ns: float, most_chance: float) -> Period | None:
    """The period that the moments keep to; None if random ones would keep to one as well with `most_chance` or more.
    None as well if there are too few of them, or no period to try.

    Moments are sorted, within `span_ns` of time observed; an observation was made every `interval_ns`.
    """
    longest, shortest = span_ns / LEAST_PERIODS, interval_ns * LEAST_SAMPLES
    if moments.size < LEAST_MOMENTS or not 0 < shortest < longest < math.inf:
        return None
    if span_ns > interval_ns * MOST_SAMPLES:
        return None
    bins = math.ceil(span_ns / interval_ns * _BINS) + 1
    counts = np.bincount(np.clip(((moments - moments[0]) / interval_ns * _BINS).astype(np.int64), 0, bins - 1))
    size = 1 << (_OVERSAMPLED * bins - 1).bit_length()
    rates = np.arange(size // 2 + 1) * _BINS / (interval_ns * size)
    powers = np.abs(np.fft.rfft(counts, size)) ** 2 / moments.size
    kept = (rates >= 1 / longest) & (rates <= 1 / shortest)
    rates, powers = rates[kept], powers[kept]
    if not rates.size:
        return None
    background = _background(rates, powers)
    at = int(np.argmax(powers / background))
    trials = _TRIALS * max(1.0, span_ns * (1 / shortest - 1 / longest))
    chance = min(1.0, trials * _rayleigh(moments.size, float(powers[at] / background[at]) / moments.size))
    if chance >= most_chance:
        return None
    rate, clustered = _refined(moments, rates[at], span_ns)
    for divisor in _DIVISORS:
        if rates[at] / divisor >= 1 / longest:
            slower, as_much = _refined(moments, rates[at] / divisor, span_ns)
            if as_much >= _SAME * clustered:
                rate, clustered = slower, as_much
    mean = complex(np.exp(2j * np.pi * moments * rate).mean())
    phase = math.atan2(mean.imag, mean.real) / (2 * math.pi * rate)
    return Period(1 / rate, phase, clustered, chance, (shortest, longest))


def _background(rates: Floats, powers: Floats) -> Floats:
    """What each octave's rates typically have, at least 1, which is random moments' mean; a few peaks do not count."""
    octaves = np.floor(np.log2(rates / rates[0])).astype(np.int64)
    levels = [max(1.0, float(np.median(powers[octaves == octave])) / math.log(2)) for octave in range(octaves[-1] + 1)]
    found: Floats = np.array(levels)[octaves]
    return found


def _rayleigh(n: int, squared: float) -> float:
    """The chance that n random phases cluster so much, given the square of their concentration."""
    return math.exp(math.sqrt(1 + 4 * n + 4 * n * n * (1 - min(1.0, squared))) - (1 + 2 * n))


def _refined(moments: Floats, rate: float, span_ns: float) -> tuple[float, float]:
    """The rate near this one to which the moments keep best, and how much."""
    width, best = 1 / span_ns, rate
    power = 0.0
    for _ in range(3):
        rates = best + np.linspace(-width, width, 21)
        powers = np.abs(np.exp(-2j * np.pi * np.outer(rates, moments)).mean(axis=1))
        at = int(np.argmax(powers))
        best, power, width = float(rates[at]), float(powers[at]), width / 8
    return best, power
