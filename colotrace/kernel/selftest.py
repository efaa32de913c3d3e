"""Arms probes on a child of our own, just as attaching does, and holds the hits against the calls: to the last one.

The child's code is the stub of cost.py: there is no compiler on a production host. Two of its threads make calls,
because the pid filter of Linux before 6.10 misses all threads but the main one, and COLO never runs there. This process
calls the same code as well: those hits belong to another process and must not be counted.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from colotrace.errors import EnvironmentFault
from colotrace.kernel.cost import Stub, armed

MAIN_CALLS, THREAD_CALLS, FOREIGN_CALLS = 1000, 700, 300
"""Different numbers, so that what is missing or too much tells whose it is."""
_SECONDS = 30.0
_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SelfTest:
    """What came of it: hits that the kernel counted after each step."""

    idle: int
    """Before any call, and while another process made its own: must be 0."""
    main: int
    """Of the child's main thread: must be MAIN_CALLS."""
    thread: int
    """Of its second thread: must be THREAD_CALLS."""

    @property
    def is_exact(self) -> bool:
        """Whether every hit was counted, and no other."""
        return (self.idle, self.main, self.thread) == (0, MAIN_CALLS, THREAD_CALLS)


def run_self_test() -> SelfTest:
    """Half a second. Raises EnvironmentFault or PermissionsError as arming does, and leaves nothing behind."""
    with contextlib.closing(Stub(emulated=True)) as stub, _child(stub.fd) as child, armed(stub, child.pid) as program:
        for _ in range(FOREIGN_CALLS):
            stub.begin()
        idle = program.target(0).hits
        _tell(child, "main")
        main = program.target(0).hits
        _tell(child, "thread")
        return SelfTest(idle, main - idle, program.target(0).hits - main)


def serve(fd: int) -> None:
    """The child: makes calls when it is told to, and says so; ends with its standard input."""
    stub = Stub(emulated=True, fd=fd)

    def call(times: int) -> None:
        for _ in range(times):
            stub.begin()

    print("ready", flush=True)
    for word in sys.stdin:
        if word.strip() == "main":
            call(MAIN_CALLS)
        else:
            thread = threading.Thread(target=call, args=(THREAD_CALLS,))
            thread.start()
            thread.join()
        print("done", flush=True)


@contextlib.contextmanager
def _child(fd: int) -> Iterator[subprocess.Popen[str]]:
    # -I, and a path of our own: root must not import what lies about in the directory that it was started in
    code = f"import sys; sys.path.insert(0, {str(_PACKAGE)!r}); from {__name__} import serve; serve({fd})"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code], pass_fds=[fd], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        timer = threading.Timer(_SECONDS, child.kill)
        timer.start()
        try:
            _expect(child, "ready")
            yield child
        finally:
            timer.cancel()
            child.kill()


def _tell(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdin
    with contextlib.suppress(BrokenPipeError):  # what is missing then is said below
        child.stdin.write(f"{word}\n")
        child.stdin.flush()
    _expect(child, "done")


def _expect(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout
    if child.stdout.readline().strip() != word:
        raise EnvironmentFault(
            f"the child of the self-test has not said {word!r}",
            f"Is {os.path.basename(sys.executable)} kept from running or from mapping memory files?",
        )
