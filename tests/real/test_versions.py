"""Real QEMUs of five Debian releases, amd64 and arm64: all phases exact, all probes where a reader of objdump put them.

tests/data/places.json was written by hand from `objdump -d`, not by colotrace: build-id -> role -> boundary -> the
addresses. scripts/binaries fetches the files; a release may have moved on to a build that nobody has read yet.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from colotrace.phases import BOUNDARIES, ROLE_PHASES, Effect, Role, Trigger
from colotrace.resolve.plan import ProbePlan, Quality
from colotrace.resolve.resolver import resolve

ROOT = Path(__file__).resolve().parents[2]
PLACES: dict[str, Any] = json.loads((ROOT / "tests/data/places.json").read_text())
RELEASES = ("bullseye", "bookworm", "bookworm-backports", "trixie", "sid")
ON_X86, ON_ARM = ([f"{release}-{architecture}" for release in RELEASES] for architecture in ("amd64", "arm64"))
READ = ("bullseye-amd64", "bookworm-amd64", "trixie-amd64", "bookworm-arm64")
"""Those whose build does not change any more, or seldom; sid's does every few weeks."""


@pytest.fixture(scope="module")
def plans() -> dict[str, ProbePlan]:
    """Release and architecture -> plan of that QEMU; fetched once."""
    run = subprocess.run([ROOT / "scripts/binaries", *ON_X86, *ON_ARM], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines()]
    return {f"{release}-{architecture}": resolve(path) for release, architecture, path in rows}


@pytest.mark.parametrize("release", ON_X86 + ON_ARM)
def test_every_phase_is_exact(release: str, plans: dict[str, ProbePlan]) -> None:
    plan = plans[release]
    on_arm = release in ON_ARM
    assert plan.machine == ("aarch64" if on_arm else "x86_64")
    assert [item.what for item in plan.unresolved] == (["attaching"] if on_arm else [])
    for role in Role:
        assert plan.roles[role].phases == dict.fromkeys(ROLE_PHASES[role], Quality.EXACT)
        assert {probe.boundary.name for probe in plan.roles[role].probes} == set(BOUNDARIES[role])
    assert all(probe.emulated and probe.proven for probe in plan.probes)
    assert plan.ram_counters.known and plan.message_numbers.startswith("read from")


@pytest.mark.parametrize("release", ON_X86 + ON_ARM)
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
    process = {probe.boundary.name: f"{probe.address:x}" for probe in plan.process_probes}
    assert process == {"takeover": table["takeover"], **table.get("asked", {})}


@pytest.mark.parametrize("release", ON_X86)
def test_everybody_who_asks_for_checkpoints_is_found(release: str, plans: dict[str, ProbePlan]) -> None:
    """Exported and shared in 5.2 and 7.2; static, and out of line, from 8.1 on."""
    plan = plans[release]
    assert set(plan.triggers.evidence) == set(Trigger) and plan.triggers.reasons == {}
    through = {p.boundary.trigger for p in plan.process_probes if p.boundary.effects & Effect.THROUGH_TIMER}
    assert through == ({Trigger.PARAMETER} if release in ("bullseye-amd64", "bookworm-amd64") else set())
    assert plan.reason(Role.PRIMARY, "trigger") is None
    assert plan.reason(Role.SECONDARY, "trigger") == "the primary decides"


@pytest.mark.parametrize("release", ON_ARM)
def test_on_aarch64_nobody_is(release: str, plans: dict[str, ProbePlan]) -> None:
    assert plans[release].reason(Role.PRIMARY, "trigger") == "who asks for checkpoints is looked for on x86-64 only"


_NO = "not by this thread"
MEANINGS = {
    "bullseye": {"pending-query": _NO, "switchover-start": _NO, "lock-release": "other", "throttle-reset": _NO},
    "bookworm": {"compare-notification": "other", "live-state": "ram", "throttle-reset": "other"},
    "trixie": {"switchover-start": "stat", "lock-release": "other", "vcpu-synchronisation": "ram", "system-reset": _NO},
    "sid": {"pending-query": "ram", "lock-release": "ram", "switchover-start": _NO, "system-reset": "load"},
}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("release", sorted(MEANINGS))
def test_what_phases_mean(release: str, architecture: str, plans: dict[str, ProbePlan]) -> None:
    roles = plans[f"{release}-{architecture}"].roles
    told = {key: where for role in Role for key, where in roles[role].meanings.items()}
    assert MEANINGS[release].items() <= told.items()
    assert told["cache-flush"] == "load" and told["load-pages"] == "ram"


OFFSETS = {
    "bullseye": ("ram_counters", [0], [40, 24]),
    "bookworm": ("ram_counters", [0], [40, 24]),
    "bookworm-backports": ("mig_stats", [32, 40], [48, 112]),
    "trixie": ("mig_stats", [32, 40], [48, 112]),
}
"""Read in objdump's listing of the function that fills query-migrate's answer in; 7.2 and before, of the visitor."""


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("release", sorted(OFFSETS))
def test_counters(release: str, architecture: str, plans: dict[str, ProbePlan]) -> None:
    name, of_bytes, of_pages = OFFSETS[release]
    plan = plans[f"{release}-{architecture}"]
    counters = plan.ram_counters
    symbols = subprocess.run(["nm", "-D", plan.path], capture_output=True, text=True, check=True).stdout
    base = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(f" B {name}"))
    assert list(counters.bytes_at) == [base + offset for offset in of_bytes]
    assert list(counters.pages_at) == [base + offset for offset in of_pages]
