"""One run of one cell: a pair, a tracer on both of its VMs that is armed before COLO begins, a recording."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from colo_lab import orphans
from colo_lab.command import Command
from colo_lab.errors import LabError, MachineError, NoColoError
from colo_lab.pair import ColoPair
from colo_lab.signals import Signals

from colotrace.errors import EnvironmentFault, PermissionsError

from .journal import DONE, FAILED, Journal, Run
from .plan import Cell, Conditions, Task

READY_TIMEOUT_S = 120.0
ENDS_THE_MATRIX = (MachineError, NoColoError)
"""What would befall every cell."""
ATTACH_CANNOT = (PermissionsError.exit_code, EnvironmentFault.exit_code)
PATIENCE = 6
"""A run may take so many times the checkpoints' delays, and READY_TIMEOUT_S, before the tracer gives up."""
MEMORY_NEEDED = 3.0
"""Times the guest's memory: two VMs and the secondary's RAM cache."""


def run_task(task: Task, journal: Journal, signals: Signals, say: Callable[[str], None]) -> Run:
    """Measures and returns how it ended, noted in the journal. Raises Stopped, and what ends the whole matrix."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    began, before = time.monotonic(), os.getloadavg()
    target = journal.path(task)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"unfinished-{target.name}")
    errors = target.with_suffix(".err")
    notes: list[str] = []
    sweep_ms: float | None = None
    reason = memory_short(task.cell)
    if reason is None:
        try:
            sweep_ms = _record(task.cell, journal.conditions, unfinished, errors, signals, notes, say)
        except ENDS_THE_MATRIX:
            raise
        except LabError as error:
            reason = " / ".join(str(error).splitlines())
    if reason is None:
        os.replace(unfinished, target)
        errors.unlink(missing_ok=True)
    else:
        unfinished.unlink(missing_ok=True)
    run = Run(
        task, FAILED if reason else DONE, reason, started, round(time.monotonic() - began, 1), sweep_ms,
        before, os.getloadavg(), tuple(notes),
    )  # fmt: skip
    journal.add(run)
    return run


def memory_short(cell: Cell) -> str | None:
    """Why the machine's memory does not do for a cell; None if it does."""
    needed = round(cell.memory_mib * MEMORY_NEEDED)
    available = available_mib()
    if needed <= available:
        return None
    return f"needs up to {needed} MiB (two VMs and the secondary's RAM cache), {available} MiB are available"


def available_mib() -> int:
    """MemAvailable of /proc/meminfo."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) >> 10


def _record(
    cell: Cell, conditions: Conditions, output: Path, errors: Path, signals: Signals, notes: list[str],
    say: Callable[[str], None],
) -> float:  # fmt: skip
    """Brings a pair up and lets attach write the recording; the guest's sweep in milliseconds. Raises LabError."""

    def hear(line: str) -> None:
        say(line)
        if line.startswith(("warning:", "while COMMAND ran:")):
            notes.append(line)

    pair = ColoPair(conditions.settings(cell, READY_TIMEOUT_S), say=hear, check=signals.check)
    command: Command | None = None
    try:
        pair.start()
        count = conditions.warm_up + conditions.checkpoints
        seconds = READY_TIMEOUT_S + PATIENCE * count * conditions.delay_ms / 1000
        words = [
            "sh", "-c", 'errors=$1; shift; exec "$@" --pid "$COLO_PRIMARY_PID" "$COLO_SECONDARY_PID" '
            '--armed-file "$COLO_ARMED_FILE" >/dev/null 2>"$errors"', "sh", str(errors),
            sys.executable, "-m", "colotrace", "attach", "--checkpoints", str(count), "--duration", str(seconds),
            "--output", str(output),
        ]  # fmt: skip
        command = Command(words, pair, signals, hear)
        command.wait_armed(READY_TIMEOUT_S)
        pair.start_colo()
        code = command.wait()
        signals.check()
        if code != 0:
            raise LabError(f"colotrace attach ended with {code}: {_last_words(errors)}")
        return pair.sweep_ms
    except LabError as error:
        if command is not None:
            command.stop()
        if error.exit_code in ATTACH_CANNOT:
            raise MachineError(
                f"colotrace cannot attach here: {_last_words(errors)}", "see colotrace doctor"
            ) from error
        if command is not None and error.exit_code != LabError.exit_code and _last_words(errors):
            raise LabError(f"{error} / attach: {_last_words(errors)}") from error
        raise
    except BaseException:
        if command is not None:
            command.stop()
        raise
    finally:
        pair.close()
        orphans.end()


def _last_words(errors: Path) -> str:
    try:
        lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return " / ".join(line for line in lines if "error" in line or "remedy" in line.lower()) or " / ".join(lines[-2:])
