"""Kept plans: the same plan for the same file, and no plan at all for anything else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colotrace import plancache
from colotrace.plancache import plan_for
from colotrace.resolve import resolver
from colotrace.resolve.nameoptions import NameOptions
from colotrace.resolve.plan import ProbePlan

from .coloprogram import Program, Recipe, build
from .elfwriter import BUILD_ID
from .nameless import debug_file, link_to, with_section

PROGRAM = build(Recipe(seed=8))
OTHER = build(Recipe(seed=9))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/colotrace/plans"


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of what was resolved, and not taken from the cache."""
    paths: list[str] = []
    genuine = resolver.resolve_image

    def count(image: Any, *arguments: Any) -> ProbePlan:
        paths.append(image.path)
        return genuine(image, *arguments)

    monkeypatch.setattr(resolver, "resolve_image", count)
    return paths


def plan_of(folder: Path, data: bytes | Program = PROGRAM, options: NameOptions | None = None) -> ProbePlan:
    path = folder / "qemu"
    path.write_bytes(data.data if isinstance(data, Program) else data)
    return plan_for(str(path), "QEMU", options) if options else plan_for(str(path), "QEMU")


def test_the_second_time_nothing_is_resolved(cache: Path, tmp_path: Path, resolved: list[str]) -> None:
    first, second = plan_of(tmp_path), plan_of(tmp_path)
    assert first == second and len(first.probes) > 40 and resolved == ["QEMU"]
    (kept,) = cache.iterdir()
    assert kept.name.startswith(BUILD_ID.hex()) and stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    again = plan_for(str(tmp_path / "qemu"), "another name")
    assert again.path == "another name" and again.probes == first.probes and resolved == ["QEMU"]


