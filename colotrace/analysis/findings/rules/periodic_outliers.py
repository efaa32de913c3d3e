"""Pauses (or totals) far above the rest that come at regular intervals of time: something periodic disturbs the VM.

A checkpoint is an outlier far outside of what the median and the median deviation (MAD) allow for; outliers in a row
are one disturbance. Whether these keep to a period is tested in periods.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import known, mean_cost, median
from colotrace.analysis.findings.periods import LEAST_MOMENTS, Period, find_period
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES
from colotrace.units import time_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from colotrace.analysis.findings.measures import Flags, Floats

_COLUMNS = ("pause_ns", "total_ns")
_MADS = 6 * 1.4826
"""Six standard deviations, if the rest is normally distributed."""
_LEAST_EXCESS, _LEAST_EXCESS_NS = 0.5, 1_000_000
"""Of the median; and in time, whatever the median."""
_MOST_PART = 0.2
"""Of the checkpoints: more are no outliers."""
_CHANCE = 5e-3
"""At most, that a run with random outliers has such a finding."""
_CERTAIN = 1e-6
_CLUSTERED = 0.7
"""About the concentration if a third of the outliers came at random besides the periodic ones."""
_NEAR, _NEAR_CHECKPOINTS = 0.1, 1.5
"""In step: so close to the beat, in periods or in checkpoints."""


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
    moments, all_begins = begin[first], known(begin)
    intervals = np.diff(all_begins)
    if (intervals <= 0).any():
        return None
    span = float(all_begins[-1] - all_begins[0])
    period = find_period(moments, span, median(intervals), _CHANCE / len(_COLUMNS))
    if period is None or period.clustered < _CLUSTERED:
        return None
    interval = float(intervals.mean())
    near = max(_NEAR * period.period_ns, _NEAR_CHECKPOINTS * interval)
    on_beat = first & (period.distance(begin) <= near)
    beats = np.unique(np.round((begin[on_beat] - period.phase_ns) / period.period_ns))
    if beats.size < LEAST_MOMENTS:
        return None
    counted = _counted(np.flatnonzero(first), period.period_ns / interval)
    if counted > 1 - (1 - period.clustered) / 4 and period.clustered < 0.99:
        return None  # the checkpoints' own rhythm, which is clearer counted than timed
    return _finding(sample, column, period, period.period_ns / interval, out, first, on_beat, beats, counted)


def _counted(numbers: NDArray[np.intp], period: float) -> float:
    """How much the outliers keep to every so-many-th checkpoint, for the best whole number near the period."""
    whole = [max(2, round(period) + off) for off in (-1, 0, 1)]
    return max(float(abs(np.exp(2j * np.pi * numbers / n).mean())) for n in whole)


def _finding(
    sample: Sample,
    column: str,
    period: Period,
    checkpoints: float,
    out: Flags,
    first: Flags,
    on_beat: Flags,
    beats: Floats,
    counted: float,
) -> Finding:
    table, word = sample.recent, column.removesuffix("_ns")
    values = table[column]
    rows = out & (period.distance(table["begin_ns"]) <= period.period_ns / 4)
    middle = median(values)
    excess = median(values[on_beat]) - middle
    phase, by_phase = _culprit(sample, on_beat)
    passed = round(float(beats[-1] - beats[0])) + 1
    in_step = counted > 0.99
    evidence = [
        f"{np.count_nonzero(first)} times it is far above its median of {time_text(middle)}; {beats.size} of them keep "
        f"to the beat, in {beats.size} of {passed} periods",
        f"random outliers would do so with a chance of {period.chance * len(_COLUMNS):.1g} (Rayleigh's R = "
        f"{period.clustered:.3f}, all periods from {time_text(period.tried_ns[0])} to {time_text(period.tried_ns[1])})",
        f"then {phase} takes typically {time_text(by_phase)} more than its own median",
    ]
    if in_step:
        evidence.append(f"they are also always about {round(checkpoints)} checkpoints apart, or a multiple of that")
    certain = period.chance <= _CERTAIN and not in_step
    return Finding(
        rule=RULE.name,
        phase=phase,
        title=f"every {time_text(period.period_ns)} ({checkpoints:.1f} checkpoints) the {word} is longer by "
        f"{time_text(excess)}, in {phase}",
        numbers={
            "period_ns": round(period.period_ns),
            "period_checkpoints": round(checkpoints, 2),
            "outliers": int(np.count_nonzero(first)),
            "on_beat": int(beats.size),
            "periods": passed,
            "excess_ns": round(excess),
            "phase_excess_ns": round(by_phase),
            "concentration": round(period.clustered, 4),
            "chance": period.chance * len(_COLUMNS),
        },
        evidence=tuple(evidence),
        confidence=Confidence.HIGH if certain else Confidence.MEDIUM,
        confidence_reason="so regular by the clock, and not by the number of checkpoints"
        if certain
        else "it may as well be every so-many-th checkpoint: set another x-checkpoint-delay, and see whether it stays"
        if in_step
        else "so regular, but seen only a few times",
        advice=f"look for what runs every {time_text(period.period_ns)} on either host or in the guest: monitoring "
        "that polls QEMU, cron, timers, other VMs' work; move it away, or let it run in shorter pieces",
        cost_ns=mean_cost(table["pause_ns"], rows, median(table["pause_ns"])),
    )


def _culprit(sample: Sample, where: Flags) -> tuple[str, float]:
    """The phase that is most above its own median there, and by how much."""
    names = [*(phase.value for phase in ROLE_PHASES[sample.role] if phase not in OUTSIDE_TOTAL), "other"]
    above = {}
    for name in names:
        values = sample.recent[f"{name}_ns"]
        by = median(values[where]) - median(values)
        above[name] = by if by == by else 0.0
    worst = max(above, key=above.__getitem__)
    return worst, above[worst]


RULE = Rule(
    "periodic-outliers",
    "pauses or totals far above the rest, at regular intervals of time",
    _look,
    needs=("begin_ns", "total_ns"),
    least=60,
)
