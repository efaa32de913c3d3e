"""The second witness: DWARF agrees with every true plan, and is heard when a plan, or DWARF itself, is not true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from colotrace.binary.image import Image
from colotrace.cli import main
from colotrace.phases import Role
from colotrace.plain import from_plain, to_plain
from colotrace.resolve.nameoptions import NameOptions
from colotrace.resolve.plan import Probe, ProbePlan, Quality, RolePlan, Unresolved
from colotrace.resolve.resolver import resolve
from colotrace.resolve.witness import hear

from .coloprogram import Recipe
from .coloprogram import build as synthetic
from .compiled import BUILDS, Build, build, run, symbols
from .described import FORMATS, PLAIN, SPLIT, WITNESSED, Place, place, plain, with_bytes
from .truth import exact, lies, plan_of

BOTH = ("primary", "secondary")
OWN = {Role.PRIMARY: "colo_process_checkpoint", Role.SECONDARY: "colo_incoming_process_checkpoint"}
FREE = {"transaction-end"}
"""Where it lies proves nothing."""
FORGED = [*PLAIN]


def names_of(plan: RolePlan) -> set[str]:
    return {name for probe in plan.probes for name in probe.boundary.name.split("+")}


@pytest.mark.parametrize("one", WITNESSED, ids=str)
def test_it_agrees_with_what_is_true(one: Build) -> None:
    program = build(one)
    plan = resolve(program.path)
    for role in plan.roles.values():
        witness = role.witness
        assert set(witness.agreed) == names_of(role) - FREE and len(witness.agreed) > 15
        assert set(witness.unjudged) == FREE & names_of(role)
        assert (witness.contradicted, witness.reason, witness.source) == ((), "", ".debug_info")
        assert OWN[role.role] in {one.name for one in witness.functions}
    assert not lies(plan, program.truth)


@pytest.mark.parametrize("one", BUILDS[:2], ids=str)
def test_without_dwarf_the_plan_is_the_same(one: Build) -> None:
    plain_plan, described = resolve(build(one).path), resolve(build(replace(one, flags="-g", stripped=False)).path)
    for role in Role:
        assert plain_plan.roles[role].phases == described.roles[role].phases
        assert len(plain_plan.roles[role].probes) == len(described.roles[role].probes)
        witness = plain_plan.roles[role].witness
        assert (witness.reason, witness.agreed, witness.functions) == ("there is none", (), ())


@contextmanager
def opened(path: Path) -> Iterator[tuple[Image, ProbePlan]]:
    with Image(path) as image:
        yield image, resolve(path)


def heard(image: Image, plan: ProbePlan, role: Role, *probes: Probe) -> tuple[RolePlan, list[Unresolved]]:
    """What the witness makes of a role's plan with other probes in the place of those of the same boundary."""
    others = {probe.boundary.name: probe for probe in probes}
    changed = tuple(others.get(probe.boundary.name, probe) for probe in plan.roles[role].probes)
    told = replace(plan.roles[role], probes=changed)
    plans, doubts = hear(image, None, {**plan.roles, role: told})
    (other,) = set(Role) - {role}
    assert plans[other].phases == plan.roles[other].phases and not plans[other].witness.contradicted
    return plans[role], doubts


def is_doubted(plan: RolePlan, doubts: list[Unresolved], *names: str) -> bool:
    assert set(plan.witness.contradicted) == set(names) and not set(names) & set(plan.witness.agreed)
    assert {doubt.what for doubt in doubts} == {f"{name}: witness" for name in names}
    assert all(doubt.role is plan.role and ".debug_info: 0x" in doubt.reason for doubt in doubts)
    assert not any(probe.proven for probe in plan.probes)
    return all(quality is Quality.PARTIAL for quality in plan.phases.values())


@pytest.mark.parametrize("way", FORGED, ids=" ".join)
def test_a_probe_outside_its_function(way: tuple[str, str]) -> None:
    """Each in turn is moved to the beginning of a function that is none of COLO's."""
    path = plain(*way)
    elsewhere = symbols(path)["colo_incoming_co"]
    with opened(path) as (image, plan):
        moved = 0
        for role in Role:
            for probe in plan.roles[role].probes:
                names = set(probe.boundary.name.split("+")) - FREE
                if names:
                    moved += 1
                    assert is_doubted(*heard(image, plan, role, replace(probe, address=elsewhere)), *names)
        assert moved > 35


