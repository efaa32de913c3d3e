"""What happens to the tracer: armed and disarmed, killed, stopped, out of memory, and two of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from colotrace.arming import AttachedTarget, Plans, prepare, settings_of
from colotrace.kernel.program import Program
from colotrace.target.sites import SiteState, site_states

from .bench import Bench
from .scenario import Failed, Scenario, Skipped
from .traces import bpf_objects

_CGROUP = Path("/sys/fs/cgroup")


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
            hits = sum(program.target(target.index).hits for target in targets)
            for target in targets:
                _expect(target, SiteState.BREAKPOINT, turn)
                program.disarm(target.index)
                _expect(target, SiteState.CLEAN, turn)
    done = bench.checkpoints_done() - before
    if not hits and times > 1:
        raise Failed("no probe was ever hit")
    return f"{times} times on both VMs, {done} checkpoints meanwhile"


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
    """SIGKILL, at any moment from its start to long after arming."""
    times = bench.times(25, 4)
    armed = 0
    for _ in range(times):
        with bench.tracer(bench.pair.primary, bench.pair.secondary, armed=False) as tracer:
            bench.pause(bench.random.uniform(0.2, 2.0))
            armed += bool(tracer.lines("attached"))
            tracer.process.kill()
        bench.checkpoints(2)
    if not armed:
        raise Failed("none of them had come as far as arming")
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
    """The kernel's OOM killer, in a memory cgroup whose limit is lowered while the probes are armed."""
    with _memory_group() as group, bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
        group.add(tracer.process.pid)
        before = bench.checkpoints_done()
        group.limit(1 << 20)
        # what was allocated before it moved here is charged elsewhere: it has to ask for more
        bench.wait_for("the OOM killer", lambda: tracer.process.poll() is not None or None)
        if tracer.process.returncode != -signal.SIGKILL:
            raise Failed(f"attach ended with {tracer.process.returncode}: {tracer.errors()}")
        bench.checkpoints(2)
        if not group.kills():
            raise Failed("it was killed, but not by the OOM killer")
    return f"killed while armed, {bench.checkpoints_done() - before} checkpoints since the limit"


class _MemoryGroup:
    """A memory cgroup of either version."""

    def __init__(self, path: Path, limit: str, events: str) -> None:
        self._path, self._limit, self._events = path, limit, events

    def add(self, pid: int) -> None:
        (self._path / "cgroup.procs").write_text(str(pid))

    def limit(self, size: int) -> None:
        (self._path / self._limit).write_text(str(size))

    def kills(self) -> int:
        words = (self._path / self._events).read_text().split()
        return int(words[words.index("oom_kill") + 1])


@contextlib.contextmanager
def _memory_group():  # type: ignore[no-untyped-def]
    name = f"colotrace-torture-{os.getpid()}"
    if (_CGROUP / "memory").is_dir():
        group = _MemoryGroup(_CGROUP / "memory" / name, "memory.limit_in_bytes", "memory.oom_control")
    else:
        group = _MemoryGroup(_CGROUP / name, "memory.max", "memory.events")
    try:
        group._path.mkdir()
    except OSError as error:
        raise Skipped(f"no memory cgroup can be made here: {error.strerror}") from error
    try:
        if not (group._path / group._limit).exists():
            raise Skipped("the memory controller is not enabled at the top of the cgroups")
        yield group
    finally:
        until = time.monotonic() + 5
        while True:
            try:
                group._path.rmdir()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)


def two_of_them(bench: Bench) -> str:
    """Two tracers on one VM, each coming and going while the other stays."""
    turns = bench.times(6, 1)
    vm = bench.pair.primary
    for _ in range(turns):
        with bench.tracer(vm) as first, bench.tracer(vm) as second:
            second.wait_for("note", event="shared")
            first.end()
            bench.checkpoints(2)
            with bench.tracer(vm) as third:
                third.process.kill()
                third.process.wait()
            bench.checkpoints(2)
            done = len(second.lines("checkpoint"))
            bench.wait_for("more of its checkpoints", lambda: len(second.lines("checkpoint")) > done + 1)
            notes = {note["event"] for note in second.lines("note")}
            if notes & {"probe-lost", "code-differs"}:
                raise Failed(f"the second one noted {notes}")
            (summary,) = second.end()
            if summary["aborted"]:
                raise Failed("a checkpoint was told to be aborted")
    return f"{turns} times: the first ends, a third is killed, the second goes on"


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
