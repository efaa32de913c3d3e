"""SIGINT, SIGTERM and SIGHUP: the first may break off the bring-up; none may break off the cleaning up."""

from __future__ import annotations

import signal
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Raised in the main thread by a signal. Not an Exception: no handler on the way may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """Installs the handlers. While `raising`, the first signal raises Stopped; all are noted in `received`."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.raising = True
        for number in HANDLED:
            # Ignored from the start (nohup, a shell's background job): it stays so, here and in COMMAND.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if self.raising:
            self.raising = False
            raise Stopped(number)
