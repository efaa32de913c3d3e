"""From what was found of a role to its plan: probes, and how well each phase can be timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from colotrace.binary.code import Code, Function, Instruction
from colotrace.phases import BOUNDARIES, ROLE_PHASES, Boundary, Phase, Role, merged, phase_ends
from colotrace.resolve.naming import calls_any
from colotrace.resolve.plan import Probe, Quality, RolePlan, Unresolved
from colotrace.resolve.skeleton import COLO_EXIT, Skeleton, Step


@dataclass(frozen=True)
class Site:
    """Where a step was found."""

    instruction: Instruction
    evidence: str
    proven: bool = True


def plan_role(
    code: Code,
    skeleton: Skeleton,
    function: Function,
    sites: Mapping[Step, Site],
    whole: bool,
    meanings: Mapping[str, str],
) -> tuple[RolePlan, list[Unresolved]]:
    """The plan of a role from its sites, and what was found but is not worth a probe."""
    role = skeleton.role
    found = {step.boundary: site for step, site in sites.items() if step.boundary}
    unworthy = [
        Unresolved(role, name, "another call of its stretch is missing, and what was found may be something else")
        for name, site in found.items()
        if not _worth(role, name, site)
    ]
    left_out = {item.what for item in unworthy}
    places = [(BOUNDARIES[role][name], site) for name, site in found.items() if name not in left_out]
    leaving = [call for call in function.calls if calls_any(call, (COLO_EXIT,))]
    for call in leaving:
        site = Site(call, f"call of {COLO_EXIT}; mode and reason are its arguments")
        places.append((BOUNDARIES[role]["colo-exit"], site))
    if not leaving:
        reason = f"no such call in {skeleton.root} or its helpers: that COLO ends there, as by a failover, is not heard"
        unworthy.append(Unresolved(role, f"colo-exit: call of {COLO_EXIT}", reason))
    order = list(BOUNDARIES[role])
    places.sort(key=lambda place: (order.index(place[0].name), place[1].instruction.address))
    probes = tuple(
        make_probe(code, skeleton, boundary, site.instruction, site.evidence, site.proven and whole)
        for boundary, site in _together(places)
    )
    return RolePlan(role, skeleton.root, _phases(role, found, whole), probes, meanings=meanings), unworthy


def _phases(role: Role, found: Mapping[str, Site], whole: bool) -> dict[Phase, Quality | None]:
    phases: dict[Phase, Quality | None] = {}
    for phase in ROLE_PHASES[role]:
        ends = [found.get(boundary.name) for boundary in phase_ends(role, phase)]
        if all(ends):
            exact = whole and all(end and end.proven for end in ends)
            phases[phase] = Quality.EXACT if exact else Quality.PARTIAL
        else:
            phases[phase] = None
    return phases


def _worth(role: Role, name: str, site: Site) -> bool:
    """Whether to probe it. A phase may be partial; a mark, a size or the pause is proven or left out."""
    boundary = BOUNDARIES[role][name]
    return bool(site.proven or boundary.closes or boundary.opens)


def _together(places: list[tuple[Boundary, Site]]) -> list[tuple[Boundary, Site]]:
    """With two boundaries at the same instruction made one: a place has one probe, and a probe one cookie."""
    result: list[tuple[Boundary, Site]] = []
    for boundary, site in places:
        if result and result[-1][1].instruction is site.instruction:
            before, other = result.pop()
            boundary, site = merged(before, boundary), Site(site.instruction, f"{other.evidence}; {site.evidence}",
                                                            site.proven and other.proven)  # fmt: skip
        result.append((boundary, site))
    return result


def make_probe(
    code: Code, skeleton: Skeleton | None, boundary: Boundary, instruction: Instruction, evidence: str,
    proven: bool = True, function: str | None = None,
) -> Probe:  # fmt: skip
    """A Probe for an instruction of `code`; without a skeleton it belongs to the whole process."""
    offset = code.image.offset_of(instruction.address)
    assert offset is not None, "an instruction that was decoded from the file has an offset in it"
    return Probe(
        role=skeleton.role if skeleton else None,
        boundary=boundary,
        function=function or (skeleton.root if skeleton else ""),
        address=instruction.address,
        file_offset=offset,
        data=instruction.data,
        instruction=_text(instruction),
        emulated=instruction.emulated,
        evidence=evidence,
        proven=proven,
        target=instruction.target,
    )


def _text(instruction: Instruction) -> str:
    return f"{instruction.text} <{instruction.names[0]}>" if instruction.names else instruction.text
