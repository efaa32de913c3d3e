"""Whoever does not hear COLO_EXIT does not hear a failover: a plan without the calls that emit it says so, and why."""

from __future__ import annotations

import pytest

from colotrace.phases import ROLE_PHASES, Role

from .coloops import BODIES, drop
from .coloprogram import Recipe, build
from .truth import exact, plan_of, probes_of

EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}
EXIT = "qapi_event_send_colo_exit"


def test_without_the_name_both_roles_say_so() -> None:
    program = build(Recipe(seed=1, stripped=frozenset([EXIT])))
    plan = plan_of(program.data)
    told = f"colo-exit: call of {EXIT}"
    assert [(item.role, item.what) for item in plan.unresolved] == [(role, told) for role in Role]
    assert all("not heard" in item.reason for item in plan.unresolved)
    assert exact(plan) == EVERYTHING, "the phases do without it"
    for role in Role:
        truth = {name: at for name, at in program.truth[role.value].items() if name != "colo-exit"}
        assert probes_of(plan, role.value) == truth


@pytest.mark.parametrize("role", list(Role))
def test_calls_that_are_not_there_are_said_of_that_role(role: Role) -> None:
    ops = BODIES[role.value]
    for at in reversed([n for n, op in enumerate(ops) if op.name == EXIT]):
        ops = drop(ops, at)
    plan = plan_of(build(Recipe(seed=2, bodies={role.value: ops})).data)
    assert [(item.role, item.what.split(":")[0]) for item in plan.unresolved] == [(role, "colo-exit")]
    assert exact(plan) == EVERYTHING


@pytest.mark.parametrize("role", list(Role))
def test_one_call_is_enough(role: Role) -> None:
    """How many ends a function has is its version's and the compiler's affair."""
    ops = BODIES[role.value]
    at = next(n for n, op in enumerate(ops) if op.name == EXIT)
    plan = plan_of(build(Recipe(seed=3, bodies={role.value: drop(ops, at)})).data)
    assert plan.unresolved == ()
    assert len(probes_of(plan, role.value)["colo-exit"]) == 1
