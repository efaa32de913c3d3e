"""When each phase of a checkpoint began and ended: from its time marks, its phases' lengths, and what borders on
what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from colotrace.phases import BOUNDARIES, Phase, Role

Numbers = NDArray[np.int64]
Value = TypeVar("Value", int, Numbers)


def phase_spans(
    role: Role, phases: Mapping[Phase, Value], marks: Mapping[str, Value]
) -> dict[Phase, tuple[Value, Value]]:
    """Begin and end of each phase whose place can be known. `phases` are lengths, `marks` times by
    colotrace.phases.Mark's value: of one checkpoint, or arrays of many. In nanoseconds, on the marks' clock; in the
    order of the phases."""
    boundaries = BOUNDARIES[role].values()
    known = {b.name: marks[b.mark.value] for b in boundaries if b.mark and b.mark.value in marks}
    ends: dict[Phase, list[str]] = {}
    for boundary in boundaries:
        if boundary.opens and boundary.opens in phases:
            ends.setdefault(boundary.opens, []).insert(0, boundary.name)
        if boundary.closes and boundary.closes in phases:
            ends.setdefault(boundary.closes, []).append(boundary.name)
    pairs = {phase: names for phase, names in ends.items() if len(names) == 2}
    for _ in pairs:  # a phase's end may be the next one's begin: as many rounds as there are phases reach all
        for phase, (opens, closes) in pairs.items():
            if opens in known and closes not in known:
                known[closes] = known[opens] + phases[phase]
            elif closes in known and opens not in known:
                known[opens] = known[closes] - phases[phase]
    spans = {p: (known[o], known[o] + phases[p]) for p, (o, _) in pairs.items() if o in known}
    return {phase: spans[phase] for phase in Phase if phase in spans}
