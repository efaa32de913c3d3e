"""The accounts under stress: a target that keeps its own, at rates that no VM reaches; a tracer that stands still."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from colo_target.target import ColoTarget
from support import colotrace as colotrace_cli
from support import colotrace_running, json_lines, of_type, wait_for

import colotrace
from colotrace.checkpoint import Checkpoint, CheckpointTotals, Event, Note, Outcome
from colotrace.clocks import ClockReading, ClockWatch, read_clocks
from colotrace.kernel.program import BATCH, Program
from colotrace.phases import ROLE_PHASES, Effect, Phase, Role

ROLES = ("primary", "secondary")
STOPPED_S = 10.0
PARTS = Effect.PAUSE_BEGIN | Effect.PAUSE_END | Effect.DEVICE_BYTES | Effect.COMPLETES | Effect.TRANSACTION_END


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
            text, _ = run.communicate(timeout=60)
            assert run.returncode == 0 and text.count("--ring-size gives it more room") == len(targets)
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
        assert own[pid]["completed"] >= 0.5 * rate * STOPPED_S, "a busy machine may not give it its time"


@pytest.mark.parametrize("role", ROLES)
def test_totals_are_the_targets_own(role: str) -> None:
    with ColoTarget(role, 10_000) as target, colotrace.attach(target.pid) as session:
        target.go()
        until, records = time.monotonic() + 3, 0
        while time.monotonic() < until:
            taken = sum(isinstance(event, Checkpoint) for event in session.receive())
            assert taken <= BATCH, "it gives back control, however many come"
            records += taken
        own = target.stop()
        session.detach()
        while events := session.receive(0):
            records += sum(isinstance(event, Checkpoint) for event in events)
        totals = session.totals(target.pid)[Role(role)]
    check_totals(totals, own)
    assert records + totals.lost_records == own["completed"]
    assert records > 0


@pytest.mark.parametrize("role", ROLES)
def test_armed_and_disarmed_in_the_middle(role: str) -> None:
    """The kernel sets and removes probes one by one, while some 30,000 checkpoints pass in a second.

    Only the one that was under way when the last probe was set is seen in part; none looks aborted.
    """
    with ColoTarget(role, 0) as target:
        target.go()
        for _ in range(3):
            with colotrace.attach(target.pid) as session:
                wait_for("checkpoints", lambda at=session: at.totals(target.pid) or None)  # type: ignore[misc]
                session.detach()
                totals = session.totals(target.pid)[Role(role)]
                records = [event for event in session.receive(0) if isinstance(event, Checkpoint)]
            assert totals.aborted == 0 and totals.incomplete <= 1
            assert totals.begun - (totals.checkpoints + totals.incomplete) in (0, 1), "one may be under way at the end"
            whole = [record for record in records if record.completed]
            assert whole and all(record.marks_ns.keys() == whole[0].marks_ns.keys() for record in whole)
            assert not any(record.pause_ns is None or record.device_bytes is None for record in whole)


def test_a_checkpoint_with_a_suspension_in_it_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host seems to be suspended for 5 s: CLOCK_BOOTTIME is replaced, in the kernel program and here alike."""
    suspended_at, for_ns = time.monotonic_ns() + 3_000_000_000, 5_000_000_000
    boot_ns = f"-DBOOT_NS()=(bpf_ktime_get_ns()+(bpf_ktime_get_ns()>{suspended_at}ULL?{for_ns}ULL:0))"

    def clocks() -> ClockReading:
        real = read_clocks()
        asleep = for_ns if real.monotonic_ns > suspended_at else 0
        return replace(real, boottime_ns=real.boottime_ns + asleep, realtime_ns=real.realtime_ns + asleep)

    monkeypatch.setattr("colotrace.session.Program", partial(Program, defines=(boot_ns,)))
    monkeypatch.setattr("colotrace.session.ClockWatch", lambda: ClockWatch(clocks))
    with ColoTarget("primary", 20) as target, colotrace.attach(target.pid) as session:
        target.go()
        events: list[Event] = []
        while time.monotonic_ns() < suspended_at + 500_000_000:
            events += session.receive()
        own = target.stop()
        events += session.receive(0)
        totals = session.totals(target.pid)[Role.PRIMARY]
    (hurt,) = [event for event in events if isinstance(event, Checkpoint) and not event.completed]
    assert hurt.outcome is Outcome.INCOMPLETE and hurt.suspended_ms == for_ns // 1_000_000
    assert hurt.begin_ns and hurt.total_ns
    assert hurt.begin_ns - hurt.phase_ns[Phase.WAIT] <= suspended_at <= hurt.begin_ns + hurt.total_ns
    assert (totals.incomplete, totals.checkpoints) == (1, own["completed"] - 1)
    (note,) = [event for event in events if isinstance(event, Note) and event.event == "suspended"]
    assert note.details["suspended_ns"] == pytest.approx(for_ns, abs=1_000_000)  # readings are not at one instant
    assert note.details["after_ns"] <= suspended_at <= note.details["before_ns"]  # type: ignore[operator]
    assert "clock-stepped" not in {event.event for event in events if isinstance(event, Note)}


