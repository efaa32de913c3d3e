"""Other tools at the same places: bpftrace, perf and gdb."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import AbstractContextManager

from colotrace.arming import prepare
from colotrace.phases import Role
from colotrace.resolve.plan import Probe

from .bench import Bench
from .scenario import Failed, Scenario
from .traces import UPROBE_EVENTS

_BPFTRACE_FUNCTIONS = ("vm_start", "vm_stop_force_state", "qemu_savevm_live_state", "failover_get_state")
"""Debian's bpftrace takes entries of functions only: these are what the calls at our places lead to."""
_PROBED_BY_PERF = 8
REFUSED = 5


def _places(bench: Bench) -> tuple[int, list[Probe]]:
    """The load bias of the primary, and the probes of its role."""
    target = prepare(0, bench.pair.primary.pid, {})
    target.close()
    return target.bias, list(target.plan.roles[Role.PRIMARY].probes)


def _goes_first(bench: Bench, other: subprocess.Popen[str]) -> None:
    """The other tool ends while a tracer stays."""
    with bench.tracer(bench.pair.primary) as tracer:
        other.send_signal(signal.SIGINT)
        other.wait(30)
        bench.checkpoints(3)
        tracer.end()


def bpftrace(bench: Bench) -> str:
    """It comes first, stays while a tracer comes and goes, and goes while another one stays."""
    vm = bench.pair.primary
    path = bench.pair.settings.qemu_path()
    script = " ".join(f"uprobe:{path}:{name} {{ @[probe] = count(); }}" for name in _BPFTRACE_FUNCTIONS)
    with bench.helper("bpftrace", "-p", str(vm.pid), "-e", script) as other:
        bench.wait_for("bpftrace's probes", lambda: "Attaching" in bench.said("bpftrace") or None)
        bench.checkpoints(5)
        with bench.tracer(vm) as tracer:
            tracer.end()
        _goes_first(bench, other)
    counted = [line for line in bench.said("bpftrace").splitlines() if "vm_stop_force_state" in line and "]:" in line]
    if not counted:
        raise Failed(f"bpftrace has counted nothing: {bench.said('bpftrace')[-300:]}")
    pauses = counted[0].split(":")[-1].strip()
    return f"bpftrace on {len(_BPFTRACE_FUNCTIONS)} functions counted {pauses} pauses"


