"""A failover's record against QMP's own events: which transaction died, both reasons, both times, on both sides."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from colo_lab.guest import looks_at_itself
from colo_lab.pair import ColoPair
from colo_lab.vm import Vm
from support import QmpWitness, colotrace_running, json_lines, of_type, read_clock, wait_for
from torture_lab.freeze import frozen_at

import colotrace
from colotrace import Role
from colotrace.binary.image import Image
from colotrace.binary.symbols import Symbols
from colotrace.checkpoint import Checkpoint, Failover
from colotrace.target.process import Process

HEARTBEAT = "x-colo-lost-heartbeat"
EVENT_LATE_NS = 20_000_000
"""COLO_EXIT is emitted by the call that is probed, RESUME by a notifier of vm_start(): soon after, on a busy host."""
RELAUNCH = 4
"""FailoverStatus, qapi/migration.json."""
BREATHERS = 3


class Run:
    """attach on some VMs, with the lines it has written so far."""

    def __init__(self, output: Path) -> None:
        self.output = output

    def lines(self, kind: str) -> list[dict[str, Any]]:
        text = self.output.read_text() if self.output.exists() else ""
        return of_type(json_lines(text[: text.rfind("\n") + 1]), kind)

    def wait_for(self, kind: str, count: int = 1, **values: object) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = [one for one in self.lines(kind) if all(one.get(name) == v for name, v in values.items())]
            return found[count - 1] if len(found) >= count else None

        return wait_for(f"{count} {kind} with {values}", look)


@contextmanager
def attached(output: Path, *vms: Vm, qmp: Vm | None = None) -> Iterator[Run]:
    """attach, running, with a completed checkpoint of each VM behind it; ended by SIGTERM, with a summary."""
    asked = ("--qmp", qmp.qmp_path) if qmp else ()
    with colotrace_running("attach", "--pid", *(vm.pid for vm in vms), "--output", output, "--json", *asked) as process:
        run = Run(output)
        for vm in vms:
            run.wait_for("checkpoint", BREATHERS, outcome="completed", pid=vm.pid)
        yield run
        process.terminate()
        assert process.wait(30) == 0


def hold_against_events(failover: dict[str, Any], vm: Vm) -> None:
    """COLO_EXIT and, after it, RESUME: QEMU's own reason and times."""
    clock = read_clock()
    event = vm.monitor.last("COLO_EXIT")
    assert event == {"mode": failover["mode"], "reason": failover["reason"]}
    for name, began in (("COLO_EXIT", failover["exit_ns"]), ("RESUME", failover["takeover_ns"])):
        if began is not None:
            late = (vm.monitor.last_time(name) or 0) - clock.offset_ns - began
            assert -1000 - 2 * clock.error_ns <= late < EVENT_LATE_NS, (name, late)


def hold_together(failover: dict[str, Any], run: Run) -> None:
    """The record against the checkpoints' own records."""
    mine = [c for c in run.lines("checkpoint") if (c["pid"], c["role"]) == (failover["pid"], failover["role"])]
    good = [c for c in mine if c["outcome"] == "completed" and c["begin_ns"] < failover["exit_ns"]][-1]
    assert failover["last_good"] == good["sequence"]
    assert failover["last_good_ns"] == good["begin_ns"] + good["total_ns"]
    assert failover["exit_after_ns"] == failover["exit_ns"] - failover["last_good_ns"] > 0
    aborted = [c for c in mine if c["sequence"] > good["sequence"] and (c["begin_ns"] or 0) < failover["exit_ns"]]
    assert [a["sequence"] for a in failover["attempts"]] == [c["sequence"] for c in aborted]
    assert failover["died_in"] == (aborted[0]["aborted_in"] if aborted else None)
    if failover["takeover_ns"] is not None:
        assert failover["takeover_after_ns"] == failover["takeover_ns"] - failover["last_good_ns"]


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_lost_heartbeat(make_pair: Callable[..., ColoPair], tmp_path: Path, role: str) -> None:
    """One side is told to fail over; it goes on alone, and the other hears of an error and hangs."""
    pair = make_pair(dirty_mib=8, delay_ms=100, self_check=True)
    one, other = (pair.primary, pair.secondary) if role == "primary" else (pair.secondary, pair.primary)
    with attached(tmp_path / "run", pair.primary, pair.secondary, qmp=None) as run:
        one.execute(HEARTBEAT)
        taken = run.wait_for("failover", pid=one.pid)
        run.wait_for("note", event="colo-exit", pid=other.pid)
        hold_against_events(taken, one)
    left = run.wait_for("failover", pid=other.pid)
    hold_against_events(left, other)
    for failover in (taken, left):
        hold_together(failover, run)
    assert (taken["role"], left["reason"]) == (role, "error")
    assert taken["reason"] in ("request", "error"), "QEMU shuts the sockets before it calls the failover complete"
    assert taken["status_reason"] is None and "--qmp" in taken["missing"]["status_reason"]
    assert left["takeover_ns"] is None and "nobody" in left["missing"]["takeover_ns"]
    summaries = {line["pid"]: line for line in run.lines("summary")}
    assert [f["exit_ns"] for f in summaries[one.pid]["failovers"]] == [taken["exit_ns"]]
    assert [f["exit_ns"] for f in summaries[other.pid]["failovers"]] == [left["exit_ns"]]
    looks_at_itself(one)


