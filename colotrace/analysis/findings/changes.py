"""How the pause changes over a run, and how any other figure does in the same way: a steady drift, or one step.

The statistics are the report's (colotrace.analysis.trend), held to more: a change counts only if it is large against
the pause and against what else the bins' medians do, for on a busy host pauses wander.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.measures import MAD_TO_SIGMA, median
from colotrace.analysis.findings.rule import SEVERAL_CLOCKS, Unknowable
from colotrace.analysis.findings.sample import Table
from colotrace.analysis.trend import HOUR_NS, LEAST_BINS, STEP_CONFIDENCE, Drift, drift_of, edges_of, step_of
from colotrace.recording.schema import PARTS
from colotrace.units import time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Floats

LEAST_OF_PAUSE = 0.1
"""A change, of the median pause."""
_REACHES_PAUSE = 0.5
"""Of a phase's change, the pause's."""
_OWN_SIDE = 0.9
"""Of the bins before, and of those after a step, lie on their own side of the middle between the two levels."""
_STEP_SPREADS, _DRIFT_SPREADS = 4.0, 6.0
"""A change is so many times what bins lie off it (scaled MAD): a straight line then explains three quarters of all that
the bins' medians do, which a mere wandering seldom looks like."""
_AT_ONCE = 0.5
"""Of a step lies between the two bins before and the two after it."""
LEAST_SPAN_NS = 10_000_000_000
"""Of a run: less is what a host does in passing."""
LEAST_CHECKPOINTS = 144
"""In 12 bins, as colotrace.analysis.trend makes them: fewer bins wander into a line too often."""
_MOST_NS = 2.0**62


@dataclass(frozen=True)
class Course:
    """A figure's change over the run, from one level to another; `clear` is whether there is evidence for it.

    `drift` is the slope of a steady one, None for a step. Units are the figure's own.
    """

    before: float
    after: float
    clear: bool
    drift: Drift | None = None

    @property
    def change(self) -> float:
        """By how much it grows."""
        return self.after - self.before

    @property
    def relative(self) -> float:
        """The same, of the level before; NaN if that is 0."""
        return self.change / self.before if self.before else float("nan")


class Bins:
    """A table's checkpoints in consecutive bins of equally many; `when_ns` is the middle of each, by begin_ns."""

    def __init__(self, table: Table, of: str) -> None:
        """`of` is a column: only checkpoints that have it are binned. Raises Unknowable if those are too few, or not in
        the order of time."""
        begin = table["begin_ns"]
        rows = np.flatnonzero(np.isfinite(begin) & np.isfinite(table[of]))
        if (np.diff(begin[rows]) < 0).any():
            raise Unknowable(SEVERAL_CLOCKS)
        self._table = table
        self.begin_ns: Floats = np.clip(begin[rows], -_MOST_NS, _MOST_NS)
        edges = edges_of(self.begin_ns.astype(np.int64))
        if len(edges) <= LEAST_BINS:
            raise Unknowable(f"it takes {LEAST_BINS} bins of checkpoints; there are {max(0, len(edges) - 1)}")
        self.rows = [rows[start:end] for start, end in pairwise(edges)]
        self.when_ns: Floats = np.array([(self.begin_ns[a] + self.begin_ns[b - 1]) / 2 for a, b in pairwise(edges)])

    @property
    def span_ns(self) -> float:
        """From the first bin's middle to the last one's."""
        return float(self.when_ns[-1] - self.when_ns[0])

    def levels(self, column: str) -> Floats | None:
        """The median of each bin; None if a bin has no value."""
        values = self._table[column]
        levels = np.array([median(values[rows]) for rows in self.rows])
        return levels if np.isfinite(levels).all() else None

    def drift(self, levels: Floats) -> Course:
        """The levels' steady change."""
        since = self.when_ns - self.when_ns[0]
        found = drift_of(since, levels, STEP_CONFIDENCE)
        if found is None:
            return Course(median(levels), median(levels), False)
        slope = found.per_hour_ns / HOUR_NS
        begin = float(np.median(levels - slope * since))
        return Course(begin, begin + slope * self.span_ns, found.evidence, found)

    def step(self, levels: Floats, at: int) -> Course:
        """The levels' change from the bins before number `at` to those from there on."""
        before, after = float(np.median(levels[:at])), float(np.median(levels[at:]))
        middle, up = (before + after) / 2, after > before
        new = (levels > middle) == up
        last = len(levels) - 1  # the step is within one of the two bins beside it, which may be on either side
        sides = min(1 - float(new[: max(1, at - 1)].mean()), float(new[min(at + 1, last) :].mean()))
        beside = float(np.median(levels[at : at + 2])) - float(np.median(levels[max(0, at - 2) : at]))
        at_once = beside * (after - before) >= _AT_ONCE * (after - before) ** 2
        return Course(before, after, at_once and sides >= _OWN_SIDE)

    def moment_ns(self, column: str, at: int, course: Course) -> tuple[float, float]:
        """When a step took place: the begin of the last checkpoint of the old and of the first of the new level."""
        rows = np.concatenate(self.rows[max(0, at - 2) : at + 2])
        first = _first_new(self._table[column][rows], course.before, course.after)
        begin = self._table["begin_ns"]
        return float(begin[rows[first - 1]]), float(begin[rows[first]])


