"""The flush of the secondary's cache: its marks are where it is called and returns, or not there, with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from colotrace.phases import ROLE_PHASES, Phase, Role
from colotrace.resolve.plan import ProbePlan, Quality
from colotrace.resolve.resolver import resolve

from .coloops import BODIES, Op, Ops, insert, where
from .coloprogram import Program, Recipe, build
from .compiled import Build
from .compiled import build as compile_program
from .truth import exact, plan_of, probes_of

SECONDARY = BODIES["secondary"]
MARKS = ("cache-flush", "cache-flushed")
EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}


def planned(ops: Ops) -> tuple[Program, ProbePlan]:
    program = build(Recipe(seed=1, bodies={"secondary": ops}))
    return program, plan_of(program.data)


def reasons(plan: ProbePlan) -> dict[str, str]:
    return {item.what.split(":")[0]: item.reason for item in plan.unresolved if item.role is Role.SECONDARY}


def test_what_is_called_behind_the_flush_ends_it() -> None:
    """Should a version do more between the flush and loading the device state, that is none of the flush."""
    at = where(SECONDARY, "cache-flushed")
    more = replace(SECONDARY[at], marks=())
    ops = (*SECONDARY[:at], Op("call", "qemu_fflush", ("cache-flushed",)), more, *SECONDARY[at + 1 :])
    program, plan = planned(ops)
    assert exact(plan) == EVERYTHING and not plan.unresolved
    assert probes_of(plan, "secondary") == program.truth["secondary"]


def test_a_call_that_need_not_be_made_does_not() -> None:
    program, plan = planned(insert(SECONDARY, where(SECONDARY, "cache-flushed"), Op("trace")))
    assert exact(plan) == EVERYTHING
    assert probes_of(plan, "secondary") == program.truth["secondary"]


def test_without_its_name_there_is_no_mark_and_the_reason_is_said() -> None:
    plan = plan_of(build(Recipe(seed=2, stripped=frozenset(["colo_flush_ram_cache"]))).data)
    assert not set(MARKS) & set(probes_of(plan, "secondary"))
    assert set(MARKS) <= reasons(plan).keys() and all(reasons(plan).values())
    qualities = plan.roles[Role.SECONDARY].phases
    inexact = {phase: quality for phase, quality in qualities.items() if quality is not Quality.EXACT}
    assert inexact == dict.fromkeys((Phase.RECV, Phase.LOAD), Quality.PARTIAL), "the call is a witness of load's begin"


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_5_0_flushes_elsewhere_and_load_is_exact(compiler: str) -> None:
    plan = resolve(compile_program(Build(compiler, "-O2", 50)).path)
    assert {pair for pair in EVERYTHING if pair[0] == "secondary"} <= exact(plan)
    assert not set(MARKS) & set(probes_of(plan, "secondary"))
    assert reasons(plan) == dict.fromkeys(MARKS, "5.0 flushes the cache at the end of loading pages, within ram")
