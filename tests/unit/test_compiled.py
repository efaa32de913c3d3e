"""Real compilers' code of a program with COLO's skeleton: every probe is where the compiler's own marks are."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from colotrace.phases import ROLE_PHASES, Role
from colotrace.resolve.resolver import resolve

from .compiled import BUILDS, Build, Compiled, build_all, symbols
from .truth import ending_at, exact, lies, probes_of

UNCOUNTED = [
    one
    for one in BUILDS
    if one.shape >= 100
    and ((one.level == "-O0" and one.stripped) or "-fno-inline" in one.flags or one.link == "static")
]
"""Builds in which nothing proves who reads the counters: a function without a name does, or no index of functions is
there to look behind a jump by a table."""
EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}


@pytest.fixture(scope="module")
def compiled() -> dict[Build, Future[Compiled]]:
    return build_all()


@pytest.mark.parametrize("one", BUILDS, ids=str)
def test_every_probe_is_where_the_marks_are(one: Build, compiled: dict[Build, Future[Compiled]]) -> None:
    program = compiled[one].result()
    plan = resolve(program.path)
    missing = {one.missing} - {""}
    absent = ["cache-flush", "cache-flushed"] if one.shape == 50 else []  # 5.0 flushes its cache elsewhere
    unresolved = [item.what.split(":")[0] for item in plan.unresolved if item.role is not None]
    assert unresolved == [*absent, *missing]
    for role in ("primary", "secondary"):
        probes, truth = probes_of(plan, role), dict(program.truth[role])
        for boundary in missing if role == "secondary" else ():
            del truth[boundary]
        assert probes == truth
    assert exact(plan) == EVERYTHING - ending_at("secondary", missing)
    assert not lies(plan, program.truth)


@pytest.mark.parametrize("one", BUILDS, ids=str)
def test_the_counters(one: Build, compiled: dict[Build, Future[Compiled]]) -> None:
    """Where counters.c has them; null is right as well, with the reason, but not another place."""
    program = compiled[one].result()
    counters, at = resolve(program.path).ram_counters, symbols(program.twin)
    if one.shape < 100:
        bytes_at, pages_at = [at["ram_counters"]], [at["ram_counters"] + 48, at["ram_counters"] + 32]
    else:
        base = at["mig_stats"]
        bytes_at, pages_at = [base + 24, base + 48], [base + 16, base + 32]
    assert counters.evidence
    if one in UNCOUNTED:
        assert not counters.known
        return
    assert (list(counters.bytes_at), list(counters.pages_at)) == (bytes_at, pages_at)
