"""Binaries that are not quite colo.c: a phase is null or partial with a reason, or the file is refused; never wrong."""

from __future__ import annotations

import itertools

import pytest

from colotrace.errors import ColotraceError
from colotrace.phases import MESSAGES, ROLE_PHASES, Role
from colotrace.resolve.plan import ProbePlan, Quality, Unresolved

from .coloops import BODIES, FLOATING, Op, Ops, drop, duplicate, insert, message_at, renumber, swap, where
from .coloprogram import ROOTS, Program, Recipe, build
from .truth import ending_at, exact, lies, plan_of, plan_or_error, probes_of

NAMES = tuple(message.value for message in MESSAGES)
ROLES = tuple(BODIES)
EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}
NEEDED = {
    "primary": (
        "failover_init_state", "replication_start_all", "qemu_event_wait", "vm_stop_force_state",
        "replication_do_checkpoint_all", "qemu_save_device_state", "qemu_savevm_live_state", "qemu_put_buffer",
        "qemu_event_reset", "colo_notify_compares_event",
    ),
    "secondary": (
        "failover_init_state", "replication_start_all", "vm_stop_force_state", "qemu_loadvm_state_main",
        "qemu_get_buffer", "colo_flush_ram_cache", "qemu_load_device_state", "replication_do_checkpoint_all",
    ),
}  # fmt: skip


def broken(role: str, ops: Ops, *, alone: bool = True) -> tuple[Program, ProbePlan, list[Unresolved]]:
    """The program with one role's operations replaced, its plan, and what of the role could not be resolved.

    With `alone` the other role's name is stripped, which takes half the time.
    """
    others = frozenset(name for other, name in ROOTS.items() if other != role and alone)
    program = build(Recipe(seed=1, bodies={role: ops}, stripped=others))
    plan = plan_of(program.data)
    return program, plan, [item for item in plan.unresolved if item.role is Role(role)]


CALLS = [
    (role, n)
    for role, ops in BODIES.items()
    for n, op in enumerate(ops)
    if op.kind in ("call", "send", "check") and (op.marks or op.message or op.name in NEEDED[role] or n % 8 == 0)
]
"""All that mean something, and an eighth of the others."""


@pytest.mark.parametrize(("role", "at"), CALLS, ids=lambda x: str(x))
def test_a_call_dropped(role: str, at: int) -> None:
    ops = BODIES[role]
    program, plan, unresolved = broken(role, drop(ops, at, FLOATING[role]))
    assert not lies(plan, program.truth)
    lost = set(ops[at].marks) - {*FLOATING[role], "colo-exit"}
    assert not exact(plan) & ending_at(role, lost)
    if lost or ops[at].message:
        assert unresolved and all(item.reason for item in unresolved)


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NEEDED.items() for name in names])
def test_a_rib_without_its_name_is_said(role: str, name: str) -> None:
    program = build(Recipe(seed=2, stripped=frozenset([name])))
    plan = plan_of(program.data)
    assert not lies(plan, program.truth)
    assert any(item.role is Role(role) and name in item.what for item in plan.unresolved)
    marks = {mark for op in BODIES[role] if op.name == name for mark in op.marks}
    assert not exact(plan) & ending_at(role, marks)


@pytest.mark.parametrize("name", ["qemu_put_be32", "qemu_get_be32"])
def test_messengers_that_cannot_be_told(name: str) -> None:
    program = build(Recipe(stripped=frozenset([name])))
    plan = plan_or_error(program.data)
    if isinstance(plan, ProbePlan):
        assert not lies(plan, program.truth) and plan.unresolved
        assert not {("primary", "put"), ("secondary", "load"), ("primary", "resume")} & exact(plan)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("message", NAMES)
def test_a_message_twice(role: str, message: str) -> None:
    ops = BODIES[role]
    at = message_at(ops, message)
    program, plan, unresolved = broken(role, duplicate(ops, at), alone=False)
    assert not lies(plan, program.truth)
    assert not exact(plan) & ending_at(role, set(ops[at].marks))
    assert any("2 calls of" in item.reason for item in unresolved)
    assert {pair for pair in EVERYTHING if pair[0] != role} <= exact(plan), "the other role is untouched"


PAIRS = [
    (role, one, other)
    for role in ROLES
    for n, (one, other) in enumerate(itertools.combinations(NAMES, 2))
    if (n % 3 == 0 or NAMES.index(other) == NAMES.index(one) + 1)
    and "receive" not in (BODIES[role][message_at(BODIES[role], m)].kind for m in (one, other))
]


@pytest.mark.parametrize(("role", "one", "other"), PAIRS)
def test_two_messages_exchanged(role: str, one: str, other: str) -> None:
    """Each call now carries the other's number: not the protocol's order, so what they bound is not exact."""
    ops = BODIES[role]
    first, second = message_at(ops, one), message_at(ops, other)
    program, plan, unresolved = broken(role, swap(ops, first, second))
    assert not lies(plan, program.truth)
    assert unresolved and exact(plan) != {pair for pair in EVERYTHING if pair[0] == role}