@dataclass(frozen=True)
class Change:
    """A change over the run of `of`, a column: the pause, or a phase of it. `course` is what it does; `pause` and
    `pause_ns` are the pause's column and median; a step's new level begins in bin number `at`, None for a drift."""

    of: str
    course: Course
    pause: str
    pause_ns: float
    bins: Bins
    at: int | None

    def along(self, column: str) -> Course | None:
        """What another figure does in the same way; None if it is unknown."""
        levels = self.bins.levels(column)
        if levels is None:
            return None
        return self.bins.drift(levels) if self.at is None else self.bins.step(levels, self.at)

    @property
    def step_ns(self) -> tuple[float, float] | None:
        """Between which two checkpoints a step took place, by the table's begin_ns; None for a drift."""
        return None if self.at is None else self.bins.moment_ns(self.of, self.at, self.course)

    @property
    def cost_ns(self) -> float:
        """What is above the better end, on the average over the run."""
        if self.at is None:
            return abs(self.course.change) / 2
        after = 1 - self.at / len(self.bins.rows)
        return abs(self.course.change) * (after if self.course.change > 0 else 1 - after)


def change_of(table: Table) -> Change | None:
    """The change over the run that matters to the pause (the total, where no pause is known); None if there is none.

    The pause's own, or else that of a phase with which the pause changes: what another phase does may hide it there.
    Raises Unknowable if there are too few checkpoints.
    """
    pause = "pause_ns" if 2 * int(np.isfinite(table["pause_ns"]).sum()) >= len(table) else "total_ns"
    bins = Bins(table, pause)
    if bins.span_ns < LEAST_SPAN_NS:
        raise Unknowable(f"it takes {time_text(LEAST_SPAN_NS)} of a run; there are {time_text(bins.span_ns)}")
    pause_ns = median(table[pause])
    found = [change for of in (pause, *PARTS) if (change := _change(bins, of, pause, pause_ns)) is not None]
    if found and found[0].of == pause:
        return found[0]
    for change in sorted(found, key=lambda one: -abs(one.course.change)):
        along = change.along(pause)
        if along is not None and along.change / change.course.change >= _REACHES_PAUSE:
            return change
    return None


def _change(bins: Bins, of: str, pause: str, pause_ns: float) -> Change | None:
    levels = bins.levels(of)
    if levels is None:
        return None
    step = step_of(bins.when_ns.astype(np.int64), levels)
    if step is not None:
        at = _first_new(levels, step.before_ns, step.after_ns)  # Pettitt's own may be a bin off
        course = bins.step(levels, at)
        off = np.concatenate([levels[:at] - course.before, levels[at:] - course.after])
        if course.clear and abs(course.change) >= max(LEAST_OF_PAUSE * pause_ns, _STEP_SPREADS * _spread(off), 1):
            return Change(of, course, pause, pause_ns, bins, at)
    course = bins.drift(levels)
    off = levels - course.before - course.change * (bins.when_ns - bins.when_ns[0]) / bins.span_ns
    least = max(LEAST_OF_PAUSE * pause_ns, _DRIFT_SPREADS * _spread(off), 1)
    if course.clear and abs(course.change) >= least and _goes_on(levels, course.change):
        return Change(of, course, pause, pause_ns, bins, None)
    return None


def _first_new(values: Floats, before: float, after: float) -> int:
    """From which number on, never 0, values lie nearer to the level after than to the one before."""
    new = (values > (before + after) / 2) == (after > before)
    return min(int(np.cumsum(np.where(new, -1, 1)).argmax()) + 1, values.size - 1)


def _goes_on(levels: Floats, change: float) -> bool:
    """Whether the change goes on through the run: the median of each third lies on from the one before."""
    thirds = [float(np.median(part)) for part in np.array_split(levels, 3)]
    return all((second - first) / change >= 1 / 6 for first, second in pairwise(thirds))


def _spread(off: Floats) -> float:
    return MAD_TO_SIGMA * float(np.median(np.abs(off - np.median(off))))
