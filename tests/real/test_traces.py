"""What a tracer leaves in the VM and on the host, at its end and when it is killed: nothing."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

from colo_lab.pair import ColoPair
from support import (
    checkpoints_done,
    colotrace,
    colotrace_running,
    json_lines,
    kill_hard,
    leftovers,
    of_type,
    read_until,
    wait_for,
)

import colotrace as library
from colotrace.kernel.consumers import uprobe_consumers
from colotrace.resolve.resolver import resolve
from colotrace.target.process import Process
from colotrace.target.sites import SiteState, site_states

KILLS = 20


def states(pid: int) -> set[SiteState]:
    process = Process(pid)
    plan = resolve(process.exe)
    bias = process.load_bias([(plan.code_address, plan.code_offset)])
    return set(site_states(process, bias, plan.probes).values())


def no_probes(pid: int) -> bool | None:
    return True if states(pid) == {SiteState.CLEAN} else None


def test_probes_come_and_go(pair: ColoPair) -> None:
    pid, before = pair.primary.pid, leftovers()
    assert states(pid) == {SiteState.CLEAN}
    with library.attach(pid) as session:
        assert states(pid) == {SiteState.BREAKPOINT}
        assert next(iter(session)).pid == pid
        assert leftovers() != before, "the witness must see the probes while they are there"
        ours = [consumer for consumer in uprobe_consumers() if consumer.pid == pid]
        assert len(ours) == 1 and not ours[0].on_return
        assert ours[0].offsets == {probe.file_offset for probe in session.targets[0].probes}
    assert states(pid) == {SiteState.CLEAN}
    assert "[uprobes]" not in {mapping.name for mapping in Process(pid).mappings()}, "an instruction was single-stepped"
    assert leftovers() == before


def test_descriptors_do_not_pile_up(pair: ColoPair) -> None:
    def once() -> int:
        with library.attach(pair.primary.pid) as session:
            next(iter(session))
        return len(os.listdir("/proc/self/fd"))

    once()
    assert once() == once()


def test_the_command_leaves_nothing(pair: ColoPair) -> None:
    run = colotrace("attach", "--pid", pair.primary.pid, pair.secondary.pid, "-n", 3)
    assert run.returncode == 0, run.stderr
    assert states(pair.primary.pid) == states(pair.secondary.pid) == {SiteState.CLEAN}


def test_killed_in_mid_checkpoint(make_pair: Callable[..., ColoPair]) -> None:
    """kill -9, 20 times, at random moments of checkpoints that follow one another without a break."""
    pair = make_pair(dirty_mib=8, delay_ms=10)
    chance = random.Random(7)
    for _ in range(KILLS):
        with colotrace_running("attach", "--pid", pair.primary.pid, pair.secondary.pid, "--json") as run:
            assert run.stdout
            for _ in range(chance.randint(1, 4)):
                read_until(run.stdout, '"type":"checkpoint"')
            kill_hard(run)
        wait_for("the kernel's removal of the probes", lambda: no_probes(pair.primary.pid))
        done = checkpoints_done(pair.primary)
        wait_for("a further checkpoint", lambda at=done: checkpoints_done(pair.primary) > at + 1)  # type: ignore[misc]
    assert pair.trouble() == []
    again = colotrace("attach", "--pid", pair.primary.pid, pair.secondary.pid, "-n", 5, "--json")
    assert again.returncode == 0, again.stderr
    assert {line["checkpoints"] >= 5 for line in of_type(json_lines(again.stdout), "summary")} == {True}


def test_ctrl_c_ends_with_the_summary(pair: ColoPair) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with colotrace_running("attach", "--pid", pair.primary.pid, "--json") as run:
            assert run.stdout
            read_until(run.stdout, '"outcome":"completed"')
            run.send_signal(number)
            rest = run.stdout.read()
            assert run.wait(30) == 0
        assert json_lines(rest)[-1]["type"] == "summary"
    assert states(pair.primary.pid) == {SiteState.CLEAN}


def test_a_killed_tracer_leaves_whole_lines(pair: ColoPair, tmp_path: object) -> None:
    output = f"{tmp_path}/run.jsonl"
    with colotrace_running("attach", "--pid", pair.primary.pid, "--json", "-o", output) as run:
        assert run.stdout
        for _ in range(6):
            run.stdout.readline()
        kill_hard(run)
    with open(output, encoding="ascii") as file:
        text = file.read()
    assert text.endswith("\n")
    assert len(of_type(json_lines(text), "checkpoint")) >= 3