@pytest.mark.parametrize("number", [-1, 0xFFFFFFFF], ids=["unclear", "unknown"])
@pytest.mark.parametrize(("role", "message"), [(r, m) for r in ROLES for m in NAMES])
def test_a_number_that_means_nothing(role: str, message: str, number: int) -> None:
    ops = BODIES[role]
    at = message_at(ops, message)
    if ops[at].kind == "receive":
        return
    program, plan, unresolved = broken(role, renumber(ops, at, number))
    assert not lies(plan, program.truth)
    assert not exact(plan) & ending_at(role, set(ops[at].marks))
    assert any(message in item.what for item in unresolved)
    assert (number == -1) == any("not clear" in item.reason for item in unresolved)


def test_code_and_table_that_disagree() -> None:
    """The table says that all numbers have moved by one; the code still sends the old ones."""
    shifted = (1, 2, 3, 4, 5, 6, 0)
    bodies = {
        role: tuple(Op(o.kind, o.name, o.marks, o.message, NAMES.index(o.message)) if o.message else o for o in ops)
        for role, ops in BODIES.items()
    }
    program = build(Recipe(numbers=shifted, bodies=bodies))
    plan = plan_of(program.data)
    assert not lies(plan, program.truth)
    assert not {"put", "recv", "load"} & {phase for _, phase in exact(plan)}
    assert plan.unresolved


@pytest.mark.parametrize(
    ("role", "mark"),
    [(r, m) for r in ROLES for op in BODIES[r] if op.kind != "label" for m in op.marks if ending_at(r, {m})],
)
def test_a_jump_through_a_register_on_the_way(role: str, mark: str) -> None:
    ops = BODIES[role]
    program, plan, unresolved = broken(role, insert(ops, where(ops, mark), Op("indirect")), alone=False)
    assert not lies(plan, program.truth)
    assert not exact(plan) & ending_at(role, {mark}) or mark in FLOATING[role]
    assert any(item.what.startswith("jump at 0x") or "exchanges no" in item.reason for item in unresolved)


@pytest.mark.parametrize(
    ("role", "mark", "target"),
    [
        ("primary", "dev-begin", "top"), ("primary", "put-begin", "failed"), ("primary", "resume-begin", "out"),
        ("secondary", "load-begin", "top"), ("secondary", "ram-begin", "broken"), ("secondary", "reply", "out"),
    ],
)  # fmt: skip
def test_one_more_error_path_changes_nothing(role: str, mark: str, target: str) -> None:
    ops = BODIES[role]
    program, plan, unresolved = broken(role, insert(ops, where(ops, mark), Op("branch", target)))
    assert not unresolved and not lies(plan, program.truth)
    assert probes_of(plan, role) == program.truth[role]


BYPASSES = [
    ("primary", "dev-begin", "dev-end"), ("primary", "ram-begin", "put-begin"), ("primary", "vm-stop", "vmstate-send"),
    ("primary", "recv-end", "load-begin"), ("secondary", "load-begin", "loaded"),
    ("secondary", "device-state", "recv-begin"), ("secondary", "transaction-begin", "reply"),
]  # fmt: skip


@pytest.mark.parametrize(("role", "start", "end"), BYPASSES)
def test_a_way_around_a_boundary(role: str, start: str, end: str) -> None:
    """What a successful checkpoint need not pass is no boundary of it."""
    ops = BODIES[role]
    ops = insert(ops, where(ops, end), Op("label", "around"))
    program, plan, unresolved = broken(role, insert(ops, where(ops, start), Op("branch", "around")))
    assert not lies(plan, program.truth)
    assert not exact(plan) & ending_at(role, {start})
    assert unresolved


@pytest.mark.parametrize(
    ("role", "gone", "mark"),
    [
        ("primary", "vm-stop", "vm-stopped"), ("secondary", "vm-stop", "vm-stopped"),
        ("primary", "vm-started", "transaction-end"), ("secondary", "device-state", "put-end"),
    ],
)  # fmt: skip
def test_what_comes_next_to_a_missing_call_is_missing_too(role: str, gone: str, mark: str) -> None:
    """Time marks and totals have no "partial": a probe elsewhere makes them wrong without a word."""
    program = build(Recipe(seed=1))
    (address,) = program.truth[role][gone]
    plan = plan_of(program.with_call(address, program.labels["qemu_fflush"]))
    assert probes_of(plan, role).get(mark) in (None, program.truth[role][mark])


def test_partial_phases_exist() -> None:
    """A witness is gone between two found ends: they are kept, and called what they are."""
    program = build(Recipe(stripped=frozenset(["qemu_savevm_live_state"])))
    plan = plan_of(program.data)
    qualities = {"stat": Quality.PARTIAL, "dev": Quality.PARTIAL, "ram": None}
    assert plan.roles[Role.PRIMARY].phases == {
        phase: qualities.get(phase.value, Quality.EXACT) for phase in ROLE_PHASES[Role.PRIMARY]
    }
    assert all(probe.proven or probe.boundary.name in ("dev-begin", "dev-end") for probe in plan.probes)


def test_nothing_of_colo_left() -> None:
    nothing: Ops = (Op("label", "entry"), Op("call", "rcu_register_thread"), Op("return"))
    error = plan_or_error(build(Recipe(bodies=dict.fromkeys(ROLES, nothing))).data)
    assert isinstance(error, ColotraceError) and "exchanges no COLO messages" in str(error)
