"""What happens to the tracer: armed and disarmed, killed, stopped, out of memory, and two of them."""

from __future__ import annotations

import contextlib
import signal
import sys
import time

from colo_lab.vm import Vm

from colotrace.arming import AttachedTarget, Plans, prepare, settings_of
from colotrace.kernel.program import Program
from colotrace.target.sites import SiteState, site_states

from .bench import Bench
from .memory import memory_group
from .scenario import Failed, Scenario
from .traces import bpf_objects

_ROOM = 8 << 20


def arm_and_disarm(bench: Bench) -> str:
    """Through one loaded program, as a session does; the code must be clean each time, and hold int3s in between."""
    times = bench.times(500, 50)
    before = bench.checkpoints_done()
    plans: Plans = {}
    hits = 0
    with contextlib.ExitStack() as undo:
        vms = (bench.pair.primary, bench.pair.secondary)
        targets = [prepare(index, vm.pid, plans) for index, vm in enumerate(vms)]
        for target in targets:
            undo.callback(target.close)
        program = undo.enter_context(Program(max_targets=len(targets)))
        for turn in range(times):
            bench.check()
            for target in targets:
                _arm(program, target)
            time.sleep(bench.random.uniform(0, 0.04))  # whatever the VMs are doing by then
            hits += sum(program.target(target.index).hits for target in targets)
            for target in targets:
                _expect(target, SiteState.BREAKPOINT, turn)
                program.disarm(target.index)
                _expect(target, SiteState.CLEAN, turn)
    done = bench.checkpoints_done() - before
    if not hits:
        raise Failed("no probe was ever hit")
    return f"{times} times on both VMs, {hits} hits, {done} checkpoints meanwhile"


def _arm(program: Program, target: AttachedTarget) -> None:
    program.set_target(target.index, settings_of(target))
    offsets = [probe.file_offset for probe in target.probes]
    cookies = [probe.boundary.cookie(probe.role, target.index) for probe in target.probes]
    program.arm(target.index, f"/proc/self/fd/{target.exe_fd}", target.pid, offsets, cookies)


def _expect(target: AttachedTarget, state: SiteState, turn: int) -> None:
    states = site_states(target.process, target.bias, target.probes)
    other = {one.value for one in states.values() if one is not state}
    if other:
        raise Failed(f"turn {turn}: some places of process {target.pid} are {', '.join(other)}, not {state.value}")


def killed(bench: Bench) -> str:
    """SIGKILL: every other time at any moment from its start on, and else soon after it has armed."""
    times = bench.times(40, 4)
    armed = 0
    for turn in range(times):
        with bench.tracer(bench.pair.primary, bench.pair.secondary, armed=False) as tracer:
            if turn % 2:
                tracer.wait_for("attached")
                bench.pause(bench.random.uniform(0, 0.2))
            else:
                bench.pause(bench.random.uniform(0.1, 1.5))
            tracer.process.kill()
            armed += bool(tracer.lines("attached"))
        bench.checkpoints(2)
    return f"{times} times, {armed} of them armed"


def stopped(bench: Bench) -> str:
    """SIGSTOP and SIGCONT: the kernel counts on, and what it counted is told afterwards."""
    seconds = bench.times(10, 2)
    with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
        before = bench.checkpoints_done()
        tracer.process.send_signal(signal.SIGSTOP)
        bench.pause(seconds)
        done = bench.checkpoints_done() - before
        tracer.process.send_signal(signal.SIGCONT)
        summaries = tracer.end()
    counted = sum(summary["checkpoints"] for summary in summaries)
    if counted < 2 * done:
        raise Failed(f"{done} checkpoints while it stood still, but {counted} counted on both sides")
    return f"{seconds} s, {done} checkpoints meanwhile, all of them counted"


def out_of_memory(bench: Bench) -> str:
    """The kernel's OOM killer, in a memory cgroup: another process of the group takes what the group may have."""
    with memory_group() as group, bench.tracer(bench.pair.primary, bench.pair.secondary, group=group) as tracer:
        before = bench.checkpoints_done()
        group.limit(group.usage() + _ROOM)
        hog = f"import os; open('/proc/self/oom_score_adj', 'w').write('-1000'); x = b'x' * {8 * _ROOM}"
        with bench.helper(sys.executable, "-c", hog, preexec_fn=group.enter):
            bench.wait_for("the OOM killer", lambda: tracer.process.poll() is not None or None)
        if tracer.process.returncode != -signal.SIGKILL or not group.kills():
            raise Failed(f"attach ended with {tracer.process.returncode}: {tracer.errors()}")
        bench.checkpoints(2)
        done = bench.checkpoints_done() - before
    return f"killed while armed, {done} checkpoints since"


def two_of_them(bench: Bench) -> str:
    """Two tracers on one VM, each coming and going while the other stays."""
    turns = bench.times(6, 1)
    for _ in range(turns):
        _come_and_go(bench, bench.pair.primary)
    return f"{turns} times: the first ends, a third is killed, the second goes on"


def _come_and_go(bench: Bench, vm: Vm) -> None:
    with bench.tracer(vm) as first, bench.tracer(vm) as second:
        second.wait_for("note", event="shared")
        first.end()
        bench.checkpoints(2)
        with bench.tracer(vm) as third:
            third.process.kill()
            third.process.wait()
        done = len(second.lines("checkpoint"))
        bench.wait_for("more of its checkpoints", lambda: len(second.lines("checkpoint")) > done + 1 or None)
        notes = {note["event"] for note in second.lines("note")}
        if notes & {"probe-lost", "code-differs"}:
            raise Failed(f"the second one noted {notes}")
        (summary,) = second.end()
        if summary["aborted"]:
            raise Failed("a checkpoint was told to be aborted")


def objects_in_the_kernel(bench: Bench) -> str:
    """Whole sessions one after the other: each takes its programs, maps and links along."""
    times = bench.times(20, 3)
    before = bpf_objects()
    for _ in range(times):
        with bench.tracer(bench.pair.primary) as tracer:
            if not bpf_objects() - before:
                raise Failed("a running tracer has no BPF object: this looks at the wrong thing")
            tracer.end()
    return f"{times} whole runs"


SCENARIOS = (
    Scenario("arm-disarm", "armed and disarmed during checkpoints", arm_and_disarm, settings={"delay_ms": 20}),
    Scenario("runs", "whole runs of attach, one after the other", objects_in_the_kernel),
    Scenario("tracer-killed", "SIGKILL of the tracer at any moment", killed),
    Scenario("tracer-stopped", "SIGSTOP and SIGCONT of the tracer", stopped),
    Scenario("tracer-oom", "the tracer is killed for want of memory", out_of_memory),
    Scenario("two-tracers", "two tracers on one VM", two_of_them),
)
