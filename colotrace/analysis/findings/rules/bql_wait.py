"""Waits of the COLO thread for QEMU's big lock (BQL), which the main loop, the monitor and device emulation hold.

From the mark before to the mark after, these stretches do nothing that could take long but take the lock: they rewind
a buffer and look at the failover state besides; read in the machine code of Debian's 5.2, 7.2, 10.0 and 11.1. Free,
it takes some microseconds. The primary takes it
again between VM_STOPPED and VMSTATE_SEND, where it has just let go of it, and no waiter comes in between: glibc's
mutexes are not handed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import known, mean_cost, median, percentile
from colotrace.analysis.findings.rule import Rule, Unknowable
from colotrace.analysis.findings.sample import Sample, Table
from colotrace.phases import Mark, Phase, Role
from colotrace.units import time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Flags, Floats

LONG_NS = 1_000_000
"""A wait: on a busy machine the lock takes 2 to 30 us, once in a hundred times up to 0.7 ms."""
_LEAST_WAITS = 5
_MATTERS = 0.05
"""Of the median total: what the waits must add to a checkpoint, on the average."""
_STARVED = 0.25
"""The COLO thread may lack a processor: what lies between phases then takes long as well, this often per wait."""


@dataclass(frozen=True)
class _Place:
    """Where the lock is taken; only inside the pause does a wait for it keep the guest from running."""

    phase: Phase
    before: Mark
    after: Mark
    paused: bool


PLACES = {
    Role.PRIMARY: (
        _Place(Phase.STAT, Mark.CHECKPOINT_REPLY, Mark.VM_STOP, False),
        _Place(Phase.RESUME, Mark.VMSTATE_LOADED, Mark.VM_START, True),
    ),
    Role.SECONDARY: (_Place(Phase.STAT, Mark.CHECKPOINT_REQUEST, Mark.VM_STOP, False),),
}


def lock_waits(table: Table, role: Role) -> Floats:
    """The longest wait for the lock in each checkpoint, where it can be told; NaN where it cannot."""
    waits = [table.between(place.before, place.after) for place in PLACES[role]]
    longest: Floats = np.fmax.reduce(waits)
    return longest


def _look(sample: Sample) -> Iterator[Finding]:
    table = sample.recent
    times = {place: table.between(place.before, place.after) for place in PLACES[sample.role]}
    seen = ~np.isnan(lock_waits(table, sample.role))
    if 2 * np.count_nonzero(seen) < len(table):
        raise Unknowable("the marks before and after the lock are known of less than half of the checkpoints")
    long = {place: waits >= LONG_NS for place, waits in times.items()}
    waits = np.concatenate([times[place][long[place]] for place in times])
    adds = waits.size * median(waits) / len(table) if waits.size else 0.0  # by the median: one huge wait is no pattern
    if waits.size >= _LEAST_WAITS and adds >= _MATTERS * median(table["total_ns"]):
        yield _finding(sample, times, long, waits)


def _finding(sample: Sample, times: dict[_Place, Floats], long: dict[_Place, Flags], waits: Floats) -> Finding:
    n = len(sample.recent)
    costs = {place: mean_cost(times[place], long[place], 0) for place in times}
    worst = max(costs, key=costs.__getitem__)
    part = float(np.logical_or.reduce(list(long.values())).mean())
    typical, most = median(waits), percentile(waits, 0.95)
    numbers: dict[str, int | float | None] = {
        "wait_ns": round(typical),
        "wait_p95_ns": round(most),
        "wait_max_ns": round(float(waits.max())),
        "part_of_checkpoints": round(part, 4),
        "mean_ns": sum(costs.values()),
    }
    evidence = []
    for place in times:
        phase, held = place.phase.value, float(long[place].mean())
        numbers |= {f"{phase}_part": round(held, 4), f"{phase}_mean_ns": costs[place]}
        free = median(known(times[place])[known(times[place]) < LONG_NS])
        otherwise = f", otherwise {time_text(free)}" if free >= 0 else ""
        evidence.append(
            f"in {phase}, from {place.before.value} to {place.after.value}, QEMU only takes the lock: over "
            f"{time_text(LONG_NS)} in {np.count_nonzero(long[place])} of {n} checkpoints{otherwise}; "
            f"{time_text(costs[place])} a checkpoint, {'in the pause' if place.paused else 'before the VM stops'}"
        )
    if sample.role is Role.PRIMARY:
        reply = median(sample.recent.between(Mark.CHECKPOINT_REQUEST, Mark.CHECKPOINT_REPLY))
        numbers["request_to_reply_ns"] = round(reply) if reply == reply else None
        if reply == reply:
            evidence.append(f"stat's {time_text(reply)} from REQUEST to REPLY is the secondary's answer, no such wait")
    confidence, reason = _confidence(float((sample.recent["other_ns"] >= LONG_NS).mean()), part)
    return Finding(
        rule=RULE.name,
        phase=worst.phase.value,
        title=f"QEMU's big lock (BQL) is waited for in {part:.0%} of the checkpoints, typically {time_text(typical)}",
        numbers=numbers,
        evidence=tuple(evidence),
        confidence=confidence,
        confidence_reason=reason,
        advice=f"look for what holds the lock of pid {sample.header.pid} for up to {time_text(most)}: monitor commands "
        "of management and monitoring (dumps, pmemsave, human-monitor-command), or devices emulated in the main loop; "
        "ask less often, or move block devices to an iothread",
        cost_ns=sum(cost for place, cost in costs.items() if place.paused),
    )


def _confidence(starved: float, part: float) -> tuple[Confidence, str]:
    if starved <= _STARVED * part:
        return Confidence.HIGH, "nothing else is done there, and the same thread goes on without delay elsewhere"
    return Confidence.MEDIUM, "nothing else is done there, but the thread is late elsewhere too, as if for a processor"


RULE = Rule("bql-wait", "waits for QEMU's big lock, in stat and resume", _look, needs=("total_ns",))
