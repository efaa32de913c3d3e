"""Where in a checkpoint its phases lie (colotrace.analysis.spans): what a waterfall draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colotrace.analysis.spans import boundary_times, phase_borders
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Mark, Phase, Role


@dataclass(frozen=True)
class Stretch:
    """One phase of one checkpoint: nanoseconds since its transaction began. `begin_ns` is None if it cannot be told."""

    phase: Phase
    begin_ns: int | None
    length_ns: int | None


def stretches(role: Role, record: Mapping[str, Any]) -> tuple[Stretch, ...]:
    """The phases within the transaction of one record (a JSON object, as Checkpoint.as_json()), in their order."""
    begin = record["begin_ns"]
    lengths: dict[Phase, int | None] = {
        phase: record.get(f"{phase.value}_ns") for phase in ROLE_PHASES[role] if phase not in OUTSIDE_TOTAL
    }
    marks = (
        {} if begin is None else {name: when - begin for name, when in record["marks_ns"].items() if when is not None}
    )
    marks[Mark.CHECKPOINT_REQUEST.value] = 0
    known = {phase: length for phase, length in lengths.items() if length is not None}
    at = boundary_times(role, known, marks, record["total_ns"])
    return tuple(Stretch(phase, at.get(phase_borders(role, phase)[0]), length) for phase, length in lengths.items())
