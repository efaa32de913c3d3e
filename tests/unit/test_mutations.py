"""One call or one number changed at a time: the plan stays true, or says less; it never lies."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colotrace.errors import ColotraceError
from colotrace.resolve.plan import ProbePlan

from .coloops import FLOATING
from .coloprogram import Program, Recipe, build
from .truth import ending_at, exact, lies, plan_or_error

PROGRAM = build(Recipe(seed=11))
CALLS = [(role, address) for role, calls in PROGRAM.calls.items() for address, _ in calls]
NO_FUNCTIONS = ("#", "primary", "secondary", "text ", "ram_counters", "trace_flag", "takeover")
TARGETS = sorted(name for name in PROGRAM.labels if not name.startswith(NO_FUNCTIONS))
TELLING = ("send message", "receive message", "check message", "vm_start", "qemu_mutex_unlock_iothread")


@lru_cache(maxsize=4)
def answer(data: bytes) -> ProbePlan | ColotraceError:
    return plan_or_error(data)


def judge(program: Program, data: bytes, role: str, address: int, changed: bool) -> None:
    """The verdict on a mutant; with `changed`, what the call bounded by its name cannot be exact any more."""
    plan = answer(data)
    if isinstance(plan, ColotraceError):
        assert plan.remedy
        return
    assert lies(plan, program.truth) == []
    op = next(op for at, op in program.calls[role] if at == address)
    bounded = ending_at(role, set(op.marks) - set(FLOATING[role]))
    assert not (changed and bounded & exact(plan))
    assert all(item.reason for item in plan.unresolved)


def another_target(role: str, address: int) -> int:
    """Where a call could lead instead: drawn at random, half of the time from what means much."""
    op = next(op for at, op in PROGRAM.calls[role] if at == address)
    own = op.name if op.kind == "call" else f"{op.kind} message"
    same = (own, "qemu_sem_wait") if own == "qemu_event_wait" else (own,)  # one call, in two versions of QEMU
    draw = random.Random(address)
    return PROGRAM.labels[draw.choice([name for name in draw.choice((TELLING, TARGETS)) if name not in same])]


@pytest.mark.parametrize("n", range(max(map(len, PROGRAM.calls.values()))))
def test_another_target(n: int) -> None:
    """Each call in turn; one of the primary's and one of the secondary's at once, which have no code in common."""
    program, places = PROGRAM, []
    for role, calls in PROGRAM.calls.items():
        address = calls[n % len(calls)][0]
        program = replace(program, data=program.with_call(address, another_target(role, address)))
        places.append((role, address))
    for role, address in places:
        judge(PROGRAM, program.data, role, address, True)


@pytest.mark.parametrize("address", sorted(PROGRAM.arguments))
def test_another_number(address: int) -> None:
    """Each immediate gets a neighbour's number, which then stands twice, and one without a meaning."""
    role = next(role for role, at in CALLS if at == address)
    place = PROGRAM.arguments[address] - PROGRAM.text[0] + PROGRAM.text[1]
    (number,) = struct.unpack_from("<I", PROGRAM.data, place)
    for other in ((number + 1) % 7, 200):
        data = PROGRAM.patched(PROGRAM.arguments[address], struct.pack("<I", other))
        judge(PROGRAM, data, role, address, True)


def test_every_number_that_is_an_immediate_is_tried() -> None:
    assert len(PROGRAM.arguments) == 14 - 2 - 1, "READY's is an xor, and the secondary's REQUEST is any message"


@pytest.mark.parametrize("field", ["call", "argument"])
def test_mutants_do_change_the_plan(field: str) -> None:
    """The judge sees a difference where there is one: it is not blind."""
    address = PROGRAM.truth["primary"]["recv-begin"][0]
    if field == "call":
        data = PROGRAM.with_call(address, PROGRAM.labels["qemu_fflush"])
    else:
        data = PROGRAM.patched(PROGRAM.arguments[address], struct.pack("<I", 200))
    plan = plan_or_error(data)
    assert not isinstance(plan, ColotraceError)
    missing = {("primary", "put"), ("primary", "recv")}
    assert not exact(plan) & missing and exact(plan) >= exact_before() - missing - {("primary", "load")}


def exact_before() -> set[tuple[str, str]]:
    plan = plan_or_error(PROGRAM.data)
    assert not isinstance(plan, ColotraceError)
    return exact(plan)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(CALLS), st.sampled_from(TARGETS)), min_size=2, max_size=4))
def test_several_calls_changed_at_once(changes: list[tuple[tuple[str, int], str]]) -> None:
    data = bytearray(PROGRAM.data)
    for (_, address), target in changes:
        place = address - PROGRAM.text[0] + PROGRAM.text[1]
        data[place + 1 : place + 5] = struct.pack("<i", PROGRAM.labels[target] - (address + 5))
    plan = plan_or_error(bytes(data))
    assert isinstance(plan, ColotraceError) or lies(plan, PROGRAM.truth) == []
