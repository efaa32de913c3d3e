"""QEMUs of other shapes: confined as libvirt does it, with many threads, starting helpers."""

from __future__ import annotations

from pathlib import Path

from colo_lab.errors import VmError

from .bench import Bench
from .scenario import Failed, Scenario

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
THREADS = 64
IO_THREADS = tuple(word for n in range(32) for word in ("-object", f"iothread,id=io{n}"))


def _traced(bench: Bench) -> str:
    """Tracers come and go on both sides."""
    turns = bench.times(5, 1)
    checkpoints = 0
    for _ in range(turns):
        with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
            bench.checkpoints(bench.times(20, 5))
            checkpoints += sum(summary["checkpoints"] for summary in tracer.end())
    return f"{turns} runs, {checkpoints} checkpoints of both sides"


def sandboxed(bench: Bench) -> str:
    """Seccomp filters are on in every thread; a probe is no system call, and they do not see it."""
    for vm in (bench.pair.primary, bench.pair.secondary):
        for thread in Path(f"/proc/{vm.pid}/task").iterdir():
            if "Seccomp:\t2" not in (thread / "status").read_text():
                raise Failed(f"thread {thread.name} of the {vm.name} has no seccomp filter")
    return _traced(bench)


def many_threads(bench: Bench) -> str:
    """vCPUs and I/O threads."""
    threads = len(list(Path(f"/proc/{bench.pair.primary.pid}/task").iterdir()))
    if threads < THREADS:
        raise Failed(f"only {threads} threads")
    return f"{threads} threads; {_traced(bench)}"


def helpers(bench: Bench) -> str:
    """QEMU forks and executes a bridge helper that fails: netdev_add, on each VM, with the probes armed."""
    times = bench.times(100, 10)
    with bench.tracer(bench.pair.primary, bench.pair.secondary) as tracer:
        for number in range(times):
            for vm in (bench.pair.primary, bench.pair.secondary):
                try:
                    vm.execute("netdev_add", type="bridge", id=f"net{number}", br="none", helper="/bin/false")
                except VmError as error:
                    if "bridge helper failed" not in str(error):
                        raise Failed(f"no helper was started: {error}") from error
                bench.pause(bench.random.uniform(0, 0.02))
        bench.checkpoints(3)
        tracer.end()
    return f"{times} helpers of each VM"


SCENARIOS = (
    Scenario("threads", f"QEMUs of more than {THREADS} threads", many_threads,
             settings={"vcpus": 32, "qemu_options": IO_THREADS, "delay_ms": 200}),
    Scenario("sandbox", f"QEMU under -sandbox {SANDBOX}", sandboxed, settings={"qemu_options": ("-sandbox", SANDBOX)}),
    Scenario("helpers", "QEMU forks and executes helpers", helpers),
)  # fmt: skip
