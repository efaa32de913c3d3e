"""The program with COLO's skeleton, cross-compiled for AArch64: every probe is where the compiler's own marks are."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from colotrace.errors import PlanError
from colotrace.phases import ROLE_PHASES, Role
from colotrace.resolve.resolver import resolve

from .compiled import ON_ARM, Build, Compiled, build, build_all, missing_tools, symbols
from .truth import ending_at, exact, lies, probes_of

pytestmark = pytest.mark.skipif(bool(missing_tools(arm=True)), reason=f"not installed: {missing_tools(arm=True)}")
EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}


@pytest.fixture(scope="module")
def compiled() -> dict[Build, Future[Compiled]]:
    return build_all(ON_ARM)


@pytest.mark.parametrize("one", ON_ARM, ids=str)
def test_every_probe_is_where_the_marks_are(one: Build, compiled: dict[Build, Future[Compiled]]) -> None:
    program = compiled[one].result()
    plan = resolve(program.path)
    assert plan.machine == "aarch64"
    missing = {one.missing} - {""}
    absent = ["cache-flush", "cache-flushed"] if one.shape == 50 else []  # 5.0 flushes its cache elsewhere
    unresolved = [item.what.split(":")[0] for item in plan.unresolved if item.role is not None]
    assert unresolved == [*absent, *missing]
    for role in ("primary", "secondary"):
        truth = program.truth[role]
        left_out = missing if role == "secondary" else set()
        assert probes_of(plan, role) == {name: at for name, at in truth.items() if name not in left_out}
    assert exact(plan) == EVERYTHING - ending_at("secondary", missing)
    assert not lies(plan, program.truth)
    assert all(probe.emulated and len(probe.data) == 4 and probe.address % 4 == 0 for probe in plan.probes)


@pytest.mark.parametrize("one", ON_ARM, ids=str)
def test_the_counters(one: Build, compiled: dict[Build, Future[Compiled]]) -> None:
    """Where counters.c has them; null is right as well, with the reason, but not another place."""
    program = compiled[one].result()
    counters, at = resolve(program.path).ram_counters, symbols(program.twin)
    old = one.shape < 100
    name, of_bytes, of_pages = ("ram_counters", (0,), (48, 32)) if old else ("mig_stats", (24, 48), (16, 32))
    assert counters.evidence
    if counters.known:
        assert counters.bytes_at == tuple(at[name] + offset for offset in of_bytes)
        assert counters.pages_at == tuple(at[name] + offset for offset in of_pages)


def test_without_any_names() -> None:
    """Names are read from the code of x86-64 alone, and that is the reason given."""
    with pytest.raises(PlanError, match="names are read from the code of x86_64 alone, and this is aarch64"):
        resolve(build(Build("gcc", "-O2", 72, "static", arm=True)).path)


def test_calls_through_the_got_are_not_followed() -> None:
    with pytest.raises(PlanError, match="its call sites were not found"):
        resolve(build(Build("gcc", "-O2", 72, flags="-fno-plt", shared=True, arm=True)).path)