@pytest.mark.parametrize("way", FORGED, ids=" ".join)
def test_a_probe_of_the_other_side(way: tuple[str, str]) -> None:
    """The same call, in the other role's thread."""
    with opened(plain(*way)) as (image, plan):
        at = {probe.boundary.name: probe for probe in plan.roles[Role.SECONDARY].probes}
        for probe in plan.roles[Role.PRIMARY].probes:
            if probe.boundary.name in ("vm-stop", "vm-start", "recv-begin"):
                wrong = replace(probe, address=at[probe.boundary.name].address, target=at[probe.boundary.name].target)
                assert is_doubted(*heard(image, plan, Role.PRIMARY, wrong), probe.boundary.name)


@pytest.mark.parametrize("way", FORGED, ids=" ".join)
def test_a_message_that_is_another_call(way: tuple[str, str]) -> None:
    """In the right function, but no call of one that sends, or that receives."""
    with opened(plain(*way)) as (image, plan):
        for role, message, call in (
            (Role.PRIMARY, "vmstate-send", "dev-begin"),
            (Role.PRIMARY, "load-begin", "vm-start"),
            (Role.PRIMARY, "vmstate-send", "recv-begin"),
            (Role.PRIMARY, "recv-begin", "vmstate-send"),
            (Role.SECONDARY, "recv-begin", "load-begin"),
        ):
            at = {probe.boundary.name: probe for probe in plan.roles[role].probes}
            wrong = replace(at[message], address=at[call].address, target=at[call].target)
            assert is_doubted(*heard(image, plan, role, wrong), message)


def test_another_call_that_is_a_message() -> None:
    """Inside what was inlined of a function that receives, where nothing else can be."""
    path = plain("clang", "-O2")
    with opened(path) as (image, plan):
        at = {probe.boundary.name: probe for probe in plan.roles[Role.PRIMARY].probes}
        wrong = replace(at["resume-begin"], address=at["load-begin"].address)
        told, doubts = heard(image, plan, Role.PRIMARY, wrong)
        assert is_doubted(told, doubts, "resume-begin")
        assert "lies in colo_receive_check_message, inlined there" in doubts[0].reason


@pytest.mark.parametrize("one", [w for w in WITNESSED if w.compiler == "clang" and w.flags == "-g1"], ids=str)
def test_a_function_without_an_entry_proves_nothing(one: Build) -> None:
    """Clang's -g1 has none of those that nothing is inlined into; what a message's call leads to is then not told."""
    plan = resolve(build(one).path)
    functions = [function for role in plan.roles.values() for function in role.witness.functions]
    assert not any(one.name == "colo_send_message" for one in functions if not one.inlined)
    assert not any(role.witness.contradicted for role in plan.roles.values())


def inspect(path: Path, *options: str) -> str:
    result = CliRunner().invoke(main, ["inspect", str(path), *options])
    assert result.exit_code == 0, result.output
    return result.output


def forged(way: tuple[str, str]) -> bytes:
    """A program of which DWARF has the transaction's function elsewhere: its end is its beginning, or its ranges are
    those of the function that sends."""
    path = plain(*way)
    data, name = path.read_bytes(), "colo_do_checkpoint_transaction"
    if way[1] == "-O0":
        where = place(path, name, "DW_AT_high_pc")
        return with_bytes(data, where, (1).to_bytes(where.size, "little"))
    where, other = (place(path, one, "DW_AT_ranges") for one in (name, "colo_receive_message_value"))
    return with_bytes(data, where, value(data, other))


def value(data: bytes, where: Place) -> bytes:
    return data[where.at : where.at + where.size]


