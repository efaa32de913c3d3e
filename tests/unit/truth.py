"""Holds a plan against what the assembler knows: where each boundary of a synthetic QEMU is."""

from __future__ import annotations

from collections.abc import Mapping

from colotrace.errors import ColotraceError
from colotrace.phases import ROLE_PHASES, Phase, Role, phase_ends
from colotrace.resolve.plan import ProbePlan, Quality
from colotrace.resolve.resolver import resolve

from .elfwriter import file_of

Truth = Mapping[str, Mapping[str, tuple[int, ...]]]


def plan_of(data: bytes) -> ProbePlan:
    """The plan for a file of these bytes."""
    with file_of(data) as path:
        return resolve(path)


def plan_or_error(data: bytes) -> ProbePlan | ColotraceError:
    """The plan, or the error that a user would be shown; anything else is raised."""
    try:
        return plan_of(data)
    except ColotraceError as error:
        return error


def probes_of(plan: ProbePlan, role: str) -> dict[str, tuple[int, ...]]:
    """Boundary -> the addresses that the plan would probe for it."""
    found: dict[str, list[int]] = {}
    for probe in plan.roles[Role(role)].probes:
        for name in probe.boundary.name.split("+"):  # two boundaries at one instruction
            found.setdefault(name, []).append(probe.address)
    return {name: tuple(sorted(addresses)) for name, addresses in found.items()}


def exact(plan: ProbePlan) -> set[tuple[str, str]]:
    """The (role, phase) that the plan calls exact."""
    return {
        (role.value, phase.value)
        for role, one in plan.roles.items()
        for phase, quality in one.phases.items()
        if quality is Quality.EXACT
    }


def ending_at(role: str, boundaries: set[str]) -> set[tuple[str, str]]:
    """The (role, phase) that open or close at one of these boundaries."""
    phases = ROLE_PHASES[Role(role)]
    return {(role, p.value) for p in phases if boundaries & {end.name for end in phase_ends(Role(role), p)}}


def lies(plan: ProbePlan, truth: Truth) -> list[str]:
    """Every end of an exact phase that is not where the truth has it."""
    wrong = []
    for role, phase in sorted(exact(plan)):
        probes = probes_of(plan, role)
        for end in phase_ends(Role(role), Phase(phase)):
            if probes.get(end.name) != truth[role].get(end.name):
                wrong.append(f"{role} {phase} {end.name}: {probes.get(end.name)}, not {truth[role].get(end.name)}")
    return wrong
