"""The synthetic QEMU, whole: every probe stands where the assembler's labels say, however the code is laid out."""

from __future__ import annotations

import itertools

import pytest

from colotrace.phases import BOUNDARIES, MESSAGES, ROLE_PHASES, Phase, Role
from colotrace.resolve.plan import ProbePlan

from .asm import Assembler
from .coloops import BODIES, Op, insert, where
from .coloops import MESSAGES as BUILT
from .coloprogram import ROOTS, Recipe, build
from .decoding import image_of
from .elfwriter import BUILD_ID, ElfWriter, Symbol
from .truth import exact, lies, plan_of, probes_of

EVERYTHING = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}
SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_probe_is_where_the_labels_say(seed: int) -> None:
    program = build(Recipe(seed=seed))
    plan = plan_of(program.data)
    assert exact(plan) == EVERYTHING
    assert not plan.unresolved
    for role in ROOTS:
        assert probes_of(plan, role) == program.truth[role]
    assert [probe.address for probe in plan.process_probes] == [program.labels["takeover"]]


def test_the_seeds_do_shuffle() -> None:
    orders = set()
    for seed in SEEDS:
        truth = build(Recipe(seed=seed)).truth["primary"]
        orders.add(tuple(sorted(truth, key=lambda name: truth[name])))
    assert len(orders) == len(SEEDS)


def test_the_truth_names_every_boundary() -> None:
    truth = build().truth
    assert {role: set(marks) for role, marks in truth.items()} == {r.value: set(BOUNDARIES[r]) for r in Role}


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(skew=7),
        Recipe(shift=0x123450),
        Recipe(shift=0x10, skew=1),
        Recipe(seed=3, named_helpers=True),
        Recipe(seed=4, stripped=frozenset(["error_report_err", "qemu_event_init", "ram_counters"])),
    ],
    ids=["offsets", "addresses", "both", "named helpers", "unneeded names gone"],
)
def test_variants_that_change_nothing(recipe: Recipe) -> None:
    program = build(recipe)
    plan = plan_of(program.data)
    assert exact(plan) == EVERYTHING and not plan.unresolved
    assert {role: probes_of(plan, role) for role in ROOTS} == program.truth


NUMBERS = [
    (1, 2, 3, 4, 5, 6, 0), (6, 5, 4, 3, 2, 1, 0), (3, 0, 6, 1, 5, 2, 4), (0, 2, 1, 3, 4, 6, 5),
]  # fmt: skip


@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_the_binarys_own_message_numbers_count(numbers: tuple[int, ...]) -> None:
    program = build(Recipe(seed=1, numbers=numbers))
    plan = plan_of(program.data)
    assert plan.message_numbers == "read from COLOMessage_lookup"
    assert exact(plan) == EVERYTHING
    assert {role: probes_of(plan, role) for role in ROOTS} == program.truth


def test_without_the_table_qemus_order_is_assumed_and_that_is_said() -> None:
    program = build(Recipe(stripped=frozenset(["COLOMessage_lookup"])))
    plan = plan_of(program.data)
    assert plan.message_numbers.startswith("assumed")
    assert exact(plan) == EVERYTHING and not lies(plan, program.truth)


@pytest.fixture(scope="module")
def plan() -> ProbePlan:
    return plan_of(build(Recipe(seed=5, skew=2)).data)


def test_probes_hold_what_the_file_holds(plan: ProbePlan) -> None:
    program = build(Recipe(seed=5, skew=2))
    for probe in plan.probes:
        assert probe.file_offset == probe.address - program.text[0] + program.text[1]
        assert program.data[probe.file_offset : probe.file_offset + len(probe.data)] == probe.data
        assert probe.emulated and probe.evidence and probe.proven and probe.instruction


def test_probes_are_in_the_order_of_a_checkpoint(plan: ProbePlan) -> None:
    for role in Role:
        order = list(BOUNDARIES[role])
        places = [order.index(probe.boundary.name) for probe in plan.roles[role].probes]
        assert places == sorted(places)
        assert [p.boundary for p in plan.roles[role].probes] == [BOUNDARIES[role][order[n]] for n in places]


def test_no_address_is_probed_twice(plan: ProbePlan) -> None:
    addresses = [probe.address for probe in plan.probes]
    assert len(addresses) == len(set(addresses))


def test_what_the_plan_says_of_the_file(plan: ProbePlan) -> None:
    program = build(Recipe(seed=5, skew=2))
    assert (plan.build_id, plan.machine, plan.qemu_version) == (BUILD_ID.hex(), "x86_64", "9.9.9 (synthetic)")
    assert (plan.code_address, plan.code_offset) == program.text
    assert plan.sources == (".dynsym",)


def test_the_plan_as_json(plan: ProbePlan) -> None:
    """The object that inspect --json prints."""
    program = build(Recipe(seed=5, skew=2))
    shown = plan.as_json()
    assert {"build_id", "machine", "colo", "roles", "unresolved"} <= shown.keys() and shown["colo"] is True
    roles = shown["roles"]
    assert isinstance(roles, dict) and set(roles) == {"primary", "secondary"}
    assert list(roles["primary"]["phases"]) == [phase.value for phase in ROLE_PHASES[Role.PRIMARY]]
    assert list(roles["secondary"]["phases"]) == [phase.value for phase in ROLE_PHASES[Role.SECONDARY]]
    for role in roles.values():
        assert set(role["phases"].values()) == {"exact"}
        for probe in role["probes"]:
            assert {"boundary", "function", "address", "file_offset"} <= probe.keys()
            assert {"instruction", "emulated", "evidence"} <= probe.keys() and probe["function"] in ROOTS.values()
            assert probe["address"] - program.text[0] == probe["file_offset"] - program.text[1]
    assert shown["unresolved"] == []


