"""What goes wrong around a tracer, and what it makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from support import colotrace_running, json_lines, of_type, read_until, wait_for

import colotrace
from colotrace import Outcome, Role
from colotrace.checkpoint import Checkpoint, Note
from colotrace.target.process import Process
from colotrace.target.sites import SiteState, site_states

PTRACE_SEIZE = 0x4206


def overwrite(pid: int, address: int, data: bytes) -> None:
    """Writes into a process's code, as a debugger does."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(address)
        memory.write(data)


def test_a_lost_probe_makes_checkpoints_incomplete_and_not_aborted(make_pair: Callable[..., ColoPair]) -> None:
    """The probe at the end of the primary's checkpoint is wiped out, as a debugger would: QEMU has aborted nothing."""
    pair = make_pair(dirty_mib=8, delay_ms=100)
    with colotrace.attach(pair.primary.pid) as session:
        (target,) = session.targets
        probes = target.plan.roles[Role.PRIMARY].probes
        site = next(probe for probe in probes if probe.boundary.name == "transaction-end")
        events = session.events()
        while not (isinstance(event := next(events), Checkpoint) and event.completed):
            pass
        overwrite(pair.primary.pid, site.address + target.bias, site.data)
        while not (isinstance(event := next(events), Note) and event.event == "probe-lost"):
            pass
        assert "transaction-end" in event.message
        later = [event for event in (next(events) for _ in range(5)) if isinstance(event, Checkpoint)]
        totals = session.totals(pair.primary.pid)[Role.PRIMARY]
        counted = totals.checkpoints
        assert {checkpoint.outcome for checkpoint in later} == {Outcome.INCOMPLETE}
        assert totals.aborted == 0 and totals.incomplete >= len(later)
        next(event for event in events if isinstance(event, Checkpoint))
        assert session.totals(pair.primary.pid)[Role.PRIMARY].checkpoints == counted
    assert pair.trouble() == []


def test_probes_make_way_for_a_debugger(pair: ColoPair) -> None:
    """A debugger that comes later finds the file's own bytes, and the session of that process ends with a note."""
    pid = pair.secondary.pid
    seize = f"ctypes.CDLL(None).ptrace({PTRACE_SEIZE}, {pid}, 0, 0)"
    code = f"import ctypes, time; assert {seize} == 0; time.sleep(60)"
    with colotrace.attach(pid) as session:
        events = session.events()
        next(event for event in events if isinstance(event, Checkpoint))
        with subprocess.Popen([sys.executable, "-c", code]) as debugger:
            try:
                note = next(e for e in events if isinstance(e, Note) and e.event == "traced")
                assert str(debugger.pid) in note.message
                (target,) = session.targets
                states = site_states(target.process, target.bias, target.probes)
                assert set(states.values()) == {SiteState.CLEAN}
                assert session.ended
            finally:
                debugger.kill()


def test_leaving_the_loop_loses_nothing(pair: ColoPair) -> None:
    with colotrace.attach(pair.primary.pid) as session:
        done = pair.primary.monitor.count("RESUME")
        wait_for("several checkpoints at once", lambda: pair.primary.monitor.count("RESUME") > done + 5)
        sequences = [next(iter(session)).sequence for _ in range(5)]
    assert sequences == [1, 2, 3, 4, 5]


def test_a_dead_target_does_not_hold_up_the_others(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """One VM has had its checkpoints and has fallen silent; the other, which never had one, dies: the run is over."""
    pair, idle = make_pair(dirty_mib=8, delay_ms=100), make_pair(dirty_mib=0, start_colo=False)
    output = tmp_path / "run.jsonl"

    def seen(text: str, count: int = 1) -> bool | None:
        return (output.exists() and output.read_text().count(text) >= count) or None

    with colotrace_running("attach", "--pid", pair.primary.pid, idle.primary.pid, "-n", 3, "-o", output) as run:
        wait_for("the checkpoints", lambda: seen('"outcome":"completed"', 3))
        pair.secondary.kill()
        wait_for("COLO's end", lambda: seen('"event":"colo-exit"'))
        idle.primary.kill()
        assert run.wait(30) == 9
    assert "target-exited" in {note["event"] for note in of_type(json_lines(output.read_text()), "note")}


def test_a_target_that_is_gone_from_proc_ends_the_run(make_pair: Callable[..., ColoPair]) -> None:
    """Killed and waited for by its parent at once, as a VM's manager does: there is not even a zombie to look at."""
    idle = make_pair(dirty_mib=0, start_colo=False)
    with colotrace_running("attach", "--pid", idle.primary.pid, "--json") as run:
        read_until(run.stdout, '"event":"privileges"')
        idle.primary.close()
        assert not Path(f"/proc/{idle.primary.pid}").exists()
        output, _ = run.communicate(timeout=30)
    assert [note["event"] for note in of_type(json_lines(output), "note")] == ["target-exited"]


def test_ignored_signals_stay_ignored(pair: ColoPair) -> None:
    """nohup colotrace attach & goes on after the terminal has gone."""
    with colotrace_running(
        "attach", "--pid", pair.primary.pid, "--json",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as run:  # fmt: skip
        read_until(run.stdout, '"outcome":"completed"')
        run.send_signal(signal.SIGHUP)
        for _ in range(3):
            read_until(run.stdout, '"outcome":"completed"')
        assert run.poll() is None


def test_a_signal_while_arming_ends_with_a_summary(pair: ColoPair) -> None:
    """However early it comes, once the command is under way."""
    for delay_s in (0.6, 0.9, 1.2):
        with colotrace_running("attach", "--pid", pair.primary.pid, "--json") as run:
            started = time.monotonic()
            wait_for("the moment", lambda at=started + delay_s: time.monotonic() > at)  # type: ignore[misc]
            run.send_signal(signal.SIGTERM)
            assert run.stdout
            lines = json_lines(run.stdout.read())
            assert run.wait(30) in (0, -signal.SIGTERM)
            if run.returncode == 0:
                assert lines[-1]["type"] == "summary"


@pytest.mark.parametrize("arguments", [("--json",), ()], ids=["json", "text"])
def test_a_closed_pipe_is_no_error(pair: ColoPair, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    output = tmp_path / "run.jsonl"
    with colotrace_running("attach", "--pid", pair.primary.pid, "--output", output, *arguments) as run:
        assert run.stdout
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(30) == 0
        run.stdout = None
    assert json_lines(output.read_text())[-1]["type"] == "summary"


@pytest.mark.parametrize("arguments", [("--json",), ()], ids=["json", "text"])
def test_a_full_disk_is_said(pair: ColoPair, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        run = subprocess.run(
            [sys.executable, "-m", "colotrace", "attach", "--pid", str(pair.primary.pid), "-n", "2", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert run.returncode == 10, run.stderr
    assert "No space left" in run.stderr and "Traceback" not in run.stderr


def test_closed_standard_streams(pair: ColoPair) -> None:
    command = f'exec "$0" -m colotrace attach --pid {pair.primary.pid} -n 1 >&- 2>&- <&-'
    run = subprocess.run(["sh", "-c", command, sys.executable], timeout=60, check=False)
    assert run.returncode == 0


def test_a_thread_is_not_a_process(pair: ColoPair) -> None:
    thread = next(tid for tid in map(int, os.listdir(f"/proc/{pair.primary.pid}/task")) if tid != pair.primary.pid)
    with pytest.raises(colotrace.errors.TargetError, match=f"thread of process {pair.primary.pid}"):
        Process(thread)
