"""Real compilers' code of a program with COLO's skeleton: every probe is where the compiler's own marks are."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from colotrace.phases import ROLE_PHASES, Role
from colotrace.resolve.resolver import resolve

from .compiled import BUILDS, Build, Compiled, build_all
from .truth import ending_at, exact, lies, probes_of

EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}


@pytest.fixture(scope="module")
def compiled() -> dict[Build, Future[Compiled]]:
    return build_all()


@pytest.mark.parametrize("one", BUILDS, ids=str)
def test_every_probe_is_where_the_marks_are(one: Build, compiled: dict[Build, Future[Compiled]]) -> None:
    program = compiled[one].result()
    plan = resolve(program.path)
    missing = {one.missing} - {""}
    assert [item.what.split(":")[0] for item in plan.unresolved if item.role is not None] == list(missing)
    for role in ("primary", "secondary"):
        probes, truth = probes_of(plan, role), dict(program.truth[role])
        for boundary in missing if role == "secondary" else ():
            del truth[boundary]
        assert probes == truth
    assert exact(plan) == EVERYTHING - ending_at("secondary", missing)
    assert not lies(plan, program.truth)