def test_reasons_for_fields(plan: ProbePlan) -> None:
    assert plan.reason(Role.PRIMARY, "dev_ns") is None
    for field in ("dev_ns", "resume_ns"):
        assert plan.reason(Role.SECONDARY, field) == "not a phase of this role"
    assert plan.reason(Role.PRIMARY, "ram_bytes") is None
    assert "sends" in (plan.reason(Role.SECONDARY, "ram_pages") or "")
    assert plan.reason(Role.PRIMARY, "total_ns") is None


def test_without_init_the_rest_of_a_total_is_known_all_the_same() -> None:
    plan = plan_of(build(Recipe(stripped=frozenset(["failover_init_state"]))).data)
    assert plan.roles[Role.PRIMARY].phases[Phase.INIT] is None
    assert plan.reason(Role.PRIMARY, "init_ns")
    assert plan.reason(Role.PRIMARY, "other_ns") is None


@pytest.mark.parametrize("role", sorted(ROOTS))
def test_one_role_without_its_name(role: str) -> None:
    """From 10.0 colo_process_incoming_thread is static: the other role is resolved all the same."""
    program = build(Recipe(stripped=frozenset([ROOTS[role]])))
    plan = plan_of(program.data)
    other = next(name for name in ROOTS if name != role)
    assert exact(plan) == {(r, phase) for r, phase in EVERYTHING if r == other}
    assert not lies(plan, program.truth) and probes_of(plan, other) == program.truth[other]
    assert set(plan.roles[Role(role)].phases.values()) == {None} and not plan.roles[Role(role)].probes
    assert [(u.role, u.what) for u in plan.unresolved] == [(Role(role), ROOTS[role])]
    assert "0 functions of that name" in plan.unresolved[0].reason
    assert plan.reason(Role(role), "load_ns")


def test_a_root_that_stands_twice_is_refused() -> None:
    """Ambiguity is an error: two functions of the name, and neither is probed."""
    program = build()
    with image_of(program.data) as image:
        text, rodata = image.section(".text"), image.section(".rodata")
        assert text and rodata
        elf = ElfWriter()
        elf.text(text.address, image.contents(text))
        elf.rodata(rodata.address, image.contents(rodata))
    names = {name: at for name, at in program.labels.items() if " " not in name and not name.startswith("#")}
    elf.symtab = [Symbol(name, at) for name, at in names.items()]
    elf.symtab.append(Symbol(ROOTS["primary"], program.labels["vm_start"]))
    plan = plan_of(elf.build())
    assert not plan.roles[Role.PRIMARY].probes
    assert any("2 functions of that name in .symtab" in item.reason for item in plan.unresolved)
    assert exact(plan) <= {(r, phase) for r, phase in EVERYTHING if r == "secondary"}


@pytest.mark.parametrize(("prologue", "expected"), list(itertools.product([0, 2], ["call", None])))
def test_a_vm_start_without_an_emulated_start_is_said(prologue: int, expected: str | None) -> None:
    program = build()
    asm = Assembler(program.labels["vm_start"])
    for _ in range(prologue):
        asm.nop(2)
    if expected:
        asm.call("vm_prepare_start")
    asm.ret()
    plan = plan_of(program.patched(program.labels["vm_start"], asm.assemble(program.labels)))
    assert [probe.address for probe in plan.process_probes] == ([asm.base + 2 * prologue] if expected else [])
    assert [item.what for item in plan.unresolved] == ([] if expected else ["takeover: vm_start"])
    assert exact(plan) == EVERYTHING


def test_message_names_are_qemus() -> None:
    """The builder's messages and the package's are the same words: else the tests above would prove little."""
    assert tuple(message.value for message in MESSAGES) == BUILT


def test_a_symbol_that_is_no_functions_start_is_refused() -> None:
    """Decoding from the middle of a function would make up instructions: the unwinder's index is asked as well."""
    program = build(Recipe(seed=4))
    root = ROOTS["primary"]
    at = program.labels[root]
    moved = program.data.replace(at.to_bytes(8, "little"), (at + 4).to_bytes(8, "little"))  # its st_value
    assert moved != program.data
    plan = plan_of(moved)
    assert set(plan.roles[Role.PRIMARY].phases.values()) == {None} and not plan.roles[Role.PRIMARY].probes
    assert any(root in item.what and "no function begins" in item.reason for item in plan.unresolved)
    assert {role for role, _ in exact(plan)} == {"secondary"}


def test_a_patch_that_reads_the_clock_between_the_steps_changes_nothing() -> None:
    """The seed's: where it takes the time is where a phase begins."""
    at = where(BODIES["secondary"], "ram-begin")
    bodies = {"secondary": insert(BODIES["secondary"], at, *[Op("call", "clock_gettime")] * 2)}
    program = build(Recipe(bodies=bodies))
    plan = plan_of(program.data)
    assert exact(plan) == EVERYTHING and not lies(plan, program.truth)
    bodies = {"secondary": insert(BODIES["secondary"], at, Op("call", "qemu_event_init"))}
    assert ("secondary", "ram") not in exact(plan_of(build(Recipe(bodies=bodies)).data))
