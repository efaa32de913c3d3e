"""Plans that are refused whoever made them, and what a rehearsal says of the others."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from colotrace.cli import dry_run
from colotrace.cli.console import TextConsole
from colotrace.errors import PlanError
from colotrace.kernel import preflight
from colotrace.phases import BOUNDARIES, TAKEOVER, Role
from colotrace.refusals import NOP5, check_plan
from colotrace.rehearsal import Rehearsal, how_often
from colotrace.resolve.plan import ProbePlan

from .coloprogram import Recipe, build
from .truth import plan_of


@pytest.fixture(scope="module")
def plan() -> ProbePlan:
    return plan_of(build(Recipe(seed=4)).data)


def with_first_probe(plan: ProbePlan, **changes: object) -> ProbePlan:
    primary = plan.roles[Role.PRIMARY]
    first = replace(primary.probes[0], **changes)  # type: ignore[arg-type]
    probes = (first, *primary.probes[1:])
    return replace(plan, roles={**plan.roles, Role.PRIMARY: replace(primary, probes=probes)})


def test_the_resolvers_own_plan(plan: ProbePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "clobbers_red_zone", lambda: True)
    check_plan(plan)


def test_two_meanings_at_one_place(plan: ProbePlan) -> None:
    other = plan.roles[Role.SECONDARY].probes[3]
    with pytest.raises(PlanError, match="ambiguous") as refused:
        check_plan(with_first_probe(plan, file_offset=other.file_offset))
    assert other.boundary.name in refused.value.message and f"{other.file_offset:#x}" in refused.value.message
    assert refused.value.exit_code == 5 and "Nothing was armed" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("release", "machine", "refuses"),
    [
        ("6.17.9-amd64", "x86_64", False), ("6.18.0", "x86_64", True), ("6.18.44-fc", "x86_64", True),
        ("7.2.1", "x86_64", True), ("6.18.44", "aarch64", False), ("6.6.1", "x86_64", False),
    ],
)  # fmt: skip
def test_a_five_byte_nop(
    plan: ProbePlan, monkeypatch: pytest.MonkeyPatch, release: str, machine: str, refuses: bool
) -> None:
    import os

    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], real[1], release, real[3], machine)))
    nop = with_first_probe(plan, data=NOP5)
    if refuses:
        with pytest.raises(PlanError, match="five-byte nop"):
            check_plan(nop)
    else:
        check_plan(nop)


def rehearsal(plan: ProbePlan, pid_filter: int | None = 7) -> Rehearsal:
    return Rehearsal(7, "vm\x1b[2J", "/usr/bin/qemu", plan, 0x1000, pid_filter, ())


def test_how_often_a_probe_is_hit() -> None:
    words = {name: how_often(boundary) for name, boundary in BOUNDARIES[Role.PRIMARY].items()}
    assert words["init-begin"] == words["ready"] == "on entering COLO"
    assert words["colo-exit"] == "when COLO ends" and "VM starts" in how_often(TAKEOVER)
    assert {words[name] for name in words.keys() - {"init-begin", "ready", "colo-exit"}} == {"once a checkpoint"}


def test_hits_a_checkpoint(plan: ProbePlan) -> None:
    """All but entering and leaving COLO, and vm_start() itself."""
    one = rehearsal(plan)
    for role in Role:
        names = {probe.boundary.name for probe in plan.roles[role].probes}
        inside = names - {"init-begin", "ready", "colo-exit"}
        assert one.hits_per_checkpoint(role) == len(inside) + len(plan.process_probes)


def test_every_probe_is_in_the_json(plan: ProbePlan) -> None:
    line = rehearsal(plan).as_json()
    probes = line["probes"]
    assert isinstance(probes, list) and len(probes) == len(plan.probes)
    for shown, probe in zip(probes, plan.probes, strict=True):
        assert (shown["file_offset"], shown["instruction"]) == (probe.file_offset, probe.instruction)
        assert shown["memory_address"] == probe.address + 0x1000 and shown["emulated"] is probe.emulated
    assert line["link"] == {
        "type": "uprobe_multi", "file": "/proc/7/exe", "pid_filter": 7, "probes": len(plan.probes),
    }  # fmt: skip


@pytest.mark.parametrize(("pid_filter", "said"), [(7, "only process 7"), (None, "every process of this file")])
def test_every_probe_is_in_the_table(
    plan: ProbePlan, monkeypatch: pytest.MonkeyPatch, pid_filter: int | None, said: str
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(dry_run, "TextConsole", lambda **options: TextConsole(file=out, width=200, **options))
    dry_run.show([rehearsal(plan, pid_filter)], as_json=False)
    text = out.getvalue()
    assert said in text and "Nothing was armed." in text and "\x1b[2J" not in text
    assert all(f"{probe.file_offset:#010x}" in text and probe.instruction in text for probe in plan.probes)
