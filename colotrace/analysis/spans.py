"""When each phase of a checkpoint began and ended: from its time marks, its phases' lengths, and what borders on what.

A record has how long each phase took and when each message passed, but not when each phase began. The boundaries
(colotrace.phases) tell the rest: a phase ends where the next begins, or at a mark, or at the transaction's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from colotrace.phases import BOUNDARIES, Effect, Phase, Role

Numbers = NDArray[np.int64]
Value = TypeVar("Value", int, Numbers)


def boundary_times(
    role: Role, lengths: Mapping[Phase, Value], marks: Mapping[str, Value], end: Value | None = None
) -> dict[str, Value]:
    """When each boundary was passed, by name, as far as it can be told: in nanoseconds, on the clock of the marks (by
    Mark's value) and of the transaction's `end`. Of one checkpoint, or arrays of many."""
    known: dict[str, Value] = {}
    for name, boundary in BOUNDARIES[role].items():
        if end is not None and boundary.effects & Effect.TRANSACTION_END:
            known[name] = end
        elif boundary.mark and boundary.mark.value in marks:
            known[name] = marks[boundary.mark.value]
    ends = {phase: phase_borders(role, phase) for phase in lengths}
    for _ in lengths:  # each round carries a known time over one more phase
        for phase, (opens, closes) in ends.items():
            if opens in known:
                known.setdefault(closes, known[opens] + lengths[phase])
            elif closes in known:
                known[opens] = known[closes] - lengths[phase]
    return known


def phase_spans(
    role: Role, lengths: Mapping[Phase, Value], marks: Mapping[str, Value]
) -> dict[Phase, tuple[Value, Value]]:
    """Begin and end of each phase whose place can be told, in the order of the phases; see boundary_times()."""
    known = boundary_times(role, lengths, marks)
    opens = {phase: phase_borders(role, phase)[0] for phase in Phase if phase in lengths}
    return {p: (known[name], known[name] + lengths[p]) for p, name in opens.items() if name in known}


def phase_borders(role: Role, phase: Phase) -> tuple[str, str]:
    """The names of the boundaries at which a phase opens and closes."""
    boundaries = BOUNDARIES[role].values()
    return next(b.name for b in boundaries if b.opens is phase), next(b.name for b in boundaries if b.closes is phase)
