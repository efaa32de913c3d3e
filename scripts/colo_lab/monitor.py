"""The lab's own QMP connection to one QEMU: qemu.qmp's event loop in a thread, behind blocking calls.

The loop always runs, so events are taken off the socket when they come, whatever the main thread does.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.message import Message
from qemu.qmp.qmp_client import ExecuteError

# A VM that goes away is reported by the lab in its own words; qemu.qmp would print it as an error as well.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
logging.getLogger("qemu.qmp").propagate = False

COMMAND_TIMEOUT_S = 20.0
CHECK_S = 0.1
T = TypeVar("T")


class MonitorError(Exception):
    """The connection failed or the time was up."""


class Refused(MonitorError):
    """QEMU answered with an error; `str()` is its description, verbatim."""


class LoopThread:
    """One asyncio loop in a daemon thread, shared by the monitors of a pair. `check` may raise to break off a wait."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab-qmp", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Runs a coroutine on the loop and waits for it; MonitorError (cause: what happened) if it fails."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop)
        try:
            while not concurrent.futures.wait([future], CHECK_S).done:
                self._check()
            return future.result()
        except ExecuteError as error:
            raise Refused(str(error)) from error
        except TimeoutError as error:
            raise MonitorError(f"no answer within {timeout_s:g} s") from error
        except (QMPError, OSError, EOFError, concurrent.futures.CancelledError) as error:
            raise MonitorError(str(error) or type(error).__name__) from error
        except BaseException:
            future.cancel()  # broken off
            raise

    def close(self) -> None:
        """Stops the thread; connections must have been closed."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()


class Monitor:
    """One connection. Not connected until `connect`; a failed `connect` may be repeated."""

    def __init__(self, loop: LoopThread, name: str) -> None:
        self._loop = loop
        self._name = name
        self._client: QMPClient | None = None
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._last: dict[str, dict[str, Any]] = {}
        self._times: dict[str, int] = {}

    def connect(self, path: str, timeout_s: float) -> None:
        """One attempt; MonitorError if nobody listens there (yet)."""
        client = QMPClient(self._name)
        # A filter that turns every event down, for qemu.qmp would queue them without limit.
        client.events.event_filter = self._note
        self._loop.run(client.connect(path), timeout_s)
        self._client = client

    def execute(self, command: str, arguments: dict[str, object] | None = None) -> Any:
        """QEMU's answer, the QMP "return" member. Raises Refused (QEMU said no) or MonitorError."""
        if self._client is None:
            raise MonitorError("not connected")
        return self._loop.run(self._client.execute(command, arguments), COMMAND_TIMEOUT_S)

    def human(self, line: str) -> str:
        """The text an HMP command prints."""
        return str(self.execute("human-monitor-command", {"command-line": line}))

    def count(self, event: str) -> int:
        """How many events of that name came since the connection was made."""
        with self._lock:
            return self._counts[event]

    def last(self, event: str) -> dict[str, Any] | None:
        """The data of the last event of that name; None if there was none."""
        with self._lock:
            return self._last.get(event)

    def last_time(self, event: str) -> int | None:
        """When QEMU says it emitted the last event of that name: CLOCK_REALTIME nanoseconds, whole microseconds."""
        with self._lock:
            return self._times.get(event)

    def forget(self, event: str) -> None:
        """Forgets the last event of that name; the count stays."""
        with self._lock:
            self._last.pop(event, None)

    def close(self) -> None:
        """Disconnects. An error that the connection ended with is of no interest any more."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(MonitorError):
                self._loop.run(client.disconnect(), 5)

    def _note(self, event: Message) -> bool:
        name, data = str(event["event"]), event.get("data")
        stamp: Any = event["timestamp"]
        with self._lock:
            self._counts[name] += 1
            self._times[name] = stamp["seconds"] * 1_000_000_000 + stamp["microseconds"] * 1000
            self._last[name] = dict(data) if isinstance(data, dict) else {}
        return False
