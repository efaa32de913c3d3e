"""QEMUs whose colo.c was compiled in other ways, with helpers out of line or dissolved: whole plans, and QMP agrees."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from own_qemu import own_qemu
from witness import hold_against_qmp

from colotrace.phases import ROLE_PHASES, Role, Trigger
from colotrace.resolve.nameoptions import NameOptions
from colotrace.resolve.plan import Quality
from colotrace.resolve.resolver import resolve

BUILDS = (
    ("gcc", "-O0"), ("gcc", "-O1"), ("gcc", "-O3"), ("gcc", "-O2", "-fno-inline", "-fuse-ld=lld"),
    ("gcc", "-O2", "-fcf-protection=full", "-fno-plt"), ("clang", "-O0"), ("clang", "-O2", "-fuse-ld=lld"),
    ("clang", "-O3"), ("clang", "-Os"),
)  # fmt: skip
DESCRIBED = (
    ("gcc", "-O0", "-g"), ("gcc", "-O2", "-g"), ("gcc", "-O2", "-gdwarf-4"), ("gcc", "-O2", "-g", "-gz"),
    ("gcc", "-O3", "-g"), ("clang", "-O0", "-g"), ("clang", "-O2", "-g", "-fuse-ld=lld"), ("clang", "-O2", "-gdwarf-4"),
    ("clang", "-O3", "-g"),
)  # fmt: skip
LIVE = (("gcc", "-O0"), ("clang", "-O2", "-fuse-ld=lld"))


def stripped(build: tuple[str, ...], folder: Path) -> Path:
    """The build with neither symbol tables nor, since it has no modules, any dynamic name of its own."""
    path = folder / "qemu-system-x86_64"
    subprocess.run(["strip", "--strip-all", "-o", path, own_qemu(*build)], check=True)
    return path


@pytest.mark.parametrize("build", BUILDS, ids=" ".join)
def test_every_phase_is_exact(build: tuple[str, ...]) -> None:
    plan = resolve(own_qemu(*build))
    assert plan.unresolved == () and plan.ram_counters.known
    for role in Role:
        assert plan.roles[role].phases == dict.fromkeys(ROLE_PHASES[role], Quality.EXACT)


def test_an_end_merged_with_paths_of_errors_is_said() -> None:
    """gcc -Os leaves no instruction of its own behind the sending of LOADED."""
    plan = resolve(own_qemu("gcc", "-Os"))
    phases = plan.roles[Role.SECONDARY].phases
    assert [phase.value for phase, quality in phases.items() if quality is not Quality.EXACT] == ["load"]
    assert [item.what for item in plan.unresolved] == ["transaction-end: next-branch"]


@pytest.mark.parametrize("build", BUILDS, ids=" ".join)
def test_stripped_the_plan_is_the_same(build: tuple[str, ...], tmp_path: Path) -> None:
    named, nameless = resolve(own_qemu(*build)), resolve(stripped(build, tmp_path))
    assert "evidence in the code" in nameless.sources and ".symtab" not in nameless.sources
    for role in Role:
        assert nameless.roles[role].phases == named.roles[role].phases
    assert {(p.role, p.boundary, p.address) for p in nameless.probes} == {
        (p.role, p.boundary, p.address) for p in named.probes if p.boundary.trigger is None
    }
    assert nameless.triggers.evidence == {} and set(nameless.triggers.reasons) == set(Trigger)
    assert all(item.role is None for item in nameless.unresolved), "what is inlined away has no name to find"


@pytest.mark.parametrize("build", DESCRIBED, ids=" ".join)
def test_dwarf_agrees(build: tuple[str, ...]) -> None:
    """Every boundary lies in the function that QEMU's source has it in; a transaction's end belongs to none."""
    plan = resolve(own_qemu(*build))
    assert plan.unresolved == ()
    for role in Role:
        witness = plan.roles[role].witness
        probed = {name for probe in plan.roles[role].probes for name in probe.boundary.name.split("+")}
        assert set(witness.agreed) == probed - {"transaction-end"} and len(probed) > 18
        assert (witness.contradicted, witness.reason) == ((), "")
        assert [Path(name).name for name in witness.files] == ["colo.c"]
        assert plan.roles[role].phases == dict.fromkeys(ROLE_PHASES[role], Quality.EXACT)


def test_dwarf_in_a_separate_file_agrees(tmp_path: Path) -> None:
    qemu = str(own_qemu("gcc", "-O2", "-g"))
    stripped, debug = tmp_path / "qemu", str(tmp_path / "qemu.debug")
    subprocess.run(["objcopy", "--only-keep-debug", qemu, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", qemu, stripped], check=True)
    plan = resolve(stripped, options=NameOptions(debug))
    for role in plan.roles.values():
        assert role.witness.source == f".debug_info of {debug}" and len(role.witness.agreed) > 17
        assert (role.witness.contradicted, role.witness.reason) == ((), "")


@pytest.mark.parametrize("build", LIVE, ids=" ".join)
def test_a_pair_is_timed(build: tuple[str, ...], make_pair: Callable[..., ColoPair]) -> None:
    hold_against_qmp(make_pair(qemu=str(own_qemu(*build)), dirty_mib=8, delay_ms=100), 30)


def test_a_pair_without_any_names_is_timed(tmp_path: Path, make_pair: Callable[..., ColoPair]) -> None:
    path = stripped(("gcc", "-O2"), tmp_path)
    assert resolve(path).ram_counters.known is False
    hold_against_qmp(make_pair(qemu=str(path), dirty_mib=8, delay_ms=100), 30)
