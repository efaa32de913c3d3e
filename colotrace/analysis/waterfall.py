"""Where in a checkpoint its phases lie, from durations and time marks: what a waterfall draws.

A record has how long each phase took and when each message passed, but not when each phase began. The boundaries
(colotrace.phases) tell the rest: a phase ends where the next begins, or at a mark, or at the transaction's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colotrace.phases import BOUNDARIES, OUTSIDE_TOTAL, ROLE_PHASES, Effect, Phase, Role


@dataclass(frozen=True)
class Stretch:
    """One phase of one checkpoint: nanoseconds since its transaction began. `begin_ns` is None if it cannot be told."""

    phase: Phase
    begin_ns: int | None
    length_ns: int | None


def stretches(role: Role, record: Mapping[str, Any]) -> tuple[Stretch, ...]:
    """The phases within the transaction of one record (a JSON object, as Checkpoint.as_json()), in their order."""
    begin, marks = record["begin_ns"], record["marks_ns"]
    lengths: dict[Phase, int | None] = {
        phase: record.get(f"{phase.value}_ns") for phase in ROLE_PHASES[role] if phase not in OUTSIDE_TOTAL
    }
    at: dict[str, int] = {}
    for name, boundary in BOUNDARIES[role].items():
        if boundary.effects & Effect.TRANSACTION_BEGIN:
            at[name] = 0
        elif boundary.effects & Effect.TRANSACTION_END and record["total_ns"] is not None:
            at[name] = record["total_ns"]
        elif boundary.mark and begin is not None and marks.get(boundary.mark.value) is not None:
            at[name] = marks[boundary.mark.value] - begin
    ends = {phase: _ends(role, phase) for phase in lengths}
    for _ in lengths:  # each round carries a known time over one more phase
        for phase, (opens, closes) in ends.items():
            length = lengths[phase]
            if length is not None and opens in at:
                at.setdefault(closes, at[opens] + length)
            elif length is not None and closes in at:
                at.setdefault(opens, at[closes] - length)
    return tuple(Stretch(phase, at.get(ends[phase][0]), length) for phase, length in lengths.items())


def _ends(role: Role, phase: Phase) -> tuple[str, str]:
    """The names of the boundaries at which a phase opens and closes."""
    boundaries = BOUNDARIES[role].values()
    return next(b.name for b in boundaries if b.opens is phase), next(b.name for b in boundaries if b.closes is phase)
