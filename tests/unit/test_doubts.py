"""Ways through the code that cannot be followed: what might be passed by on them is not proven to be on every path."""

from __future__ import annotations

import pytest

from colotrace.phases import ROLE_PHASES, Role

from .coloops import BODIES, Op, insert, where
from .coloprogram import Recipe, build
from .truth import exact, lies, plan_of

EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}


@pytest.mark.parametrize(
    ("role", "mark"),
    [("primary", "dev-end"), ("primary", "ram-begin"), ("secondary", "ram-begin"), ("secondary", "load-begin")],
)
def test_a_side_way_that_jumps_to_where_a_table_says(role: str, mark: str) -> None:
    """It may lead round the next boundary, or to a second call of it: then "on every path" is more than is known."""
    ops = BODIES[role]
    switch = (Op("label", "switch"), Op("indirect"), Op("label", "behind"), Op("return"))
    program = build(Recipe(bodies={role: insert(ops, where(ops, mark), Op("branch", "switch")) + switch}))
    plan = plan_of(program.data)
    assert any(item.role is Role(role) and item.what.startswith("jump at 0x") for item in plan.unresolved)
    assert lies(plan, program.truth) == []
    assert exact(plan) < EVERYTHING


def test_a_side_way_that_does_not_decode() -> None:
    program = build(Recipe(seed=2))
    data = program.patched(program.labels["primary: failed, zero"], b"\x06")
    plan = plan_of(data)
    assert any(item.role is Role.PRIMARY and item.what.startswith("code at 0x") for item in plan.unresolved)
    assert lies(plan, program.truth) == []
    assert {pair for pair in EVERYTHING if pair[0] == "secondary"} <= exact(plan) < EVERYTHING
