"""SIGINT, SIGTERM and SIGHUP: noted by the handler, acted on where the lab waits.

A handler that raises would break off anything anywhere, a lock held or a cleaning up half done; so it never does.
"""

from __future__ import annotations

import signal
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal came. Not an Exception: no handler on the way may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """Installs the handlers. The signals' numbers gather in `received`, oldest first."""

    def __init__(self) -> None:
        self.received: list[int] = []
        for number in HANDLED:
            # Ignored from the start (nohup, a shell's background job): it stays so, here and in COMMAND.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.received:
            raise Stopped(self.received[0])

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
