"""Ending a run: at a deadline, at SIGINT, SIGTERM or SIGHUP. The run then sums up what it has seen."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from colotrace.session import Session

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopper:
    """From entering to leaving, signals only ask for the end; a second one of a kind ends the process at once.

    Enter it before attaching, so that a signal while probes are armed is no accident; then `watch` the session. Signals
    that the caller has had ignored (nohup) stay ignored.
    """

    def __init__(self, duration: float | None) -> None:
        self._duration = duration
        self._session: Session | None = None
        self._timer: threading.Timer | None = None
        self._before: dict[signal.Signals, Any] = {}
        self.interrupted = False
        """Whether a signal came."""

    def __enter__(self) -> Stopper:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._timer:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, session: Session) -> None:
        """Ends this session when the time is up or a signal comes, or at once if one has come already."""
        self._session = session
        if self.interrupted:
            session.stop()
        if self._duration:
            self._timer = threading.Timer(self._duration, session.stop)
            self._timer.daemon = True
            self._timer.start()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self.interrupted = True
        if self._session:
            self._session.stop()
