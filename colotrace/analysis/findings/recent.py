"""What attach keeps of checkpoints for the findings: the last ones, and some spread over the whole run.

Plain arrays, a few MiB at most: nothing heavy is imported while a VM is watched.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from colotrace.checkpoint import Checkpoint
from colotrace.phases import MARKS, PHASES, Phase, Trigger
from colotrace.recording.schema import mark_column

RECENT = 10_000
"""Consecutive checkpoints that rules look at: the last ones."""
SPREAD = 2_000
"""Checkpoints spread evenly over the whole run, for what changes slowly; at least half as many of a long run."""

_PHASES = tuple(phase for phase in PHASES if phase is not Phase.INIT)
_FIGURES = ("begin_ns", "total_ns", "other_ns", "pause_ns", "device_bytes", "ram_bytes", "ram_pages")
NUMERIC = (*_FIGURES, *(f"{phase.value}_ns" for phase in _PHASES), *(mark_column(mark) for mark in MARKS), "trigger")
"""The columns that are kept: a recording's, by its names. `trigger` is Trigger.number; 0: none that is known."""
ABSOLUTE = frozenset({"begin_ns", *(mark_column(mark) for mark in MARKS)})
"""Moments: kept as nanoseconds since the first checkpoint's begin, which fits a float to the nanosecond."""
_WIDTH = len(NUMERIC)


class Rows:
    """Rows of NUMERIC columns, NaN where null; moments count from `base_ns` (CLOCK_MONOTONIC)."""

    def __init__(self) -> None:
        self.base_ns: int | None = None
        self.flat = array("d")

    def __len__(self) -> int:
        return len(self.flat) // _WIDTH

    def row(self, values: Sequence[int | None]) -> array[float]:
        """A row of values in the order of NUMERIC, as it is kept."""
        if self.base_ns is None:
            self.base_ns = values[0]
        base = self.base_ns or 0
        return array(
            "d",
            [
                math.nan if value is None else value - base if name in ABSOLUTE else value
                for name, value in zip(NUMERIC, values, strict=True)
            ],
        )


class Recent:
    """The completed checkpoints of one process in one role; add() takes the next."""

    def __init__(self, recent: int = RECENT, spread: int = SPREAD) -> None:
        self._most, self._most_spread, self._step, self._begin = recent, spread, 1, 0
        self._last, self._spread = Rows(), Rows()
        self.completed = 0

    def add(self, checkpoint: Checkpoint) -> None:
        """Takes the next checkpoint, if it is a completed one."""
        if not checkpoint.completed:
            return
        row = self._last.row(values_of(checkpoint))
        self._spread.base_ns = self._last.base_ns
        if len(self._last) < self._most:
            self._last.flat.extend(row)
        else:
            at = self._begin * _WIDTH
            self._last.flat[at : at + _WIDTH] = row
            self._begin = (self._begin + 1) % self._most
        if self.completed % self._step == 0:
            self._spread.flat.extend(row)
            if len(self._spread) == self._most_spread:
                self._thin_out()
        self.completed += 1

    def rows(self) -> tuple[Rows, Rows]:
        """The last ones and those spread over the run, in the order of time."""
        last = Rows()
        last.base_ns, at = self._last.base_ns, self._begin * _WIDTH
        last.flat = self._last.flat[at:] + self._last.flat[:at]
        return last, self._spread

    def _thin_out(self) -> None:
        kept = array("d")
        for i in range(0, len(self._spread), 2):
            kept.extend(self._spread.flat[i * _WIDTH : (i + 1) * _WIDTH])
        self._spread.flat = kept
        self._step *= 2


def values_of(checkpoint: Checkpoint) -> list[int | None]:
    """A checkpoint's values in the order of NUMERIC."""
    trigger = checkpoint.trigger
    return [
        checkpoint.begin_ns,
        checkpoint.total_ns,
        checkpoint.other_ns,
        checkpoint.pause_ns,
        checkpoint.device_bytes,
        checkpoint.ram_bytes,
        checkpoint.ram_pages,
        *(checkpoint.phase_ns.get(phase) for phase in _PHASES),
        *(checkpoint.marks_ns.get(mark) for mark in MARKS),
        trigger.number if trigger else 0,
    ]


def values_of_record(record: dict[str, object]) -> list[int | None]:
    """The same of a checkpoint's JSON object, as recordings have it."""
    marks = record.get("marks_ns")
    known = marks if isinstance(marks, dict) else {}
    word = record.get("trigger")
    numbers = {trigger.value: trigger.number for trigger in Trigger}
    plain = [record.get(name) for name in (*_FIGURES, *(f"{phase.value}_ns" for phase in _PHASES))]
    moments = [known.get(mark.value) for mark in MARKS]
    values = [value if type(value) is int else None for value in (*plain, *moments)]
    return [*values, numbers.get(word, 0) if isinstance(word, str) else 0]
