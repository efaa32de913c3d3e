"""Processes that COMMAND leaves running, e.g. a tracer in the background: without the pair they have no purpose."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from .confine import call

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
GRACE_S = 1.0
"""How long an orphan has to notice by itself that the pair is gone; then SIGTERM, and as long again later SIGKILL."""
POLL_S = 0.01


def adopt() -> None:
    """From now on a descendant whose parent has ended becomes this process's child (it stays a zombie until `end`)."""
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end() -> None:
    """Ends every child that is left. Only for when all children that somebody else waits for have been waited for."""
    escalation = [signal.SIGTERM, signal.SIGKILL]
    until = time.monotonic() + GRACE_S
    while _reap():
        if time.monotonic() > until:
            number = escalation.pop(0) if len(escalation) > 1 else escalation[0]
            for pid in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            until = time.monotonic() + GRACE_S
        time.sleep(POLL_S)


def _reap() -> bool:
    """Takes the status of every child that has ended; whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
