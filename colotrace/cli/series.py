"""What the terminal needs to remember of the checkpoints it was shown: recent values per phase, the last, the largest.

Means and counts on the screen are not taken from here but from the kernel's totals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from colotrace.checkpoint import Checkpoint
from colotrace.phases import OUTSIDE_TOTAL, PHASES, ROLE_PHASES, Phase, Role

RECENT = 1000
"""Percentiles and spark lines are over at most this many completed checkpoints."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass
class Series:
    """The recent values of one phase (or of the total, or the pause), in nanoseconds."""

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    largest: int = 0

    def add(self, value: int) -> None:
        """Takes the next value."""
        self.recent.append(value)
        self.largest = max(self.largest, value)

    @property
    def last(self) -> int | None:
        """The newest value."""
        return self.recent[-1] if self.recent else None

    def percentile(self, fraction: float) -> int | None:
        """The smallest recent value that at least `fraction` of them do not exceed (nearest rank)."""
        if not self.recent:
            return None
        ordered = sorted(self.recent)
        return ordered[max(0, -(-int(fraction * 1000) * len(ordered) // 1000) - 1)]


ROWS = (*(phase.value for phase in PHASES if phase is not Phase.INIT), "other", "total", "pause")


def rows_of(role: Role) -> tuple[str, ...]:
    """The rows that a role's table has, in order."""
    phases = {phase.value for phase in ROLE_PHASES[role]}
    return tuple(row for row in ROWS if row in phases or row in ("other", "total", "pause"))


class RoleSeries:
    """The series of one process in one role, by row name."""

    def __init__(self, pid: int, role: Role) -> None:
        self.pid, self.role = pid, role
        self.rows = {row: Series() for row in rows_of(role)}

    def add(self, checkpoint: Checkpoint) -> None:
        """Takes a checkpoint; only completed ones count."""
        if not checkpoint.completed:
            return
        values = {phase.value: ns for phase, ns in checkpoint.phase_ns.items()}
        values |= {
            name: ns
            for name, ns in (
                ("other", checkpoint.other_ns), ("total", checkpoint.total_ns), ("pause", checkpoint.pause_ns)
            )
            if ns is not None
        }  # fmt: skip
        for name, ns in values.items():
            self.rows[name].add(ns)


def sparkline(values: Sequence[int], width: int) -> str:
    """The last `width` values as bars, from 0 to the largest of them."""
    shown = list(values)[-width:]
    top = max(shown, default=0)
    return "".join(_BARS[min(len(_BARS) - 1, value * len(_BARS) // (top + 1))] for value in shown)


def is_part_of_total(row: str) -> bool:
    """Whether a row's time is within the total (wait and the pause are not)."""
    return row not in {phase.value for phase in OUTSIDE_TOTAL} | {"total", "pause"}
