"""COMMAND: run in the lab's own process group and terminal, with the pair in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from .confine import die_with_parent
from .errors import CommandError, NotArmedError
from .pair import ColoPair
from .signals import Signals

POLL_S = 0.05
ARMED_FILE = "armed"
NET_FILE = "net.json"
INTERRUPT_GRACE_S = 10.0
"""How long COMMAND may take to end after Ctrl-C or a forwarded signal before it is told SIGTERM, and then SIGKILL."""


def environment(pair: ColoPair) -> dict[str, str]:
    """The COLO_* variables that COMMAND gets (see scripts/lab --help)."""
    settings = pair.settings
    return {
        "COLO_PRIMARY_PID": str(pair.primary.pid),
        "COLO_SECONDARY_PID": str(pair.secondary.pid),
        "COLO_PRIMARY_QMP": str(pair.primary.qmp_path),
        "COLO_SECONDARY_QMP": str(pair.secondary.qmp_path),
        "COLO_DIRTY_MIB": str(settings.dirty_mib),
        "COLO_VCPUS": str(settings.vcpus),
        "COLO_DELAY_MS": str(settings.delay_ms),
        "COLO_TRANSPORT": settings.transport,
        "COLO_SWEEP_MS": f"{pair.sweep_ms:.1f}",
        "COLO_LAB_DIR": str(pair.run.path),
        "COLO_ARMED_FILE": str(pair.run / ARMED_FILE),
        **({"COLO_NET_FILE": str(pair.run / NET_FILE)} if pair.network else {}),
    }


class Command:
    """A started COMMAND. Raises CommandError if it cannot be started."""

    def __init__(self, words: Sequence[str], pair: ColoPair, signals: Signals, say: Callable[[str], None]) -> None:
        self._pair = pair
        self._signals = signals
        self._say = say
        self._told: set[str] = set()
        try:
            self._process = subprocess.Popen(
                list(words),
                env={**os.environ, **environment(pair)},
                preexec_fn=die_with_parent(signal.SIGTERM),  # without a lab there is no pair
            )
        except (FileNotFoundError, PermissionError, OSError, subprocess.SubprocessError) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise CommandError(
                f"cannot run {words[0]}: {what}", found=not isinstance(error, FileNotFoundError)
            ) from error

    def wait_armed(self, timeout_s: float) -> None:
        """Returns once COLO_ARMED_FILE exists; NotArmedError if COMMAND ends first or does not in `timeout_s`.

        Raises Stopped if a signal comes.
        """
        armed = self._pair.run / ARMED_FILE
        until = time.monotonic() + timeout_s
        while not armed.exists():
            self._signals.check()
            code = self._process.poll()
            if code is not None:
                error = NotArmedError(
                    f"COMMAND ended with exit code {_shell_code(code)} before it created COLO_ARMED_FILE",
                    "with --wait-armed COMMAND has to create that file once it is ready for COLO to begin",
                )
                error.exit_code = _shell_code(code) or error.exit_code
                raise error
            self._watch_pair()
            if time.monotonic() > until:
                raise NotArmedError(
                    f"COMMAND did not create COLO_ARMED_FILE within {timeout_s:g} s",
                    "with --wait-armed COMMAND has to create that file once it is ready for COLO to begin",
                )
            time.sleep(POLL_S)

    def wait(self) -> int:
        """COMMAND's exit code, 128+N if signal N ended it. A VM that dies meanwhile is told of, no more.

        A signal for the lab is passed on, unless the terminal gave it to COMMAND as well; then COMMAND has
        INTERRUPT_GRACE_S to end. A second signal shortens that.
        """
        seen = 0
        patience_ends: float | None = None
        escalation = [signal.SIGTERM, signal.SIGKILL]
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return _shell_code(self._process.wait(POLL_S))
            self._watch_pair()
            for number in self._signals.received[seen:]:
                if patience_ends is None:
                    if not (number == signal.SIGINT and _in_foreground()):
                        self._process.send_signal(number)
                    patience_ends = time.monotonic() + INTERRUPT_GRACE_S
                else:
                    patience_ends = time.monotonic()
                seen += 1
            if patience_ends is not None and time.monotonic() >= patience_ends and escalation:
                number = escalation.pop(0)
                self._say(f"COMMAND does not end: sending it {number.name}")
                self._process.send_signal(number)
                patience_ends = time.monotonic() + INTERRUPT_GRACE_S / 2

    def stop(self) -> None:
        """Ends COMMAND: SIGTERM, and SIGKILL if it takes longer than INTERRUPT_GRACE_S."""
        self._process.terminate()
        try:
            self._process.wait(INTERRUPT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _watch_pair(self) -> None:
        for line in self._pair.trouble():
            if line not in self._told:
                self._told.add(line)
                self._say(f"while COMMAND ran: {line}")


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _in_foreground() -> bool:
    """Whether Ctrl-C goes to this process group, and with it to COMMAND: not so without a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
