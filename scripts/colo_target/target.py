"""Builds the running program with COLO's skeleton, and runs it: one role a process.

The COLO threads are those of tests/unit/program, which the resolver is tested with; running.c beside this file is what
they call. What it does not define itself does nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SKELETON = HERE.parents[1] / "tests" / "unit" / "program"
_CACHE = os.environ.get("COLOTRACE_CACHE") or os.path.expanduser("~/.cache/colotrace")
_THREADS = "-O2 -std=gnu11 -w -ffreestanding -fPIE -DSHAPE=72"
_CALLED = "-O1 -std=gnu11 -w -fPIE -fno-lto -DSHAPE=72"
_LINK = "-pie -rdynamic -pthread -Wl,--build-id -s"


@cache
def build() -> Path:
    """The program, stripped; from the cache if it was built before."""
    sources = [*(SKELETON / name for name in ("ribs.h", "ribs.c", "thread.c", "counters.c", "text.c"))]
    data = b"".join(path.read_bytes() for path in [*sources, HERE / "running.c", Path(__file__)])
    program = Path(_CACHE) / "compiled" / f"target-{hashlib.sha256(data).hexdigest()[:16]}" / "colo_target"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as work:
            _compile(Path(work))
            os.rename(Path(work) / program.name, program)
    return program


def _compile(work: Path) -> None:
    for name in ("thread.c", "counters.c", "text.c"):
        _run("gcc", *_THREADS.split(), "-c", "-o", f"{work}/{name}.o", f"{SKELETON}/{name}")
    _run("gcc", *_CALLED.split(), "-c", "-o", f"{work}/ribs.o", f"{SKELETON}/ribs.c")
    _run("objcopy", "--weaken", f"{work}/ribs.o")  # running.c's take their place
    _run("gcc", *_CALLED.split(), f"-I{SKELETON}", "-c", "-o", f"{work}/running.o", f"{HERE}/running.c")
    _run("gcc", *_LINK.split(), "-o", f"{work}/colo_target", *map(str, sorted(work.glob("*.o"))))


def _run(*command: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{run.stderr}")


class ColoTarget:
    """A running target: `rate` checkpoints per second once go() was called, 0 for as many as there can be.

    Use as a context manager; it ends with it.
    """

    def __init__(self, role: str, rate: float) -> None:
        command = [str(build()), role, f"{rate:g}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.role = role

    def __enter__(self) -> ColoTarget:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def go(self) -> None:
        """Begins COLO."""
        self._ask("go")

    def stop(self) -> dict[str, Any]:
        """Ends COLO behind the checkpoint under way; its counts, which are final."""
        return self._ask("stop")

    def counts(self) -> dict[str, Any]:
        """Its own accounts so far: counts and sizes; of times (least, most), between which the true sum lies."""
        return self._ask("counts")

    def close(self) -> None:
        """Ends the process; safe to call twice."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, word: str) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(f"{word}\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer
