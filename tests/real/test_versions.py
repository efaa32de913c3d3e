"""Real QEMUs of five Debian releases: every phase is exact, and every probe is where a reader of objdump put it.

tests/data/places.json was written by hand from `objdump -d`, not by colotrace: build-id -> role -> boundary -> the
addresses. scripts/binaries fetches the files; a release may have moved on to a build that nobody has read yet.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from colotrace.phases import BOUNDARIES, ROLE_PHASES, Role
from colotrace.resolve.plan import ProbePlan, Quality
from colotrace.resolve.resolver import resolve

ROOT = Path(__file__).resolve().parents[2]
PLACES: dict[str, Any] = json.loads((ROOT / "tests/data/places.json").read_text())
RELEASES = ("bullseye", "bookworm", "bookworm-backports", "trixie", "sid")
READ = ("bullseye", "bookworm", "trixie")
"""Releases whose build does not change any more, or seldom; sid's does every few weeks."""


@pytest.fixture(scope="module")
def plans() -> dict[str, ProbePlan]:
    """Release -> plan of its x86-64 QEMU; fetched once."""
    names = [f"{release}-amd64" for release in RELEASES]
    run = subprocess.run([ROOT / "scripts/binaries", *names], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines()]
    return {release: resolve(path) for release, _, path in rows}


@pytest.mark.parametrize("release", RELEASES)
def test_every_phase_is_exact(release: str, plans: dict[str, ProbePlan]) -> None:
    plan = plans[release]
    assert plan.unresolved == ()
    for role in Role:
        assert plan.roles[role].phases == dict.fromkeys(ROLE_PHASES[role], Quality.EXACT)
        assert {probe.boundary.name for probe in plan.roles[role].probes} == set(BOUNDARIES[role])
    assert all(probe.emulated and probe.proven for probe in plan.probes)
    assert plan.ram_counters.known and plan.message_numbers.startswith("read from")


@pytest.mark.parametrize("release", RELEASES)
def test_addresses_are_those_read_by_hand(release: str, plans: dict[str, ProbePlan]) -> None:
    plan = plans[release]
    table = PLACES.get(plan.build_id or "")
    if table is None:
        assert release not in READ, f"nobody has read {plan.qemu_version}, build-id {plan.build_id}"
        return
    for role in Role:
        found: dict[str, list[str]] = {}
        for probe in plan.roles[role].probes:
            found.setdefault(probe.boundary.name, []).append(f"{probe.address:x}")
        assert {name: " ".join(sorted(addresses)) for name, addresses in found.items()} == table[role.value]
    assert [f"{probe.address:x}" for probe in plan.process_probes] == [table["takeover"]]


_NO = "not by this thread"
MEANINGS = {
    "bullseye": {"pending-query": _NO, "switchover-start": _NO, "lock-release": "other", "throttle-reset": _NO},
    "bookworm": {"compare-notification": "other", "live-state": "ram", "throttle-reset": "other"},
    "trixie": {"switchover-start": "stat", "lock-release": "other", "vcpu-synchronisation": "ram", "system-reset": _NO},
    "sid": {"pending-query": "ram", "lock-release": "ram", "switchover-start": _NO, "system-reset": "load"},
}


@pytest.mark.parametrize("release", sorted(MEANINGS))
def test_what_phases_mean(release: str, plans: dict[str, ProbePlan]) -> None:
    told = {key: where for role in Role for key, where in plans[release].roles[role].meanings.items()}
    assert MEANINGS[release].items() <= told.items()
    assert told["cache-flush"] == "load" and told["load-pages"] == "ram"


OFFSETS = {
    "bullseye": ("ram_counters", [0], [40, 24]),
    "bookworm": ("ram_counters", [0], [40, 24]),
    "bookworm-backports": ("mig_stats", [32, 40], [48, 112]),
    "trixie": ("mig_stats", [32, 40], [48, 112]),
}
"""Read in objdump's listing of the function that fills query-migrate's answer in; 7.2 and before, of the visitor."""


@pytest.mark.parametrize("release", sorted(OFFSETS))
def test_counters(release: str, plans: dict[str, ProbePlan]) -> None:
    name, of_bytes, of_pages = OFFSETS[release]
    counters = plans[release].ram_counters
    symbols = subprocess.run(["nm", "-D", plans[release].path], capture_output=True, text=True, check=True).stdout
    base = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(f" B {name}"))
    assert list(counters.bytes_at) == [base + offset for offset in of_bytes]
    assert list(counters.pages_at) == [base + offset for offset in of_pages]
