"""A second witness: DWARF says which function of colo.c the code at each probe was compiled from.

The plan is found from the code alone, and DWARF adds nothing to it. Where DWARF is there, each boundary must lie in the
function that it belongs to in QEMU's source, inlined or out of line; and a message's must be a call of, or in, one of
the functions that exchange messages, and no other boundary may lie in those. Where one does not, nothing of its role
is exact any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from colotrace.binary.debugsections import NoDwarf
from colotrace.binary.dwarf import INFO
from colotrace.binary.dwarffunctions import Described, Piece, describe
from colotrace.binary.image import Image
from colotrace.errors import BinaryError
from colotrace.phases import Role
from colotrace.resolve.plan import Probe, Quality, RolePlan, Unresolved, Witness, WitnessedFunction
from colotrace.resolve.skeleton import SKELETONS, Step, StepKind

_SENDERS = frozenset(("colo_send_message",))
_RECEIVERS = frozenset(("colo_receive_message", "colo_receive_check_message"))
_OWNERS: dict[Role, dict[str, str]] = {
    Role.PRIMARY: {
        "init-begin ready wait-begin colo-exit": "colo_process_checkpoint",
        "transaction-begin reply vm-stop vm-stopped vmstate-send dev-begin dev-end ram-begin device-state recv-begin "
        "recv-end load-begin resume-begin vm-start vm-started": "colo_do_checkpoint_transaction",
        "put-begin": "colo_send_message_value",
    },
    Role.SECONDARY: {
        "init-begin ready colo-exit": "colo_process_incoming_thread",
        "wait-begin": "colo_wait_handle_message",
        "transaction-begin vm-stop vm-stopped reply ram-begin device-state put-end recv-begin load-begin "
        "cache-flush cache-flushed vm-start vm-started loaded": "colo_incoming_process_checkpoint",
        "put-begin size": "colo_receive_message_value",
    },
}
"""The function that a boundary's call is in, by QEMU's source. A transaction's end is where its function returns to,
and belongs to none. Where a version has no function of a name (the oldest ones have the secondary's transaction in the
thread's function itself), what would belong to it is not judged."""
_OWNER = {
    role: {name: owner for names, owner in owners.items() for name in names.split()} for role, owners in _OWNERS.items()
}
_FUNCTIONS = frozenset(owner for owners in _OWNERS.values() for owner in owners.values()) | _SENDERS | _RECEIVERS
_MESSAGES = {
    skeleton.role: {
        step.boundary: _SENDERS if step.kind is StepKind.SEND else _RECEIVERS
        for step in skeleton.steps
        if isinstance(step, Step) and step.boundary and step.message
    }
    for skeleton in SKELETONS
}
"""Boundary -> the functions that exchange its message, of which one is called there, or is inlined."""


@dataclass
class _Hearing:
    """What was found for one role: its boundaries, those of several places once; for a contradiction, the reason."""

    agreed: dict[str, None] = field(default_factory=dict)
    contradicted: dict[str, str] = field(default_factory=dict)
    unjudged: dict[str, None] = field(default_factory=dict)


def hear(
    image: Image, debug_file: str | None, roles: Mapping[Role, RolePlan]
) -> tuple[dict[Role, RolePlan], list[Unresolved]]:
    """The roles' plans with what DWARF says to them, and each contradiction.

    `debug_file` is the image's separate debug file, if one was found: it is asked where the image has no DWARF itself.
    """
    source = INFO
    try:
        own = image.section(INFO)
        if debug_file is not None and (own is None or not own.in_file):
            source = f"{INFO} of {debug_file}"
            with Image(debug_file, debug=True) as debug:
                described = _described(debug, roles)
        else:
            described = _described(image, roles)
    except (NoDwarf, BinaryError) as error:
        silent = Witness(source, reason=str(error))
        return {role: replace(plan, witness=silent) for role, plan in roles.items()}, []
    heard = {role: _judge(plan, described) for role, plan in roles.items()}
    doubts = [
        Unresolved(role, f"{name}: witness", f"{source}: {why}")
        for role, hearing in heard.items()
        for name, why in hearing.contradicted.items()
    ]
    return {role: _told(plan, heard[role], source, described) for role, plan in roles.items()}, doubts


def _described(image: Image, roles: Mapping[Role, RolePlan]) -> Described:
    """What DWARF has on the probes, and on the functions that are called where a message is exchanged."""
    probes = [(role, probe) for role, plan in roles.items() for probe in plan.probes]
    messages = [probe for role, probe in probes if not _MESSAGES[role].keys().isdisjoint(_names(probe))]
    called = {probe.target for probe in messages if probe.target is not None}
    return describe(image, {probe.address for _, probe in probes}, _FUNCTIONS, called)


def _told(plan: RolePlan, hearing: _Hearing, source: str, described: Described) -> RolePlan:
    """A role's plan with its witness; nothing of it is exact if that contradicts it."""
    reason = "" if hearing.agreed or hearing.contradicted else "it names none of the functions of this role"
    owners = {_OWNER[plan.role].get(name) for probe in plan.probes for name in _names(probe)} | _SENDERS | _RECEIVERS
    functions = tuple(WitnessedFunction(p.name, p.inlined, p.ranges) for p in described.pieces if p.name in owners)
    witness = Witness(
        source, described.files, functions,
        tuple(name for name in hearing.agreed if name not in hearing.contradicted),
        tuple(hearing.contradicted), tuple(hearing.unjudged), reason,
    )  # fmt: skip
    if not hearing.contradicted:
        return replace(plan, witness=witness)
    phases = {phase: Quality.PARTIAL if quality else None for phase, quality in plan.phases.items()}
    probes = tuple(replace(probe, proven=False) for probe in plan.probes)
    return replace(plan, witness=witness, phases=phases, probes=probes)


def _judge(plan: RolePlan, described: Described) -> _Hearing:
    hearing, by_name = _Hearing(), dict[str, list[Piece]]()
    for piece in described.pieces:
        by_name.setdefault(piece.name, []).append(piece)
    for probe in plan.probes:
        for name in _names(probe):
            owner = _OWNER[plan.role].get(name)
            if owner is None or owner not in by_name:
                hearing.unjudged[name] = None
                continue
            where = f"{probe.address:#x} lies"
            if not any(piece.has(probe.address) for piece in by_name[owner]):
                hearing.contradicted[name] = f"{where} outside {owner}, which is at {_ranges(by_name[owner])}"
            elif why := _against(_MESSAGES[plan.role].get(name), probe, by_name, described):
                hearing.contradicted[name] = why
            else:
                hearing.agreed[name] = None
    return hearing


def _against(
    wanted: AbstractSet[str] | None, probe: Probe, by_name: Mapping[str, list[Piece]], described: Described
) -> str | None:
    """Why a boundary cannot be in, or a call of, one of the functions that are `wanted`; or is in one, if none are."""
    inside = {n for n in _SENDERS | _RECEIVERS for p in by_name.get(n, []) if p.inlined and p.has(probe.address)}
    if wanted is None:
        return f"{probe.address:#x} lies in {' and '.join(sorted(inside))}, inlined there" if inside else None
    if wanted & inside or not wanted & by_name.keys():
        return None
    target = probe.target
    called = {p.name for p in described.pieces if target is not None and p.begins_at({target})}
    if wanted & called or (not called and target is not None and described.covers(target)):
        return None  # clang's -g1 has no entry of a function that nothing is inlined into
    what = f"calls {' or '.join(sorted(called))}" if called else f"is {probe.instruction}"
    return f"{probe.address:#x} {what}, and is not in {' or '.join(sorted(wanted))}, and no call of it"


def _names(probe: Probe) -> list[str]:
    """The boundaries that a probe marks."""
    return probe.boundary.name.split("+")


def _ranges(pieces: Iterable[Piece]) -> str:
    spans = sorted(span for piece in pieces for span in piece.ranges)
    told = ", ".join(f"{start:#x}-{end:#x}" for start, end in spans[:8])
    return f"{told} and {len(spans) - 8} more" if len(spans) > 8 else told
