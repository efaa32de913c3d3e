"""Questions to a QMP socket, each with a time limit: qemu.qmp behind blocking calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from colotrace.errors import QmpError, QmpRefusal
from colotrace.qmp.peer import connect

TIMEOUT_S = 5.0


class QmpConnection:
    """A connection to one QEMU's monitor; a QMP socket takes one client at a time. Use as a context manager.

    With `pid`, only if that process is the one behind the socket. Raises QmpError if nothing answers within
    `timeout_s`, what answers does not speak QMP, or it is another process.
    """

    def __init__(self, path: str, pid: int | None = None, timeout_s: float = TIMEOUT_S) -> None:
        from colotrace.qmp.monitor import MonitorClient

        logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # its warnings repeat what the exception says
        self.path = path
        self._timeout_s = timeout_s
        self._client = MonitorClient("colotrace")
        self._client.events.event_filter = lambda _event: False  # nobody listens: they would pile up
        self._runner = asyncio.Runner()
        try:
            self._run(self._client.connect(connect(path, pid, timeout_s)), "with a QMP greeting")
        except BaseException:
            self.close()
            raise

    def execute(self, command: str, **arguments: object) -> Any:
        """What QEMU returns. Raises QmpRefusal if it answers with an error, QmpError if it does not answer."""
        return self._run(self._client.execute(command, arguments or None), command)

    def close(self) -> None:
        """Disconnects; safe to call twice."""
        from colotrace.qmp.monitor import FAULTS

        # How a connection ends is of no interest any more.
        with contextlib.suppress(*FAULTS, TimeoutError, RuntimeError):
            self._runner.run(asyncio.wait_for(self._client.disconnect(), 1))
        self._runner.close()

    def __enter__(self) -> QmpConnection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _run(self, work: Any, what: str) -> Any:
        from qemu.qmp import ExecuteError

        from colotrace.qmp.monitor import FAULTS

        try:
            return self._runner.run(asyncio.wait_for(work, self._timeout_s))
        except TimeoutError as error:
            raise QmpError(
                f"{self.path} did not answer {what} within {self._timeout_s:g} s",
                "A QMP socket takes one client: is it in use?",
            ) from error
        except ExecuteError as error:
            raise QmpRefusal(f"{what} failed on {self.path}: {error}", error.error_class) from error
        except FAULTS as error:
            raise QmpError(
                f"cannot talk QMP on {self.path}: {str(error) or type(error).__name__}",
                "Name the socket given to -qmp unix:PATH,server.",
            ) from error


def query_migrate(path: str, pid: int | None = None, timeout_s: float = TIMEOUT_S) -> dict[str, object]:
    """query-migrate's answer (MigrationInfo, qapi/migration.json), which the seed's object carries as `info`.

    Raises QmpError as QmpConnection does.
    """
    return _query("query-migrate", path, pid, timeout_s)


def query_vm(
    path: str, pid: int | None = None, timeout_s: float = TIMEOUT_S
) -> tuple[str | None, int | None, int | None]:
    """The VM's UUID, x-checkpoint-delay in milliseconds and max-bandwidth in bytes/s (query-uuid,
    query-migrate-parameters); None for one that QEMU does not tell. Raises QmpError as QmpConnection does."""
    with QmpConnection(path, pid, timeout_s) as connection:
        uuid = connection.execute("query-uuid")
        parameters = connection.execute("query-migrate-parameters")
    uuid = uuid.get("UUID") if isinstance(uuid, dict) else None
    known = parameters if isinstance(parameters, dict) else {}
    delay, bandwidth = (
        value if isinstance(value, int) and not isinstance(value, bool) else None
        for value in (known.get("x-checkpoint-delay"), known.get("max-bandwidth"))
    )
    return uuid if isinstance(uuid, str) and uuid.strip("0-") else None, delay, bandwidth


def query_colo_status(path: str, pid: int | None = None, timeout_s: float = TIMEOUT_S) -> dict[str, object]:
    """query-colo-status's answer (COLOStatus, qapi/migration.json). Raises QmpError as QmpConnection does."""
    return _query("query-colo-status", path, pid, timeout_s)


def _query(command: str, path: str, pid: int | None, timeout_s: float) -> dict[str, object]:
    with QmpConnection(path, pid, timeout_s) as connection:
        answer = connection.execute(command)
    if not isinstance(answer, dict):
        raise QmpError(f"{path} answered {command} with something that is no object")
    return answer