def test_a_kept_plan_costs_no_decoder(cache: Path, tmp_path: Path) -> None:
    plan_of(tmp_path)
    script = (
        "import sys; from colotrace.plancache import plan_for; plan_for(sys.argv[1], 'x');"
        "print(sorted({'capstone', 'elftools', 'numpy', 'pandas', 'urllib.request'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "qemu"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_another_file_of_the_same_build_id(cache: Path, tmp_path: Path, resolved: list[str]) -> None:
    one, other = plan_of(tmp_path), plan_of(tmp_path, OTHER)
    assert one.build_id == other.build_id and one.probes != other.probes and len(resolved) == 2
    plan_of(tmp_path, PROGRAM.data + b"\0")
    plan_of(tmp_path, PROGRAM.patched(PROGRAM.labels["timer_mod"] + 8, b"\x90"))
    assert len(resolved) == 4
    assert plan_of(tmp_path) == one and plan_of(tmp_path, OTHER) == other and len(resolved) == 4


def test_another_resolver(cache: Path, tmp_path: Path, resolved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan_of(tmp_path)
    monkeypatch.setattr(plancache, "_resolver", lambda: "another")
    plan_of(tmp_path)
    monkeypatch.setattr(plancache, "SCHEMA", plancache.SCHEMA + 1)
    plan_of(tmp_path)
    assert len(resolved) == 3


def test_plans_that_depend_on_debug_files_are_not_kept(cache: Path, tmp_path: Path, resolved: list[str]) -> None:
    debug = tmp_path / "debug"
    debug.write_bytes(debug_file(PROGRAM))
    for _ in range(2):
        plan_of(tmp_path, options=NameOptions(str(debug)))
    linked = with_section(PROGRAM.data, ".gnu_debuglink", link_to("q.debug", b"not there yet"))
    path = tmp_path / "linked"
    path.write_bytes(linked)
    assert plan_for(str(path), str(path)).sources == plan_for(str(path), str(path)).sources == (".dynsym",)
    assert len(resolved) == 3, "where no debug file is, the plan is kept"
    (tmp_path / "q.debug").write_bytes(debug_file(PROGRAM))
    assert len(plan_for(str(path), str(path)).sources) == 2 and len(resolved) == 4


def edited(kept: Path, change: Callable[[dict[str, Any]], object], *, sign: bool = True) -> None:
    data = json.loads(kept.read_text())
    change(data)
    if sign:
        data["plan_sha256"] = plancache._digest(data["plan"])
    kept.write_text(json.dumps(data))


def primary(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(data["plan"]["roles"])["primary"]
    return found


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "an address": lambda d: primary(d)["probes"][3].update(address=primary(d)["probes"][3]["address"] + 1),
    "an offset": lambda d: primary(d)["probes"][3].update(file_offset=0),
    "bytes": lambda d: primary(d)["probes"][3].update(data="90"),
    "no bytes": lambda d: primary(d)["probes"][3].update(data=""),
    "an address outside": lambda d: primary(d)["probes"][3].update(address=1 << 63, data="90"),
    "a boundary's meaning": lambda d: primary(d)["probes"][3]["boundary"].update(opens="ram"),
    "a boundary's name": lambda d: primary(d)["probes"][3]["boundary"].update(name="none"),
    "a role": lambda d: primary(d)["probes"][3].update(role="secondary"),
    "a takeover elsewhere": lambda d: d["plan"]["process_probes"].append(primary(d)["probes"][3]),
    "a role's role": lambda d: primary(d).update(role="secondary"),
    "no role": lambda d: d["plan"]["roles"].pop(),
    "no phase": lambda d: primary(d)["phases"].pop(),
    "another build-id": lambda d: d["plan"].update(build_id="00"),
    "another segment": lambda d: d["plan"].update(code_offset=0),
    "a field more": lambda d: d["plan"].update(more=1),
    "a field less": lambda d: d["plan"].pop("sources"),
    "more facts": lambda d: d["facts"].update(more=1),
    "fewer keys": lambda d: d.pop("facts"),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_a_kept_plan_that_is_not_proven_is_not_used(
    cache: Path, tmp_path: Path, resolved: list[str], what: str
) -> None:
    genuine = plan_of(tmp_path)
    (kept,) = cache.iterdir()
    edited(kept, CHANGES[what])
    assert plan_of(tmp_path) == genuine and len(resolved) == 2


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"facts": 1, "plan": 2, "plan_sha256": 3}'],
)
def test_damage(cache: Path, tmp_path: Path, resolved: list[str], damage: bytes) -> None:
    genuine = plan_of(tmp_path)
    (kept,) = cache.iterdir()
    kept.write_bytes(damage)
    assert plan_of(tmp_path) == genuine and len(resolved) == 2
    assert plan_of(tmp_path) == genuine and len(resolved) == 2, "it has been mended"


def test_an_unsigned_change(cache: Path, tmp_path: Path, resolved: list[str]) -> None:
    genuine = plan_of(tmp_path)
    (kept,) = cache.iterdir()
    edited(kept, lambda data: data["plan"].update(qemu_version="1.0"), sign=False)
    assert plan_of(tmp_path) == genuine and len(resolved) == 2


def test_nothing_is_written_through_links_or_where_others_write(
    cache: Path, tmp_path: Path, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cache.parent.mkdir(parents=True)
    cache.symlink_to(elsewhere)
    plan_of(tmp_path)
    cache.unlink()
    cache.mkdir(mode=0o700)
    os.chmod(cache, 0o770)
    plan_of(tmp_path)
    os.chmod(cache, 0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    plan_of(tmp_path)
    assert list(elsewhere.iterdir()) == [] and list(cache.iterdir()) == [] and len(resolved) == 3


def test_a_link_in_the_place_of_a_plan_is_not_followed(cache: Path, tmp_path: Path, resolved: list[str]) -> None:
    plan_of(tmp_path)
    (kept,) = cache.iterdir()
    kept.rename(tmp_path / "moved")
    kept.symlink_to(tmp_path / "moved")
    plan_of(tmp_path)
    assert len(resolved) == 2 and not kept.is_symlink()


@pytest.mark.parametrize("root", ["", "relative/path", "/proc/1/nowhere"])
def test_without_a_place_to_keep_it(
    tmp_path: Path, resolved: list[str], monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", root)
    monkeypatch.setenv("HOME", "")
    monkeypatch.chdir(tmp_path)
    assert plan_of(tmp_path) == plan_of(tmp_path)
    assert len(resolved) == 2 and [path.name for path in tmp_path.iterdir()] == ["qemu"]


def test_old_plans_are_forgotten(
    cache: Path, tmp_path: Path, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plancache, "_MOST_PLANS", 3)
    for n in range(5):
        plan_of(tmp_path, PROGRAM.data + bytes(n))
    assert len(list(cache.iterdir())) == 3
    plan_of(tmp_path, PROGRAM.data + bytes(4))
    assert len(resolved) == 5
