"""What a scenario works with: a pair in COLO whose guest checks itself, tracers on it, and ways to wait."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from colo_lab.pair import ColoPair
from colo_lab.settings import DEFAULT_QEMU, Settings
from colo_lab.vm import Vm

from .memory import MemoryGroup
from .scenario import Failed, Scenario, Skipped
from .traces import children

DEADLINE_S = 60.0
POLL_S = 0.01
HEARTBEAT = "x-colo-lost-heartbeat"
T = TypeVar("T")


class Bench:
    """One scenario's pair. `short` asks for few repetitions; `check` raises if the whole run is to end."""

    def __init__(self, scenario: Scenario, short: bool, scratch: Path, check: Callable[[], None], seed: int) -> None:
        self.short = short
        self.scratch = scratch
        self.check = check
        self.random = random.Random(f"{seed} {scenario.name}")
        self.qemu = scratch / "qemu-system-x86_64"
        settings: dict[str, Any] = {"dirty_mib": 8, "delay_ms": 50, "self_check": True, **scenario.settings}
        if scenario.copy_of_qemu:
            shutil.copy2(DEFAULT_QEMU, self.qemu)
            settings["qemu"] = str(self.qemu)
        self.pair = ColoPair(Settings(**settings), check=check)
        self.survivor: Vm
        self._before = children()

    def __enter__(self) -> Bench:
        self.pair.__enter__()
        self._lab = children() - self._before
        return self

    def __exit__(self, *_exception: object) -> None:
        self.pair.close()

    def processes_of_the_lab(self) -> frozenset[int]:
        """Our children that are the lab's: its VMs and its janitor."""
        return self._lab | {vm.pid for vm in self.pair.vms}

    def times(self, full: int, short: int) -> int:
        """How often to do something."""
        return short if self.short else full

    def wait_for(self, what: str, seen: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
        """Looks until there is something to see. Raises Failed at the deadline."""
        until = time.monotonic() + deadline_s
        while True:
            self.check()
            result = seen()
            if result:
                return result
            if time.monotonic() > until:
                raise Failed(f"{what} did not happen within {deadline_s:g} s")
            time.sleep(POLL_S)

    def pause(self, seconds: float) -> None:
        """Lets time pass, where the time itself is what is done to somebody."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            time.sleep(min(POLL_S, seconds))

    def checkpoints(self, count: int) -> None:
        """Waits for that many more checkpoints, by the primary's RESUME events. Raises Failed if they do not come."""
        monitor = self.pair.primary.monitor
        begin = monitor.count("RESUME")
        self.wait_for(f"{count} more checkpoints", lambda: monitor.count("RESUME") >= begin + count)

    def checkpoints_done(self) -> int:
        """RESUME events of the primary so far."""
        return self.pair.primary.monitor.count("RESUME")

    @contextlib.contextmanager
    def tracer(self, *vms: Vm, armed: bool = True, group: MemoryGroup | None = None) -> Iterator[Tracer]:
        """colotrace attach on these VMs; with `armed`, with a completed checkpoint of each of them behind it."""
        enter = group.enter if group else None
        output = self.scratch / f"run-{time.monotonic_ns()}.jsonl"
        command = [sys.executable, "-m", "colotrace", "attach", "--json", "-o", str(output), "--pid"]
        with open(output.with_suffix(".err"), "wb") as errors:
            command += [str(vm.pid) for vm in vms]
            process = subprocess.Popen(command, stdout=errors, stderr=errors, preexec_fn=enter)
        tracer = Tracer(process, output, self)
        try:
            if armed:
                for vm in vms:
                    tracer.wait_for("checkpoint", pid=vm.pid, outcome="completed")
            yield tracer
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    @contextlib.contextmanager
    def helper(self, *command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Another program beside the VM. Raises Skipped if it is not installed."""
        if shutil.which(command[0]) is None:
            raise Skipped(f"{command[0]} is not installed")
        log = open(self.scratch / f"{command[0]}.log", "a+")  # noqa: SIM115
        with log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, **options)
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()

    def said(self, program: str) -> str:
        """What a helper has printed so far."""
        return (self.scratch / f"{program}.log").read_text(errors="replace")

    def fail_over(self, survivor: Vm, other: Vm) -> None:
        """The peer is gone or hangs: the survivor is told so, and runs on alone."""
        resumes = survivor.monitor.count("RESUME")
        survivor.execute(HEARTBEAT)
        self.wait_for("the takeover", lambda: survivor.monitor.count("RESUME") > resumes or None)
        self.survivor = survivor
        other.kill()


class Tracer:
    """A running colotrace attach, and the JSON lines that it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, bench: Bench) -> None:
        self.process = process
        self._output = output
        self._bench = bench

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The whole lines of a type."""
        text = self._output.read_text() if self._output.exists() else ""
        return [one for one in map(json.loads, text[: text.rfind("\n") + 1].splitlines()) if one["type"] == kind]

    def wait_for(self, kind: str, **values: object) -> dict[str, Any]:
        """The last line of a type with these values, once there is one. Raises Failed if the tracer ends before."""

        def seen() -> dict[str, Any] | None:
            found = [one for one in self.lines(kind) if all(one.get(name) == v for name, v in values.items())]
            if not found and self.process.poll() is not None:
                raise Failed(f"attach ended with {self.process.returncode}: {self.errors()}")
            return found[-1] if found else None

        return self._bench.wait_for(f"a line {kind} with {values}", seen)

    def errors(self) -> str:
        """What it wrote to standard error."""
        lines = self._output.with_suffix(".err").read_text(errors="replace").splitlines()
        return " / ".join(line for line in lines if not line.startswith("{"))

    def end(self) -> list[dict[str, Any]]:
        """Ends it by SIGTERM; its summaries. Raises Failed if it does not end well, or its account does not add up."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> list[dict[str, Any]]:
        """Waits for its end; as end()."""
        self._bench.wait_for("the end of attach", lambda: self.process.poll() is not None or None)
        if self.process.returncode != 0:
            raise Failed(f"attach ended with {self.process.returncode}: {self.errors()}")
        summaries = self.lines("summary")
        records = self.lines("checkpoint")
        for summary in summaries:
            mine = [one for one in records if one["pid"] == summary["pid"] and one["outcome"] == "completed"]
            if len(mine) + summary["lost_records"] != summary["checkpoints"]:
                counted = f"{len(mine)} records and {summary['lost_records']} lost"
                raise Failed(f"{counted}, but {summary['checkpoints']} checkpoints")
        return summaries


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Sends a signal to processes that may have gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
