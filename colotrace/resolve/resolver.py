"""`resolve(path)`: the plan for a binary, or the error that says why there is none."""

from __future__ import annotations

import os
from dataclasses import replace

from colotrace.binary.code import Code
from colotrace.binary.functions import FunctionBounds
from colotrace.binary.image import Image, Segment
from colotrace.binary.relocations import Relocations
from colotrace.errors import BinaryError, ColotraceError, NoColoError, PlanError
from colotrace.phases import ROLE_PHASES, TAKEOVER, Role
from colotrace.resolve.counters import find_ram_counters
from colotrace.resolve.evidence import FunctionCode
from colotrace.resolve.messages import Messages, message_numbers
from colotrace.resolve.nameoptions import ONLY_THIS_HOST, NameOptions
from colotrace.resolve.names import find_names, provenance, quarrels
from colotrace.resolve.paths import straight_on
from colotrace.resolve.plan import UNTRIED_MACHINES, Probe, ProbePlan, RolePlan, Unresolved
from colotrace.resolve.role import RoleResolver
from colotrace.resolve.roleplan import make_probe
from colotrace.resolve.roots import find_root
from colotrace.resolve.skeleton import COLO_TEXT, SKELETONS, VM_START
from colotrace.resolve.spine import lay_out
from colotrace.resolve.triggers import find_triggers
from colotrace.resolve.witness import hear


def resolve(path: str | os.PathLike[str], name: str | None = None, options: NameOptions = ONLY_THIS_HOST) -> ProbePlan:
    """The plan for the QEMU binary at `path`, which messages call `name`. `options` tell where else to look for names.

    Raises BinaryError for what is not a QEMU of a known machine, NoColoError for one without COLO, and PlanError for
    one with COLO in which nothing could be resolved.
    """
    with Image(path, name) as image:
        return resolve_image(image, options)


def resolve_image(image: Image, options: NameOptions = ONLY_THIS_HOST) -> ProbePlan:
    """The plan for an open image; see resolve()."""
    version = image.qemu_version()
    if version is None:
        raise BinaryError(
            f"{image.path} is not a QEMU system emulator: it does not hold the text of its --version",
            "Name a qemu-system-* binary.",
        )
    symbols = find_names(image, options)
    relocations = Relocations(image)
    code = Code(image, symbols, FunctionBounds(image), relocations)
    numbers, numbers_from = message_numbers(code, relocations)
    roles: dict[Role, RolePlan] = {}
    unresolved: list[Unresolved] = []
    messages = Messages(code)
    primary_calls: frozenset[str] | None = None
    roots = {skeleton.role: find_root(code, skeleton) for skeleton in SKELETONS}
    entered = [
        set(lay_out(code, root[0], messages.is_helper).entered.values())
        for root in roots.values()
        if not isinstance(root, str)
    ]
    shared = set.intersection(*entered) if len(entered) > 1 else set()
    for skeleton in SKELETONS:
        root = roots[skeleton.role]
        if isinstance(root, str):
            unresolved.append(Unresolved(skeleton.role, skeleton.root, root))
            roles[skeleton.role] = _empty(skeleton.role, skeleton.root)
            continue
        address, found_by = root
        resolver = RoleResolver(code, skeleton, address, numbers, messages, primary_calls, shared)
        if skeleton.role is Role.PRIMARY:
            primary_calls = resolver.called
        if not resolver.has_messages:
            unresolved.append(Unresolved(skeleton.role, skeleton.root, "it exchanges no COLO messages"))
            unresolved.extend(resolver.unresolved)
            roles[skeleton.role] = _empty(skeleton.role, skeleton.root)
            continue
        roles[skeleton.role] = replace(resolver.resolve(), found_by=found_by)
        unresolved.extend(resolver.unresolved)
    roles, doubts = hear(image, symbols.debug_file, roles)
    unresolved += [*doubts, *quarrels(symbols)]
    if image.machine in UNTRIED_MACHINES:
        unresolved.append(Unresolved(None, "attaching", UNTRIED_MACHINES[image.machine]))
    if not any(plan.probes for plan in roles.values()):
        raise _refusal(image, version, unresolved)
    start = roots[Role.PRIMARY]
    primary = None if isinstance(start, str) else lay_out(code, start[0], messages.is_helper, shared)
    notifies, triggers = find_triggers(FunctionCode(image, symbols, code.bounds, relocations), primary)
    segment = _segment_of(image, roles)
    return ProbePlan(
        path=image.path,
        build_id=image.build_id,
        machine=image.machine,
        qemu_version=version,
        code_address=segment.address,
        code_offset=segment.offset,
        sources=tuple(symbols.sources),
        message_numbers=numbers_from,
        roles=roles,
        process_probes=_process_probes(code, unresolved) + notifies,
        ram_counters=find_ram_counters(code),
        unresolved=tuple(unresolved),
        triggers=triggers,
        names=provenance(symbols),
        build_id_at=image.build_id_address(),
    )


def _segment_of(image: Image, roles: dict[Role, RolePlan]) -> Segment:
    """The segment that the probes are in."""
    address = next(probe.address for plan in roles.values() for probe in plan.probes)
    return next(s for s in image.executable_segments() if s.address <= address < s.address + s.file_size)


def _empty(role: Role, function: str) -> RolePlan:
    return RolePlan(role, function, dict.fromkeys(ROLE_PHASES[role]), ())


def _refusal(image: Image, version: str, unresolved: list[Unresolved]) -> ColotraceError:
    """Why a QEMU in which neither role could be resolved is refused: no COLO, or one that was not understood."""
    reasons = "; ".join(f"{item.what}: {item.reason}" for item in unresolved)
    if image.has_text(COLO_TEXT):
        return PlanError(
            f"{image.path} is QEMU {version} with COLO in it, but its call sites were not found: {reasons}",
            "Nothing can be timed in it. Please report what colotrace inspect prints.",
        )
    return NoColoError(
        f"{image.path} is QEMU {version} without COLO: {reasons}",
        "COLO is built in unless QEMU was configured with --disable-replication.",
        {
            "path": image.path,
            "build_id": image.build_id,
            "machine": image.machine,
            "qemu_version": version,
            "colo": False,
            "roles": {role.value: _empty(role, "").as_json() for role in Role},
            "unresolved": [item.as_json() for item in unresolved],
        },
    )


def _process_probes(code: Code, unresolved: list[Unresolved]) -> tuple[Probe, ...]:
    """The probe inside vm_start() that hears a takeover."""
    symbol = code.symbols.one(VM_START)
    if symbol is None:
        unresolved.append(Unresolved(None, f"takeover: {VM_START}", "not exactly one function of that name"))
        return ()
    function = code.function(symbol.address)
    site = straight_on(function, symbol.address, skip_start=False) if function.instructions else None
    if site is None:
        unresolved.append(Unresolved(None, f"takeover: {VM_START}", "its start has no instruction the kernel emulates"))
        return ()
    evidence = f"the first emulated instruction of {VM_START}, which every start of the VM passes"
    return (make_probe(code, None, TAKEOVER, site, evidence, function=VM_START),)
