"""Where the time of the primary's two waits goes: on the wire, at work on the secondary, or nobody knows.

The primary waits for a message of the secondary (recv: VMSTATE_RECEIVED, load: VMSTATE_LOADED) from a to b. On one
clock: before the secondary calls its send function, what of a..b lies in a phase of the secondary is work in that
phase; what lies after it is the way back, from that call to the return of the primary's receive: network, both kernels,
and Nagle against delayed ACK. In the phase put the secondary first waits for VMSTATE_SIZE, sent before a: the way
there. The rest of a..b is unexplained. The parts add up to b - a to the nanosecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from colotrace.analysis.merge_clock import Numbers
from colotrace.phases import Mark, Phase

ANSWERS = {Phase.RECV: Mark.VMSTATE_RECEIVED, Phase.LOAD: Mark.VMSTATE_LOADED}
"""The primary's waits, and the message that ends each."""
THERE, BACK, UNEXPLAINED = "network there", "network back", "unexplained"

Spans = Mapping[Phase, tuple[Numbers, Numbers]]


@dataclass(frozen=True)
class Split:
    """One wait of the primary, for each of `sequence`: `total_ns` and the parts that it consists of. `error_ns`: that
    of the clocks' offset, by which a border between network and the secondary may be off. `own_ns` are the secondary's
    own lengths of its phase of the same name, for comparison."""

    phase: Phase
    sequence: Numbers
    total_ns: Numbers
    parts_ns: Mapping[str, Numbers]
    error_ns: Numbers
    own_ns: Numbers


def secondary_part(phase: Phase) -> str:
    """The name of the part that is a phase of the secondary."""
    return f"secondary {phase.value}"


def split_wait(total: Numbers, answered: Numbers, sent: Numbers, sized: Numbers, spans: Spans) -> dict[str, Numbers]:
    """The parts of the primary's waits of length `total` that end at `answered`. `sent` (the answer), `sized`
    (VMSTATE_SIZE has come) and `spans` are the secondary's, all on the primary's clock."""
    begin = answered - total
    sent = np.minimum(sent, answered)
    parts = {THERE: np.zeros_like(total)}
    for phase, (opens, closes) in spans.items():
        if phase is Phase.WAIT:
            continue
        if phase is Phase.PUT:
            parts[THERE] = _overlap(opens, np.minimum(sized, closes), begin, sent)
            opens = np.clip(sized, opens, closes)
        parts[secondary_part(phase)] = _overlap(opens, closes, begin, sent)
    parts[BACK] = _overlap(sent, answered, begin, answered)
    parts[UNEXPLAINED] = total - np.sum(list(parts.values()), axis=0)
    return parts


def _overlap(a: Numbers, b: Numbers, begin: Numbers, end: Numbers) -> Numbers:
    both: Numbers = np.maximum(np.minimum(b, end) - np.maximum(a, begin), 0)
    return both
