"""The accounts under stress: a target that keeps its own, at rates that no VM reaches; a tracer that stands still."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from colo_target.target import ColoTarget
from support import colotrace_running, json_lines, of_type, wait_for

import colotrace
from colotrace.checkpoint import Checkpoint, CheckpointTotals
from colotrace.phases import ROLE_PHASES, Phase, Role

ROLES = ("primary", "secondary")
STOPPED_S = 10.0


def check_totals(totals: CheckpointTotals, own: dict[str, Any]) -> None:
    """Counts and sizes are the target's own; sums of times lie between the target's own readings, to the nanosecond."""
    assert totals.checkpoints == own["completed"] == own["begun"] == totals.begun
    assert totals.incomplete == totals.aborted == 0
    assert totals.device_bytes == own["device_bytes"]
    if totals.role is Role.PRIMARY:
        assert (totals.ram_bytes, totals.ram_pages) == (own["ram_bytes"], own["ram_pages"])
    sums = {"total_ns": totals.total_ns, "wait_ns": totals.phase_ns[Phase.WAIT], "pause_ns": totals.pause_ns}
    for name, value in sums.items():
        least, most = own[name]
        assert 0 < least < value < most, name
    phases = [phase for phase in ROLE_PHASES[totals.role] if phase not in (Phase.INIT, Phase.WAIT)]
    assert sum(totals.phase_ns[phase] for phase in phases) + totals.other_ns == totals.total_ns
    assert {totals.phase_num[phase] for phase in phases} == {totals.checkpoints}


@pytest.mark.parametrize("rate", [10_000, 0], ids=["10,000 per second", "as fast as it can"])
def test_totals_are_exact_while_the_tracer_is_stopped(rate: int, tmp_path: Path) -> None:
    """records + lost = checkpoints, for both roles, with user space stopped for 10 s."""
    output = tmp_path / "run.jsonl"
    armed = tmp_path / "armed"
    with ColoTarget("primary", rate) as primary, ColoTarget("secondary", rate) as secondary:
        targets = {target.pid: target for target in (primary, secondary)}
        with colotrace_running("attach", "--pid", *targets, "--output", output, "--armed-file", armed) as run:
            wait_for("arming", lambda: armed.exists() or None)
            run.send_signal(signal.SIGSTOP)
            for target in targets.values():
                target.go()
            time.sleep(STOPPED_S)
            own = {pid: target.stop() for pid, target in targets.items()}
            run.send_signal(signal.SIGCONT)
            run.send_signal(signal.SIGINT)
            assert run.communicate(timeout=60)[0] is not None and run.returncode == 0
    lines = json_lines(output.read_text())
    for summary in of_type(lines, "summary"):
        pid, target = summary["pid"], targets[summary["pid"]]
        records = [line for line in of_type(lines, "checkpoint") if line["pid"] == pid]
        assert summary["lost_records"] > 0
        assert len(records) + summary["lost_records"] == summary["checkpoints"] == own[pid]["completed"]
        assert [record["sequence"] for record in records] == list(range(1, len(records) + 1))
        info = summary["roles"][target.role]["info_checkpoint"]
        least, most = own[pid]["total_ns"]
        assert least < info["tot_time"] < most
        assert own[pid]["completed"] >= 0.9 * rate * STOPPED_S


@pytest.mark.parametrize("role", ROLES)
def test_totals_are_the_targets_own(role: str) -> None:
    with ColoTarget(role, 10_000) as target, colotrace.attach(target.pid) as session:
        target.go()
        until, records = time.monotonic() + 3, 0
        while time.monotonic() < until:
            records += sum(isinstance(event, Checkpoint) for event in session.receive())
        own = target.stop()
        session.detach()
        while events := session.receive(0):
            records += sum(isinstance(event, Checkpoint) for event in events)
        totals = session.totals(target.pid)[Role(role)]
    check_totals(totals, own)
    assert records + totals.lost_records == own["completed"]
    assert records > 0
