"""Pauses (or totals) far above the rest that come at regular intervals of time: something periodic disturbs the VM.

A checkpoint is an outlier far outside of what the median and the median deviation (MAD) allow for; outliers in a row
are one disturbance. Whether these keep to a period is tested in periods.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import MAD_TO_SIGMA, known, mean_cost, median
from colotrace.analysis.findings.periods import LEAST_MOMENTS, MOST_SAMPLES, Period, find_period
from colotrace.analysis.findings.rule import SEVERAL_CLOCKS, Rule, Unknowable
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES
from colotrace.units import time_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from colotrace.analysis.findings.measures import Flags, Floats

_COLUMNS = ("pause_ns", "total_ns")
_MADS = 6 * MAD_TO_SIGMA
"""Six standard deviations, if the rest is normally distributed."""
_LEAST_EXCESS, _LEAST_EXCESS_NS = 0.5, 1_000_000
"""Of the median; and in time, whatever the median."""
_MOST_PART = 0.2
"""Of the checkpoints: more are no outliers."""
_CHANCE = 5e-3
"""At most, that a run with random outliers has such a finding."""
_CERTAIN, _LEAST_CHANCE = 1e-6, 1e-12
_CLUSTERED = 0.5
"""About the concentration if half of the outliers come at random besides the periodic ones."""
_COUNTED = 0.99
"""Concentration of what comes at the same number of checkpoints each time."""
_SHOWN = 0.2
"""Of what the first phase is above its median: other phases that are this far above theirs are named too."""
_GAP = 10
"""So many times the typical distance to the next checkpoint: in between nothing was observed."""
_NEAR, _NEAR_CHECKPOINTS = 0.1, 1.5
"""In step: so close to the beat, in periods or in checkpoints."""


@dataclass(frozen=True)
class _Beat:
    """What was found: the period, in checkpoints as well; the outliers, the first ones in a row, those of them on the
    beat; the periods observed from the first of these to the last; how much they keep to a number of checkpoints."""

    period: Period
    checkpoints: float
    out: Flags
    first: Flags
    on_beat: Flags
    passed: int
    counted: float


def outliers(values: Floats) -> Flags:
    """Which values are far above all but a few."""
    middle = median(values)
    spread = median(np.abs(values - middle))
    found: Flags = values > middle + max(_MADS * spread, _LEAST_EXCESS * middle, _LEAST_EXCESS_NS)
    return found


def _look(sample: Sample) -> Iterator[Finding]:
    for column in _COLUMNS:
        found = _periodic(sample, column)
        if found is not None:
            yield found
            return


def _periodic(sample: Sample, column: str) -> Finding | None:
    values, begin = sample.recent[column], sample.recent["begin_ns"]
    out = outliers(values) & ~np.isnan(begin)
    if not LEAST_MOMENTS <= np.count_nonzero(out) <= _MOST_PART * len(values):
        return None
    first = out.copy()
    first[1:] &= ~out[:-1]
    begins = known(begin)
    intervals, span = np.diff(begins), float(begins[-1] - begins[0])
    if (intervals <= 0).any():
        raise Unknowable(SEVERAL_CLOCKS)
    if span > median(intervals) * MOST_SAMPLES:
        raise Unknowable("there are gaps of many times what was observed, as between two runs")
    period = find_period(begin[first], span, median(intervals), _CHANCE / len(_COLUMNS))
    if period is None or period.clustered < _CLUSTERED:
        return None
    gaps = intervals > _GAP * median(intervals)
    interval = float(intervals[~gaps].mean())
    on_beat = first & (period.distance(begin) <= max(_NEAR * period.period_ns, _NEAR_CHECKPOINTS * interval))
    numbers = np.unique(np.round((begin[on_beat] - period.phase_ns) / period.period_ns))
    if numbers.size < LEAST_MOMENTS:
        return None
    counted = _counted(np.flatnonzero(first), period.period_ns / interval)
    if counted > 1 - (1 - period.clustered) / 4 and period.clustered < _COUNTED:
        return None  # the checkpoints' own rhythm, which is clearer counted than timed
    passed = round(float(numbers[-1] - numbers[0] - intervals[gaps].sum() / period.period_ns)) + 1
    return _finding(sample, column, _Beat(period, period.period_ns / interval, out, first, on_beat, passed, counted))


def _counted(numbers: NDArray[np.intp], period: float) -> float:
    """How much the outliers keep to every so-many-th checkpoint, for the best whole number near the period."""
    whole = [max(2, round(period) + off) for off in (-1, 0, 1)]
    return max(float(abs(np.exp(2j * np.pi * numbers / n).mean())) for n in whole)


def _finding(sample: Sample, column: str, beat: _Beat) -> Finding:
    table, period, word = sample.recent, beat.period, column.removesuffix("_ns")
    middle = median(table[column])
    excess = median(table[column][beat.on_beat]) - middle
    above = _above(sample, beat.on_beat)
    phase, by_phase = next(iter(above.items()))
    share = ", ".join(f"{name} {time_text(by)}" for name, by in above.items() if by >= _SHOWN * by_phase > 0)
    found, kept = int(np.count_nonzero(beat.first)), int(np.count_nonzero(beat.on_beat))
    chance = max(period.chance * len(_COLUMNS), _LEAST_CHANCE)
    evidence = [
        f"{found} times it is far above its median of {time_text(middle)}, of which {kept} keep to the beat, within "
        f"{beat.passed} periods",
        f"random ones would do so with a chance of {chance:.1g} at most (Rayleigh's R = {period.clustered:.3f}, all "
        f"periods from {time_text(period.tried_ns[0])} to {time_text(period.tried_ns[1])})",
        f"above their own medians are then, on the average: {share or 'none of the phases'}",
    ]
    in_step = beat.counted > _COUNTED
    if in_step:
        evidence.append(f"they are also always {round(beat.checkpoints)} checkpoints apart, or a multiple of that")
    confidence, reason = _confidence(period.chance, in_step)
    return Finding(
        rule=RULE.name,
        phase=phase,
        title=f"every {time_text(period.period_ns)} ({beat.checkpoints:.1f} checkpoints) the {word} is longer by "
        f"{time_text(excess)}, in {phase}",
        numbers={
            "period_ns": round(period.period_ns),
            "period_checkpoints": round(beat.checkpoints, 2),
            "outliers": found,
            "on_beat": kept,
            "periods": beat.passed,
            "excess_ns": round(excess),
            "phase_excess_ns": round(by_phase),
            "concentration": round(period.clustered, 4),
            "chance": chance,
        },
        evidence=tuple(evidence),
        confidence=confidence,
        confidence_reason=reason,
        advice=f"look for what runs every {time_text(period.period_ns)} on either host or in the guest: monitoring "
        "that polls QEMU, cron, timers, other VMs' work; move it away, or let it run in shorter pieces",
        cost_ns=mean_cost(
            table["pause_ns"],
            beat.out & (period.distance(table["begin_ns"]) <= period.period_ns / 4),  # those after the first as well
            median(table["pause_ns"]),
        ),
    )


def _confidence(chance: float, in_step: bool) -> tuple[Confidence, str]:
    if in_step:
        return Confidence.MEDIUM, "it may as well be every so-many-th checkpoint: another x-checkpoint-delay would tell"
    if chance > _CERTAIN:
        return Confidence.MEDIUM, "so regular by the clock, but seen only a few times"
    return Confidence.HIGH, "so regular by the clock, and not by the number of checkpoints"


def _above(sample: Sample, where: Flags) -> dict[str, float]:
    """Phase -> how far it is above its own median there, on the average; the furthest first.

    On the average, since a disturbance that comes by the clock hits one phase today and another one tomorrow.
    """
    names = [*(phase.value for phase in ROLE_PHASES[sample.role] if phase not in OUTSIDE_TOTAL), "other"]
    above = {}
    for name in names:
        values = sample.recent[f"{name}_ns"]
        there = known(values[where])
        above[name] = float(there.mean()) - median(values) if there.size else 0.0
    return dict(sorted(above.items(), key=lambda item: -item[1]))


RULE = Rule(
    "periodic-outliers",
    "pauses or totals far above the rest, at regular intervals of time",
    _look,
    needs=("begin_ns", "total_ns"),
    least=60,
)
