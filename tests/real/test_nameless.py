"""A QEMU without names: the plan is the same, found by evidence alone; each name held against .dynsym's.

The file is Debian's, with its names blanked: so the truth is known.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.settings import DEFAULT_QEMU
from elfedit import exported, without_names, without_section_headers
from witness import hold_against_qmp

from colotrace.errors import PlanError
from colotrace.phases import Role, Trigger
from colotrace.resolve.plan import ProbePlan, Quality
from colotrace.resolve.resolver import resolve

WHOLE = Path(DEFAULT_QEMU).read_bytes()
NAMELESS = without_names(WHOLE)
UNEXPORTED = {"colo_send_message", "colo_receive_message", "colo_receive_check_message"}
"""Static functions: .dynsym has no names for them."""


def plan_of(folder: Path, data: bytes) -> ProbePlan:
    path = folder / "qemu-system-x86_64"
    path.write_bytes(data)
    return resolve(path)


@pytest.fixture(scope="module")
def named() -> ProbePlan:
    return resolve(DEFAULT_QEMU)


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> ProbePlan:
    return plan_of(tmp_path_factory.mktemp("nameless"), NAMELESS)


def test_the_plan_is_the_same(named: ProbePlan, nameless: ProbePlan) -> None:
    assert {(p.role, p.boundary, p.address, p.data) for p in nameless.probes} == {
        (p.role, p.boundary, p.address, p.data) for p in named.probes if p.boundary.trigger is None
    }
    assert nameless.triggers.evidence == {} and set(nameless.triggers.reasons) == set(Trigger)
    for role in Role:
        assert nameless.roles[role].phases == named.roles[role].phases
        assert set(nameless.roles[role].phases.values()) == {Quality.EXACT}
    assert nameless.message_numbers == named.message_numbers == "read from COLOMessage_lookup"
    assert nameless.unresolved == ()


def test_every_name_is_the_one_that_dynsym_has(nameless: ProbePlan) -> None:
    truth = exported(WHOLE)
    assert len(nameless.names) > 20
    for known in nameless.names:
        assert known.source == "evidence in the code" and known.evidence
        assert known.name in UNEXPORTED or known.name in truth[known.address], known


def test_without_section_headers(tmp_path: Path, named: ProbePlan) -> None:
    plan = plan_of(tmp_path, without_section_headers(WHOLE))
    assert plan.sources == (".dynsym by its hash table",)
    assert [(p.boundary, p.address) for p in plan.probes] == [(p.boundary, p.address) for p in named.probes]
    assert plan.ram_counters == named.ram_counters


def test_without_either(tmp_path: Path, named: ProbePlan) -> None:
    plan = plan_of(tmp_path, without_section_headers(NAMELESS))
    places = {(p.boundary, p.address) for p in named.probes if p.boundary.trigger is None}
    assert {(p.boundary, p.address) for p in plan.probes} == places
    assert plan.unresolved == ()


EVIDENCE = {
    "COLO mode must be COLO_MODE_PRIMARY": "migrate_start_colo_process",
    "COLO mode must be COLO_MODE_SECONDARY": "colo_process_incoming_thread",
    "Can't receive COLO message": "colo_receive_message",
    "Unexpected COLO message %d, expected %d": "colo_receive_check_message",
    "COLO_EXIT": "qapi_event_send_colo_exit",
    "Unknown savevm section type %d": "qemu_loadvm_state_main",
    "qemu_event_wait": "qemu_event_wait",
    "qemu_mutex_lock_iothread_impl": "qemu_mutex_lock_iothread_impl",
    "invalid runstate transition: '%s' -> '%s'": "vm_stop_force_state",
    "RESUME": "vm_start",
}


@pytest.mark.parametrize("text", sorted(EVIDENCE))
def test_evidence_that_is_gone_is_missed_and_not_replaced(tmp_path: Path, named: ProbePlan, text: str) -> None:
    """The text reads otherwise: its function is not known then, and all that is exact is still right."""
    before = text.encode() + b"\0"  # linkers share the ends of texts
    assert before in NAMELESS
    changed = NAMELESS.replace(before, before[:2] + b"?" + before[3:])
    truth = {(p.role, p.boundary): p.address for p in named.probes if p.boundary.name != "colo-exit"}
    try:
        plan = plan_of(tmp_path, changed)
    except PlanError:
        assert EVIDENCE[text] in ("migrate_start_colo_process", "colo_receive_check_message")
        return
    assert EVIDENCE[text] not in {known.name for known in plan.names}
    assert plan.unresolved, "and the reason is told"
    for probe in plan.probes:
        if probe.proven and probe.boundary.name != "colo-exit":
            assert truth[probe.role, probe.boundary] == probe.address, probe


def test_a_running_pair_without_names(tmp_path: Path, make_pair: Callable[..., ColoPair]) -> None:
    """Both VMs run a file that has no names; QMP agrees with what is timed."""
    path = tmp_path / "qemu-system-x86_64"
    path.write_bytes(NAMELESS)
    path.chmod(0o755)
    hold_against_qmp(make_pair(dirty_mib=8, delay_ms=100, qemu=str(path)), 20)
