"""What happens to the VM: killed, paused, migrated away, its file replaced or deleted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from colo_lab.vm import Vm

from .bench import Bench, signal_all
from .scenario import After, Failed, Scenario

HOW_LONG_S = (5, 1)
PAUSE_S = 0.3


def _killed(which: str) -> Callable[[Bench], str]:
    def run(bench: Bench) -> str:
        dying: Vm = getattr(bench.pair, which)
        survivor = bench.pair.secondary if which == "primary" else bench.pair.primary
        with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
            dying.kill()
            tracer.wait_for("note", event="target-exited", pid=dying.pid)
            tracer.wait_for("note", event="colo-exit", pid=survivor.pid)
            bench.fail_over(survivor, dying)
            failover = tracer.wait_for("failover", pid=survivor.pid)
            tracer.end()
        return f"the other took over {failover['takeover_after_ns'] / 1e6:.0f} ms after its last good checkpoint"

    return run


def paused_by_qmp(bench: Bench) -> str:
    """QMP stop and cont of each VM, between two checkpoints.

    A pause that lasts into a checkpoint is another matter: QEMU 7.2 then hangs now and then by itself, with no tracer
    about (the primary's monitor answers no more; in three tries at the 10th, the 1st and the 29th pause).
    """
    times = bench.times(10, 2)
    with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
        for _ in range(times):
            for vm in (bench.pair.primary, bench.pair.secondary):
                bench.checkpoints(1)
                vm.execute("stop")
                bench.pause(bench.random.uniform(0.0, PAUSE_S))
                vm.execute("cont")
        bench.checkpoints(2)
        tracer.end()
    return f"{times} times each, between checkpoints"


def paused_by_signal(bench: Bench) -> str:
    """SIGSTOP of QEMU itself: its peer waits in the middle of a checkpoint, and nothing fires meanwhile."""
    seconds = bench.times(*HOW_LONG_S)
    longest = 0
    with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
        for vm in (bench.pair.primary, bench.pair.secondary):
            os.kill(vm.pid, signal.SIGSTOP)
            try:
                bench.pause(seconds)
            finally:
                signal_all([vm.pid], signal.SIGCONT)
            bench.checkpoints(3)
        tracer.end()
        longest = max((one["total_ns"] or 0) for one in tracer.lines("checkpoint"))
    if longest < seconds * 5e8:
        raise Failed(f"the longest checkpoint took {longest / 1e9:.2f} s with a peer that stood still for {seconds} s")
    return f"{seconds} s each, the longest checkpoint {longest / 1e9:.2f} s"


def migrated_away(bench: Bench) -> str:
    """After a failover the VM leaves for another host, by an ordinary migration, with the probes on both QEMUs."""
    pair = bench.pair
    with bench.tracer(pair.primary, pair.secondary) as tracer:
        pair.secondary.kill()
        tracer.wait_for("note", event="colo-exit", pid=pair.primary.pid)
        bench.fail_over(pair.primary, pair.secondary)
        tracer.wait_for("failover", pid=pair.primary.pid)
        source = pair.primary
        target = pair.new_secondary(source)
        off = [{"capability": "x-colo", "state": False}]
        for vm in (source, target):
            vm.execute("migrate-set-capabilities", capabilities=off)
        with bench.tracer(target, armed=False) as other:
            other.wait_for("attached")
            source.execute("migrate", uri=pair.listen())
            bench.wait_for(
                "the migration's end", lambda: source.execute("query-migrate").get("status") == "completed" or None
            )
            bench.wait_for("the VM over there", lambda: target.monitor.count("RESUME") or None)
            other.end()
        state = source.execute("query-status").get("status")
        tracer.end()
    bench.survivor = target
    return f"the source is in {state}, the VM runs on the other QEMU"


def _file(do: Callable[[Path], None]) -> Callable[[Bench], str]:
    def run(bench: Bench) -> str:
        with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
            do(bench.qemu)
            bench.checkpoints(3)
            tracer.end()
        with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
            (summary, _) = tracer.end()
        return f"while traced; a new tracer arms {summary['probes']} probes on the running file"

    return run


def _replace(file: Path) -> None:
    """As a package manager does: another file under the same name."""
    other = file.with_suffix(".new")
    other.write_bytes(b"\x7fELF, but nothing that could run")
    os.replace(other, file)


SCENARIOS = (
    Scenario("primary-killed", "SIGKILL of the traced primary", _killed("primary"), After.ALONE),
    Scenario("secondary-killed", "SIGKILL of the traced secondary", _killed("secondary"), After.ALONE),
    Scenario("vm-paused", "QMP stop and cont of each VM", paused_by_qmp, settings={"delay_ms": 1000}),
    Scenario("qemu-stopped", "SIGSTOP and SIGCONT of each QEMU", paused_by_signal),
    Scenario("migrated-away", "the VM leaves for another QEMU after a failover", migrated_away, After.ALONE),
    Scenario("file-replaced", "QEMU's file is replaced while it runs", _file(_replace), copy_of_qemu=True),
    Scenario("file-deleted", "QEMU's file is deleted while it runs", _file(Path.unlink), copy_of_qemu=True),
)
