"""`colotrace attach` as a process to be measured: on a terminal of its own or into nothing, its CPU time and memory."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from colotrace.target.process import Process

ARMING_S = 60.0


def load() -> str:
    """How busy this machine is by itself: benchmarks say so."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} CPUs, load {one:.2f} (1 min) {five:.2f} (5 min), Linux {os.uname().release}"


class Tracer:
    """A running `colotrace attach` whose probes are armed. Use as a context manager; it ends with it."""

    def __init__(self, arguments: list[str], *, terminal: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        armed = Path(self._folder.name) / "armed"
        command = [sys.executable, "-m", "colotrace", "attach", *arguments, "--armed-file", str(armed)]
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
        self._master = -1
        if terminal:
            self._master, slave = pty.openpty()
            self._process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
            os.close(slave)
            threading.Thread(target=self._read_terminal, daemon=True).start()
        else:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        self.pid = self._process.pid
        until = time.monotonic() + ARMING_S
        while not armed.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                self._process.kill()
                raise RuntimeError(f"not armed: {' '.join(command)}")
            time.sleep(0.01)

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def cpu_ns(self) -> int:
        """The CPU time of all its threads so far, as the scheduler has it."""
        return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{self.pid}/task").glob("*/schedstat"))

    def memory_kib(self) -> int:
        """Its resident memory now."""
        return int(Process(self.pid).status()["VmRSS"].split()[0])

    def cpu_share(self, seconds: float) -> float:
        """Which part of one CPU it uses, over so many seconds from now."""
        began, before = time.monotonic_ns(), self.cpu_ns()
        time.sleep(seconds)
        return (self.cpu_ns() - before) / (time.monotonic_ns() - began)

    def close(self) -> int:
        """Ends it as Ctrl-C does; its exit code. Safe to call twice."""
        if self._process.poll() is None:
            self._process.terminate()
        code = self._process.wait(60)
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        self._folder.cleanup()
        return code

    def _read_terminal(self) -> None:
        """A terminal that nobody reads would stop who writes to it."""
        try:
            while os.read(self._master, 1 << 16):
                pass
        except OSError:
            pass
