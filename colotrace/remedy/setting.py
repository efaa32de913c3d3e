"""The settings that remedies change, one class a kind: read, write, and words to find it again by (JSON)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from colotrace.errors import QmpError, TargetError
from colotrace.remedy.stream import Stream, look_up
from colotrace.target.sockets import duplicate

_IDENTITY = ("setting", "pid", "inode", "cookie")
"""What of as_json() makes two of them one and the same setting; the rest is how it was found."""


class GoneError(TargetError):
    """The connection that was changed is gone, and its options with it."""


class Setting(Protocol):
    """One number in a running QEMU or its kernel."""

    @property
    def pid(self) -> int:
        """Whose it is."""

    def read(self) -> int:
        """What it is now. Raises ColotraceError."""

    def write(self, value: int) -> None:
        """Sets it. Raises ColotraceError."""

    def as_json(self) -> dict[str, Any]:
        """What finds it again."""


@dataclass(frozen=True)
class NoDelay:
    """TCP_NODELAY of a migration stream's end: 0 or 1."""

    stream: Stream

    @property
    def pid(self) -> int:
        """Whose it is."""
        return self.stream.pid

    def __str__(self) -> str:
        return f"TCP_NODELAY of {self.stream}"

    def read(self) -> int:
        """0 or 1."""
        with self._copy() as copy:
            return int(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)

    def write(self, value: int) -> None:
        """Sets it for QEMU too: the option belongs to the socket, not to the descriptor."""
        with self._copy() as copy:
            try:
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, value)
            except OSError as error:
                raise TargetError(f"cannot set {self}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _copy(self) -> Iterator[socket.socket]:
        """A duplicate for a moment, of this very socket and no other. Raises TargetError if it is gone."""
        found = look_up(self.pid, self.stream.inode, self.stream.evidence)
        if found.cookie != self.stream.cookie:
            raise TargetError(f"{self.stream} is gone: process {self.pid} has another connection now")
        with duplicate(self.pid, found.fd) as copy:
            if cookie_of(copy) != self.stream.cookie:
                raise TargetError(f"{self.stream} has just been closed")
            yield copy

    def as_json(self) -> dict[str, Any]:
        """What finds it again."""
        stream = self.stream
        return {
            "setting": "TCP_NODELAY", "pid": self.pid, "inode": stream.inode, "cookie": stream.cookie,
            "local": str(stream.local), "peer": str(stream.peer), "evidence": stream.evidence,
        }  # fmt: skip


def cookie_of(copy: socket.socket) -> int:
    """The kernel's number for a socket (SO_COOKIE), never used again."""
    return int.from_bytes(copy.getsockopt(socket.SOL_SOCKET, 57, 8), "little")


@dataclass(frozen=True)
class MigrationParameter:
    """A migration parameter of QEMU's by its QMP name: max-bandwidth (bytes/s), x-checkpoint-delay (ms)."""

    pid: int
    socket: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} of process {self.pid}"

    def read(self) -> int:
        """As query-migrate-parameters has it. Raises QmpError."""
        from colotrace.qmp.client import QmpConnection

        with QmpConnection(self.socket, self.pid) as connection:
            answer = connection.execute("query-migrate-parameters")
        value = answer.get(self.name) if isinstance(answer, dict) else None
        if not isinstance(value, int):
            raise QmpError(f"query-migrate-parameters on {self.socket} has no {self.name}")
        return value

    def write(self, value: int) -> None:
        """By migrate-set-parameters, which names this parameter alone. Raises QmpError."""
        from colotrace.qmp.client import QmpConnection

        with QmpConnection(self.socket, self.pid) as connection:
            connection.execute("migrate-set-parameters", **{self.name: value})

    def as_json(self) -> dict[str, Any]:
        """What finds it again."""
        return {"setting": self.name, "pid": self.pid, "qmp": os.path.abspath(self.socket)}


def must_be_primary(name: str, pid: int, qmp: str) -> None:
    """Raises TargetError unless QEMU says that it is the primary, whose parameters are the ones that COLO goes by."""
    from colotrace.qmp.client import query_colo_status

    mode = query_colo_status(qmp, pid).get("mode")
    if mode == "secondary":
        raise TargetError(
            f"process {pid} is the secondary, and {name} is the primary's to set; nothing was changed",
            "Give the primary's --pid, and its QMP socket.",
        )
    if mode != "primary":
        raise TargetError(
            f"process {pid} is not in COLO: query-colo-status says {mode}; nothing was changed",
            "Begin COLO first; the gain is measured on checkpoints.",
        )


def is_same(record: dict[str, Any], setting: Setting) -> bool:
    """Whether as_json() of a setting describes this one, however it was found then."""
    described = setting.as_json()
    return all(record.get(name) == described.get(name) for name in _IDENTITY)


def from_json(record: dict[str, Any]) -> Setting:
    """The setting that as_json() has described. Raises GoneError if its connection is gone."""
    if record["setting"] != "TCP_NODELAY":
        return MigrationParameter(record["pid"], record["qmp"], record["setting"])
    try:
        stream = look_up(record["pid"], record["inode"], record["evidence"])
    except TargetError as error:
        raise _gone(record) from error
    if stream.cookie != record["cookie"]:
        raise _gone(record)
    return NoDelay(stream)


def _gone(record: dict[str, Any]) -> GoneError:
    return GoneError(
        f"the connection that was changed is gone: {record['local']} to {record['peer']}, socket {record['inode']} of "
        f"process {record['pid']}",
        "Its options went with it: there is nothing left to revert.",
    )