def perf(bench: Bench) -> str:
    """perf record with uprobe events of tracefs at our very places."""
    vm = bench.pair.primary
    _, probes = _places(bench)
    path = bench.pair.settings.qemu_path()
    chosen = probes[:: max(1, len(probes) // _PROBED_BY_PERF)][:_PROBED_BY_PERF]
    group = f"torture_{os.getpid()}"
    names = [f"place{number}" for number in range(len(chosen))]
    made: list[str] = []
    data = bench.scratch / "perf.data"
    try:
        for name, probe in zip(names, chosen, strict=True):
            _uprobe_event(f"p:{group}/{name} {path}:{probe.file_offset:#x}")
            made.append(name)
        wanted = [word for name in names for word in ("-e", f"{group}:{name}")]
        with bench.helper("perf", "record", "-q", "-o", str(data), *wanted, "-p", str(vm.pid)) as other:
            bench.wait_for("perf's file", lambda: data.exists() or None)
            bench.checkpoints(3)
            with bench.tracer(vm) as tracer:
                tracer.wait_for("note", event="shared")
                tracer.end()
            _goes_first(bench, other)
    finally:
        for name in made:
            _uprobe_event(f"-:{group}/{name}")
    script = subprocess.run(["perf", "script", "-i", str(data)], capture_output=True, text=True, check=False).stdout
    if not script.count(group):
        raise Failed("perf has recorded no hit")
    return f"{len(chosen)} of perf's events at our places, with {script.count(group)} hits recorded"


def _uprobe_event(line: str) -> None:
    file = os.open(UPROBE_EVENTS, os.O_WRONLY | os.O_APPEND)  # open(..., "a") would seek, which tracefs refuses
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


def gdb_first(bench: Bench) -> str:
    """A debugger with a breakpoint on one of our places: a tracer is refused, and the breakpoint works on."""
    vm = bench.pair.primary
    bias, probes = _places(bench)
    place = next(probe for probe in probes if probe.boundary.name == "transaction-begin").address + bias
    with _gdb(bench, place) as other:
        bench.wait_for("its breakpoint's first hits", lambda: bench.said("gdb").count("colotrace-hit") > 2 or None)
        with bench.tracer(vm, armed=False) as tracer:
            bench.wait_for("the refusal", lambda: tracer.process.poll() is not None or None)
            if tracer.process.returncode != REFUSED or "being traced" not in tracer.errors():
                raise Failed(f"attach ended with {tracer.process.returncode}: {tracer.errors()}")
        hits = bench.said("gdb").count("colotrace-hit")
        bench.wait_for("more hits", lambda: bench.said("gdb").count("colotrace-hit") > hits or None)
        _leave(bench, other)
    with bench.tracer(vm) as tracer:
        tracer.end()
    return f"refused; {bench.said('gdb').count('colotrace-hit')} hits of its breakpoint; armed once it had gone"


_HITS_WITHIN_S = 5.0


def gdb_later(bench: Bench) -> str:
    """A debugger comes while the probes are armed, and sets a breakpoint on one of our places."""
    vm = bench.pair.primary
    bias, probes = _places(bench)
    place = next(probe for probe in probes if probe.boundary.name == "transaction-begin").address + bias
    with bench.tracer(vm) as tracer, _gdb(bench, place) as other:
        tracer.wait_for("note", event="traced")
        tracer.wait()
        bench.wait_for("its breakpoint", lambda: "Breakpoint 1 at" in bench.said("gdb") or None)
        until = time.monotonic() + _HITS_WITHIN_S
        while time.monotonic() < until and bench.said("gdb").count("colotrace-hit") <= 2:
            time.sleep(0.05)  # a VM under gdb may make no checkpoint at all, tracer or none: no verdict hangs on it
        _leave(bench, other)
    return f"the probes made way; {bench.said('gdb').count('colotrace-hit')} hits of its breakpoint"


def _gdb(bench: Bench, place: int) -> AbstractContextManager[subprocess.Popen[str]]:
    """gdb on the primary with a breakpoint there that says so and goes on, until it is interrupted."""
    commands = bench.scratch / "gdb-commands"
    commands.write_text(
        "set pagination off\nset confirm off\nset auto-solib-add off\nset debuginfod enabled off\n"
        "set print thread-events off\n"
        f"handle SIGUSR1 SIGALRM SIGIO nostop noprint pass\nattach {bench.pair.primary.pid}\n"
        # Probes make way within 0.2 s of a debugger's coming, so that somebody who types never meets them. A breakpoint
        # that is set sooner keeps our int3 in place of the instruction, and puts it back when it is deleted.
        "shell sleep 1\n"
        f"break *{place:#x}\ncommands\nsilent\necho colotrace-hit\\n\ncontinue\nend\ncontinue\n"
        "delete\ndetach\nquit\n"
    )
    return bench.helper("gdb", "-q", "-nx", "-x", str(commands), stdin=subprocess.DEVNULL, start_new_session=True)


def _leave(bench: Bench, gdb: subprocess.Popen[str]) -> None:
    """Interrupts it; its script goes on with delete, detach and quit."""
    gdb.send_signal(signal.SIGINT)
    bench.wait_for("gdb's end", lambda: gdb.poll() is not None or None)


SCENARIOS = (
    Scenario("bpftrace", "bpftrace on the functions that our places call", bpftrace, steps=True),
    Scenario("perf", "perf record at our places", perf),
    Scenario("gdb-first", "gdb with a breakpoint on a place, then a tracer", gdb_first),
    Scenario("gdb-later", "a tracer, then gdb with a breakpoint on a place", gdb_later),
)