def test_in_a_time_namespace() -> None:
    """There CLOCK_MONOTONIC is another than the kernel program's: the line `attached` still gives the host's."""
    here = read_clocks()
    with ColoTarget("primary", 100) as target:
        target.go()
        run = subprocess.run(
            ["unshare", "-T", "--fork", "--monotonic", "1000000", "--boottime", "500",
             sys.executable, "-m", "colotrace", "attach", "--pid", str(target.pid), "-n", "5", "--json"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = json_lines(run.stdout)
    (attached,) = of_type(lines, "attached")
    assert abs(attached["realtime_minus_monotonic_ns"] - here.realtime_minus_monotonic_ns) < 1_000_000
    assert all(here.monotonic_ns < record["begin_ns"] for record in of_type(lines, "checkpoint") if record["begin_ns"])
    assert not {"suspended", "clock-stepped"} & {note["event"] for note in of_type(lines, "note")}


def test_the_ring_buffers_size_and_memory() -> None:
    with ColoTarget("primary", 100) as target:
        target.go()
        sizes = {}
        for text, size in (("256K", 256 << 10), ("4m", 4 << 20)):
            run = colotrace_cli("attach", "--pid", target.pid, "-n", 1, "--json", "--ring-size", text)
            assert run.returncode == 0, run.stderr
            (attached,) = of_type(json_lines(run.stdout), "attached")
            assert attached["ring_bytes"] == size
            sizes[size] = attached["kernel_bytes"] - size
        assert all(0 < rest < 1 << 19 for rest in sizes.values()), "half a MiB for everything else, as --help has it"
        assert colotrace_cli("attach", "--pid", target.pid, "--ring-size", "300K").returncode == 2


@pytest.mark.parametrize("role", ROLES)
def test_whichever_probe_is_lost_no_average_holds_a_part(role: str) -> None:
    """Each probe in turn is wiped out, and nobody has noticed yet: what was seen in part is in no sum."""
    with ColoTarget(role, 1000) as target:
        target.go()
        left = [""]
        while left:
            with colotrace.attach(target.pid) as session:
                (attached,) = session.targets
                probes = {probe.boundary.name: probe for probe in attached.plan.roles[Role(role)].probes}
                left = list(probes) if left == [""] else left
                probe = probes[left.pop()]
                wait_for("checkpoints", lambda at=session: at.totals(target.pid) or None)  # type: ignore[misc]
                with open(f"/proc/{target.pid}/mem", "r+b", buffering=0) as memory:
                    memory.seek(probe.address + attached.bias)
                    memory.write(probe.data[:1])
                time.sleep(0.1)  # some 100 checkpoints
                totals = session.totals(target.pid)[Role(role)]
            inside = {n for phase, n in totals.phase_num.items() if phase is not Phase.INIT}
            assert inside | {totals.pause_num, totals.device_num} == {totals.checkpoints}, probe.boundary.name
            assert totals.aborted == 0, probe.boundary.name
            if probe.boundary.closes or probe.boundary.opens or probe.boundary.effects & PARTS:
                assert totals.incomplete >= 10 or probe.boundary.name == "init-begin", probe.boundary.name