@pytest.mark.parametrize("way", [way for way in FORGED if way[1] != "-O3"], ids=" ".join)
def test_forged_dwarf_through_inspect(way: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(plain(*way).read_bytes())
    true = json.loads(inspect(path, "--json"))
    assert all(role["witness"]["contradicted"] == [] for role in true["roles"].values()) and true["unresolved"] == []
    assert inspect(path).count("second witness: .debug_info has 20 of 20 boundaries in the right functions") == 2
    path.write_bytes(forged(way))
    plan: dict[str, Any] = json.loads(inspect(path, "--json"))
    primary, secondary = (plan["roles"][role] for role in BOTH)
    assert set(primary["phases"].values()) == {"partial"} and set(secondary["phases"].values()) == {"exact"}
    assert [probe["address"] for probe in primary["probes"]] == [
        probe["address"] for probe in true["roles"]["primary"]["probes"]
    ]
    witness = primary["witness"]
    assert {"vm-stop", "dev-begin", "vm-start"} <= set(witness["contradicted"])
    assert {item["what"] for item in plan["unresolved"]} == {f"{name}: witness" for name in witness["contradicted"]}
    assert "outside colo_do_checkpoint_transaction, which is at 0x" in plan["unresolved"][0]["reason"]
    assert secondary["witness"]["contradicted"] == []
    words = inspect(path)
    assert f"second witness: .debug_info has {len(witness['agreed'])} of 20 boundaries in the right functions" in words
    assert "unresolved: primary: vm-stop: witness: .debug_info: 0x" in words


def test_what_the_json_has() -> None:
    plan = json.loads(inspect(plain("gcc", "-O2"), "--json"))
    witness = plan["roles"]["primary"]["witness"]
    assert list(witness) == ["source", "files", "functions", "agreed", "contradicted", "unjudged", "reason"]
    assert [Path(name).name for name in witness["files"]] == ["thread.c"]
    (transaction,) = [f for f in witness["functions"] if f["name"] == "colo_do_checkpoint_transaction"]
    inside = next(p for p in plan["roles"]["primary"]["probes"] if p["boundary"] == "dev-begin")["address"]
    assert transaction["inlined"] and any(start <= inside < end for start, end in transaction["ranges"])


def test_a_separate_debug_file(tmp_path: Path) -> None:
    stripped, debug = tmp_path / "program", tmp_path / "program.debug"
    run("objcopy", "--only-keep-debug", str(plain("gcc", "-O2")), str(debug))
    run("objcopy", "--strip-all", str(plain("gcc", "-O2")), str(stripped))
    assert "no second witness: .debug_info: there is none" in inspect(stripped)
    named = resolve(stripped, options=NameOptions(str(debug), debug_root=str(tmp_path)))
    identity = named.build_id or ""
    root = tmp_path / "debug"
    (root / ".build-id" / identity[:2]).mkdir(parents=True)
    installed = root / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    installed.write_bytes(debug.read_bytes())
    found = resolve(stripped, options=NameOptions(debug_root=str(root)))
    for plan, path in ((named, debug), (found, installed)):
        for role in plan.roles.values():
            assert role.witness.source == f".debug_info of {path}" and len(role.witness.agreed) > 15
            assert not role.witness.reason and not role.witness.contradicted


def test_a_forged_debug_file(tmp_path: Path) -> None:
    stripped, debug, whole = tmp_path / "program", tmp_path / "program.debug", tmp_path / "whole"
    whole.write_bytes(forged(("gcc", "-O2")))
    run("objcopy", "--only-keep-debug", str(whole), str(debug))
    run("objcopy", "--strip-all", str(whole), str(stripped))
    plan = resolve(stripped, options=NameOptions(str(debug), debug_root=str(tmp_path)))
    assert {role for role, phase in exact(plan)} == {"secondary"}


@pytest.mark.parametrize("one", SPLIT[:1], ids=str)
def test_a_witness_that_is_elsewhere(one: Build) -> None:
    plan = resolve(build(one).path)
    for role in plan.roles.values():
        assert role.witness.reason.startswith("it is split: ") and role.witness.agreed == ()
    assert len(exact(plan)) == 16


def test_functions_of_other_names(tmp_path: Path) -> None:
    """A source that names nothing as QEMU's does: nothing is judged, and that is said."""
    data = plain("gcc", "-O2").read_bytes()
    path = tmp_path / "program"
    with Image(plain("gcc", "-O2")) as image:
        section = image.section(".debug_str")
    assert section is not None
    strings = data[section.offset : section.offset + section.size]
    path.write_bytes(data.replace(strings, strings.replace(b"colo_", b"mine_")))
    plan = resolve(path)
    for role in plan.roles.values():
        assert role.witness.reason == "it names none of the functions of this role" and role.witness.agreed == ()
        assert set(role.witness.unjudged) == names_of(role)
    assert len(exact(plan)) == 16


def test_no_dwarf_at_all() -> None:
    plan = plan_of(synthetic(Recipe()).data)
    assert {role.witness.reason for role in plan.roles.values()} == {"there is none"}


def test_a_plan_with_a_witness_can_be_kept() -> None:
    plan = resolve(plain("gcc", "-O2"))
    assert from_plain(ProbePlan, json.loads(json.dumps(to_plain(plan)))) == plan


def test_formats_are_many() -> None:
    assert len(WITNESSED) == len(BUILDS) + 2 * len(FORMATS)