@pytest.mark.parametrize(("site", "phase"), [("recv-begin", "recv"), ("load-begin", "load")])
def test_the_peer_dies_in_the_middle(
    make_pair: Callable[..., ColoPair], tmp_path: Path, site: str, phase: str
) -> None:
    """The secondary is stopped right there and killed: the primary's transaction dies in that phase, the next one in
    another, and an error becomes a request in query-colo-status."""
    pair = make_pair(dirty_mib=8, delay_ms=100, self_check=True)
    with attached(tmp_path / "run", pair.primary, qmp=pair.primary) as run:
        with frozen_at(pair.secondary.pid, Role.SECONDARY, site):
            pair.secondary.kill()
            run.wait_for("note", event="colo-exit")
        pair.primary.execute(HEARTBEAT)
        failover = run.wait_for("failover")
        hold_against_events(failover, pair.primary)
    hold_together(failover, run)
    assert failover["died_in"] == phase
    assert [a["died_in"] for a in failover["attempts"]] == [phase, "stat"], "QEMU has gone round its loop"
    assert (failover["reason"], failover["status_reason"]) == ("error", "request")
    looks_at_itself(pair.primary)


@pytest.mark.parametrize(("site", "phase"), [("recv-begin", "recv"), ("load-begin", None)])
def test_the_primary_dies_in_the_middle(
    make_pair: Callable[..., ColoPair], tmp_path: Path, site: str, phase: str | None
) -> None:
    """A secondary that has RECEIVED out loads the state and runs with it, whoever hears of it: that is a good one."""
    pair = make_pair(dirty_mib=8, delay_ms=100, self_check=True)
    with attached(tmp_path / "run", pair.secondary, qmp=pair.secondary) as run:
        with frozen_at(pair.secondary.pid, Role.SECONDARY, site):
            pair.primary.close()
        run.wait_for("note", event="colo-exit")
        pair.secondary.execute(HEARTBEAT)
        failover = run.wait_for("failover")
        hold_against_events(failover, pair.secondary)
    hold_together(failover, run)
    assert failover["died_in"] == phase and failover["relaunched"] is (False if phase else None)
    assert (failover["reason"], failover["status_reason"]) == ("error", "request")
    looks_at_itself(pair.secondary)


def failover_state_address(process: Process) -> int:
    """Where failover_get_state() reads its one variable: mov eax, [rip+disp32]; ret."""
    with Image(process.exe) as image:
        (function,) = (symbol.address for symbol in Symbols(image).find("failover_get_state"))
        code = image.read(function, 7)
    assert code[:2] == b"\x8b\x05" and code[6] == 0xC3, code.hex()
    bias = int(re.match(r"[0-9a-f]+", Path(f"/proc/{process.pid}/maps").read_text())[0], 16)  # type: ignore[index]
    return bias + function + 6 + int.from_bytes(code[2:6], "little", signed=True)


def test_relaunch(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """A failover that is asked for while the secondary loads. QEMU 7.2 holds its big lock there, so no command gets
    in: the test writes the state that the command would, and QEMU's own code does the rest."""
    pair = make_pair(dirty_mib=8, delay_ms=100, self_check=True)
    address = failover_state_address(Process(pair.secondary.pid))
    with attached(tmp_path / "run", pair.secondary, qmp=pair.secondary) as run:
        with frozen_at(pair.secondary.pid, Role.SECONDARY, "load-begin"):
            with open(f"/proc/{pair.secondary.pid}/mem", "r+b", buffering=0) as memory:
                memory.seek(address)
                assert memory.read(4) == bytes(4)
                memory.seek(address)
                memory.write(RELAUNCH.to_bytes(4, "little"))
            os.kill(pair.secondary.pid, signal.SIGCONT)
            failover = run.wait_for("failover")
        hold_against_events(failover, pair.secondary)
    hold_together(failover, run)
    assert failover["relaunched"] is True and failover["died_in"] == "load"
    assert failover["takeover_ns"] > failover["exit_ns"]
    assert failover["status_reason"] == "request"
    looks_at_itself(pair.secondary)


def test_entering_colo_again(make_pair: Callable[..., ColoPair]) -> None:
    """The secondary takes over, becomes the primary of a new pair, and its new peer dies: two stretches, two records,
    and the same probes."""
    pair = make_pair(dirty_mib=8, delay_ms=100, self_check=True)
    survivor = pair.secondary
    with colotrace.attach(survivor.pid) as session:
        events = session.events()

        def until(wanted: Callable[[Any], bool]) -> Any:
            return next(event for event in events if wanted(event))

        def failed(event: Any) -> bool:
            return isinstance(event, Failover)

        def done(role: Role) -> Callable[[Any], bool]:
            return lambda event: isinstance(event, Checkpoint) and event.completed and event.role is role

        until(done(Role.SECONDARY))
        pair.primary.close()
        survivor.execute(HEARTBEAT)
        first = until(failed)
        pair.pair_anew(survivor)
        for _ in range(BREATHERS):
            last = until(done(Role.PRIMARY))
        looks_at_itself(pair.secondary)
        pair.secondary.close()
        survivor.execute(HEARTBEAT)
        second = until(failed)
        (summary,) = session.summaries()
    assert [first.number, second.number] == [1, 2] and summary.failovers == (first, second)
    assert (first.role, second.role) == (Role.SECONDARY, Role.PRIMARY)
    assert first.entered_ns is None and second.entered_ns > first.takeover_ns
    assert second.last_good >= last.sequence and second.takeover_ns > second.exit_ns
    assert set(summary.roles) == set(Role)
    looks_at_itself(survivor)


def test_a_monitor_that_is_in_use_at_the_failover(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """query-colo-status cannot be asked: null with the reason, and the rest of the record all the same."""
    pair = make_pair(dirty_mib=8, delay_ms=100)
    with attached(tmp_path / "run", pair.secondary, qmp=pair.secondary) as run, QmpWitness(pair.secondary.qmp_path):
        pair.primary.close()
        pair.secondary.execute(HEARTBEAT)
        failover = run.wait_for("failover")
    assert failover["status_reason"] is None and "did not answer" in failover["missing"]["status_reason"]
    hold_together(failover, run)
