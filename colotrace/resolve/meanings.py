"""What a phase contains in this binary, where versions of QEMU differ: so that figures are not compared blindly.

A version does a thing in one phase, another version in another one or not at all. Each such thing is a call; the phase
that is open where the call stands is what the plan tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from colotrace.binary.code import Function, Instruction
from colotrace.phases import BOUNDARIES, Boundary, Role
from colotrace.resolve.naming import calls_any
from colotrace.resolve.paths import Segment
from colotrace.resolve.roleplan import Site
from colotrace.resolve.skeleton import FLUSH, UNLOCK, Step

ABSENT = "not by this thread"
OTHER = "other"


@dataclass(frozen=True)
class Subject:
    """Something done in a checkpoint, and the calls that do it; `after` names the boundaries that it may follow."""

    key: str
    title: str
    names: tuple[str, ...]
    after: tuple[str, ...] | None = None


SUBJECTS: dict[Role, tuple[Subject, ...]] = {
    Role.PRIMARY: (
        Subject("compare-notification", "telling colo-compare of the checkpoint", ("colo_notify_compares_event",)),
        Subject("switchover-start", "telling of the switchover", ("qemu_savevm_maybe_send_switchover_start",)),
        Subject("throttle-reset", "resetting the throttle's counters", ("mig_throttle_counter_reset",)),
        Subject("pending-query", "the last dirty bitmap, asked for by itself", ("qemu_savevm_query_pending_final",)),
        Subject(
            "live-state",
            "sending dirty pages (with multifd, its synchronisation too)",
            ("qemu_savevm_live_state", "qemu_savevm_state_complete_precopy_iterable"),
        ),
        Subject(
            "lock-release",
            "letting go of the lock after saving device state",
            UNLOCK,
            ("dev-begin", "dev-end", "ram-begin"),
        ),
    ),
    Role.SECONDARY: (
        Subject("vcpu-synchronisation", "fetching the vCPUs' state", ("cpu_synchronize_all_states",)),
        Subject("load-pages", "loading pages into the cache", ("qemu_loadvm_state_main",)),
        Subject("system-reset", "resetting the machine", ("qemu_system_reset",)),
        Subject("cache-flush", "flushing the cache", (FLUSH,)),
        Subject("filter-notification", "telling the network filters", ("colo_notify_filters_event",)),
    ),
}


def meanings_of(
    function: Function, role: Role, sites: Mapping[Step, Site], anchors: AbstractSet[int]
) -> dict[str, str]:
    """Subject -> the phase in which this binary does it, "other" between two phases, or that it does not.

    `anchors` are the addresses of all anchors. A subject done in several phases names them all; only what lies between
    a transaction's begin and its end counts.
    """
    stretches: list[tuple[Boundary, str, AbstractSet[int]]] = []
    opened = OTHER
    for (boundary, start), (_, end) in itertools.pairwise(_in_order(role, sites)):
        opened = boundary.opens.value if boundary.opens else OTHER if boundary.closes else opened
        inside = Segment(function, start.address, end.address, anchors - {start.address, end.address}).nodes
        stretches.append((boundary, opened, inside | {start.address}))
    meanings = {}
    for subject in SUBJECTS[role]:
        calls = {call.address for call in function.calls if calls_any(call, subject.names)}
        phases = [
            phase
            for boundary, phase, places in stretches
            if calls & places and (subject.after is None or boundary.name in subject.after)
        ]
        meanings[subject.key] = " and ".join(dict.fromkeys(phases)) or ABSENT
    return meanings


def _in_order(role: Role, sites: Mapping[Step, Site]) -> list[tuple[Boundary, Instruction]]:
    """The boundaries found between a transaction's begin and its end, each once a place, in the order of the path."""
    at = {step.boundary: site.instruction for step, site in sites.items() if step.boundary}
    names = list(BOUNDARIES[role])
    names = names[names.index("transaction-begin") : names.index("transaction-end") + 1]
    return [(BOUNDARIES[role][name], at[name]) for name in names if name in at]
