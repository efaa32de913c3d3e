"""Helpers of the real tests: the CLI as a process, QMP as a witness with a clock, and what probes may leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from colotrace.kernel.consumers import uprobe_consumers
from colotrace.target.process import Process

DEADLINE_S = 60.0
PTRACE_SEIZE = 0x4206
ON_A_SOCKET = {"44", "45", "46", "47"}
"""sendto, recvfrom, sendmsg and recvmsg on x86-64."""
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """Looks until there is something to see; AssertionError at the deadline."""
    until = time.monotonic() + deadline_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < until, f"{what} did not happen within {deadline_s:g} s"
        time.sleep(0.01)


def colotrace(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command and returns what it printed; never raises for its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "colotrace", *map(str, arguments)],
        capture_output=True, text=True, timeout=180, check=False, **options,
    )  # fmt: skip


@contextlib.contextmanager
def colotrace_running(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command as a running process; killed at the end if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "colotrace", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def read_until(stream: IO[str] | None, text: str) -> None:
    """Reads lines until one holds the text; AssertionError if the stream ends before."""
    assert stream
    for line in iter(stream.readline, ""):
        if text in line:
            return
    raise AssertionError(f"the process ended before it said {text!r}")


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line's object."""
    return [json.loads(line) for line in text.splitlines()]


def of_type(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The lines of a type."""
    return [line for line in lines if line["type"] == kind]


def findings_of_primary(pair: Any, folder: Path, *more: object, count: int = 25) -> dict[str, Any]:
    """What attach's summary finds in a pair's primary; the recording is run.jsonl in the folder, anew each time."""
    output = folder / "run.jsonl"
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", count, "--json", "--output", output, *more)
    assert run.returncode == 0, run.stderr
    (summary,) = of_type(json_lines(run.stdout), "summary")
    findings: dict[str, Any] = summary["findings"]["primary"]
    return findings


def leftovers() -> tuple[int, str]:
    """How many uprobe links the kernel holds on our own VMs, and tracefs' uprobes: what a tracer could leave behind."""
    count = sum(1 for consumer in uprobe_consumers() if consumer.pid and is_child(consumer.pid))
    return count, Path("/sys/kernel/tracing/uprobe_events").read_text()


def is_child(pid: int) -> bool:
    """Whether a process was started by this one, as the lab's VMs are."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    except OSError:
        return False


@dataclass(frozen=True)
class Clock:
    """CLOCK_REALTIME less CLOCK_MONOTONIC, and the error of that reading, in nanoseconds."""

    offset_ns: int
    error_ns: int


def read_clock() -> Clock:
    """The best of many readings: one clock read between two readings of the other."""
    best: Clock | None = None
    for _ in range(2000):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        real = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        one = Clock(real - (before + after) // 2, (after - before + 1) // 2)
        if best is None or one.error_ns < best.error_ns:
            best = one
    assert best
    return best


class QmpWitness:
    """Listens on a QMP socket from a thread: each event's name and QEMU's own wall-clock time in nanoseconds."""

    def __init__(self, path: str) -> None:
        self.events: list[tuple[str, int]] = []
        self._path = path
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._listen(),), daemon=True)

    def __enter__(self) -> QmpWitness:
        self._thread.start()
        assert self._ready.wait(10), "the QMP socket did not answer"
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def times(self, name: str) -> list[int]:
        """When the events of that name came, CLOCK_REALTIME nanoseconds, as QEMU stamped them (whole microseconds)."""
        return [when for event, when in self.events if event == name]

    async def _listen(self) -> None:
        from colotrace.qmp.monitor import MonitorClient

        client = MonitorClient("witness")

        def note(event: Any) -> bool:
            stamp = event["timestamp"]
            self.events.append((event["event"], stamp["seconds"] * 1_000_000_000 + stamp["microseconds"] * 1000))
            return False

        client.events.event_filter = note
        await client.connect(self._path)
        self._ready.set()
        await self._stop.wait()
        await client.disconnect()


def checkpoints_done(pid_qmp: Any) -> int:
    """RESUME events that the lab's own monitor of a VM has counted."""
    return int(pid_qmp.monitor.count("RESUME"))


@contextlib.contextmanager
def traced(process: Process) -> Iterator[int]:
    """A process under a debugger, whose pid it yields; that has gone at the end."""
    seize = f"ctypes.CDLL(None).ptrace({PTRACE_SEIZE}, {process.pid}, 0, 0)"
    code = f"import ctypes, time; assert {seize} == 0; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code]) as debugger:
        try:
            wait_for("the debugger", lambda: process.status()["TracerPid"] != "0" or None)
            yield debugger.pid
        finally:
            debugger.kill()


def in_transaction(pid: int) -> bool:
    """Whether a thread of the process sleeps on a socket: the COLO thread, waiting for its peer."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            number = (thread / "syscall").read_text().split()[0]
        except (OSError, IndexError):
            continue
        if number in ON_A_SOCKET:
            return True
    return False


def kill_hard(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and wait for the end."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
