"""Which of a QEMU's sockets is the migration stream: the one that its COLO thread sleeps on while it receives.

QMP, VNC, chardevs and colo-compare have TCP sockets too, so addresses prove nothing. But the COLO thread, whose tid
comes with each checkpoint, waits for its peer's messages in a blocking receive on the stream and on nothing else, and
/proc/PID/task/TID/syscall has the call's number and its first argument, the descriptor. Sending is no proof: the thread
that emits an event may itself write to a QMP socket. Sockets of the block layer that it may serve are non-blocking.
"""

from __future__ import annotations

import fcntl
import os
import platform
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from colotrace.errors import GET_PRIVILEGES, PermissionsError, TargetError
from colotrace.target.sockets import Endpoint, TcpSocket, connections, duplicate, socket_descriptors

SIGHTINGS = 3
"""How often the thread must have been seen sleeping on the same socket."""
_RECEIVES = {
    "x86_64": {0, 19, 45, 47},  # read, readv, recvfrom, recvmsg
    "aarch64": {63, 65, 207, 212},
}
_SO_COOKIE, _MPTCP = 57, 262


@dataclass(frozen=True)
class Stream:
    """A migration stream's end in one process. `cookie` is the kernel's number for the socket, never used again."""

    pid: int
    fd: int
    inode: int
    cookie: int
    local: Endpoint
    peer: Endpoint
    evidence: str

    def __str__(self) -> str:
        return f"socket {self.inode} of process {self.pid} (descriptor {self.fd}, {self.local} to {self.peer})"


def parse_receive(text: str, machine: str) -> int | None:
    """The descriptor that a thread sleeps on in a receive, from /proc/PID/task/TID/syscall; None for anything else."""
    fields = text.split()
    try:
        number, fd = int(fields[0]), int(fields[1], 16)
    except (IndexError, ValueError):  # "running"
        return None
    return fd if number in _RECEIVES.get(machine, ()) else None


class Watch:
    """Looks at one process's COLO thread until it has been seen often enough."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._seen: Counter[tuple[int, str]] = Counter()

    def look(self, tid: int) -> None:
        """One look; raises PermissionsError or TargetError. Looking does not stop the thread."""
        try:
            fd = parse_receive(Path(f"/proc/{self.pid}/task/{tid}/syscall").read_text("ascii"), platform.machine())
            if fd is not None:
                self._seen[fd, os.readlink(f"/proc/{self.pid}/fd/{fd}")] += 1
        except PermissionError as error:
            raise PermissionsError(
                f"may not look at what the COLO thread of process {self.pid} waits for: CAP_SYS_PTRACE is missing",
                GET_PRIVILEGES,
            ) from error
        except OSError as error:
            raise TargetError(f"the COLO thread of process {self.pid} has ended") from error

    @property
    def done(self) -> bool:
        """Whether it was seen often enough."""
        return self._seen.total() >= SIGHTINGS

    def stream(self) -> Stream:
        """The stream. Raises TargetError with the candidates if it was not seen, or more than one, or is no TCP."""
        if len(self._seen) != 1 or not self.done:
            what = "on several descriptors" if len(self._seen) > 1 else "too seldom"
            raise TargetError(
                f"the COLO thread of process {self.pid} was seen waiting for its peer {what}: which socket is the "
                "migration stream is not proven",
                candidates(self.pid),
            )
        ((fd, link),) = self._seen
        if not link.startswith("socket:["):
            raise TargetError(f"the migration stream of process {self.pid} is no socket: descriptor {fd} is {link}")
        inode = int(link.removeprefix("socket:[").removesuffix("]"))
        count = self._seen.total()
        return look_up(self.pid, inode, f"its COLO thread slept {count} times of {count} in a receive on it")


def look_up(pid: int, inode: int, evidence: str) -> Stream:
    """The established TCP connection with this inode. Raises TargetError if it is gone, not TCP, or not connected."""
    fd = socket_descriptors(pid).get(inode)
    if fd is None:
        raise TargetError(f"process {pid} has no socket {inode} (any more)", candidates(pid))
    with duplicate(pid, fd) as copy:
        if os.fstat(copy.fileno()).st_ino != inode:
            raise TargetError(f"process {pid} has just closed socket {inode}", "Try again.")
        if copy.family == socket.AF_UNIX:
            raise TargetError(
                f"the connection of process {pid} (socket {inode}) is a unix socket, not TCP",
                "Nagle's algorithm and delayed ACKs are TCP's: there is nothing to remedy here.",
            )
        if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.proto not in (socket.IPPROTO_TCP, _MPTCP):
            raise TargetError(f"socket {inode} of process {pid} is not TCP: family {copy.family}, {copy.proto}")
        if evidence and fcntl.fcntl(copy.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK:
            raise TargetError(f"socket {inode} of process {pid} is non-blocking: no stream in COLO", candidates(pid))
        cookie = int.from_bytes(copy.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")
        try:
            local, peer = Endpoint.of(*copy.getsockname()[:2]), Endpoint.of(*copy.getpeername()[:2])
        except OSError as error:
            raise TargetError(f"socket {inode} of process {pid} is not connected", candidates(pid)) from error
    return Stream(pid, fd, inode, cookie, local, peer, evidence or "named with --socket")


def check_pair(streams: list[Stream]) -> None:
    """Two processes' streams must be one connection's ends. Raises TargetError if they are not."""
    if len(streams) == 2:
        one, other = streams
        if (one.local, one.peer) != (other.peer, other.local):
            raise TargetError(
                f"{one} and {other} are not the two ends of one connection",
                "Do the two processes belong to one pair? Otherwise, or behind a proxy, give one --pid at a time.",
            )


def candidates(pid: int) -> str:
    """The TCP connections of a process, as a remedy's text."""
    lines = [f"--socket {one.inode}  {one.local} to {one.peer}" for one in sorted_connections(pid)]
    if not lines:
        return f"Process {pid} has no TCP connection at all."
    return "\n".join([f"Process {pid} has these TCP connections; if you know the stream, name it:", *lines])


def sorted_connections(pid: int) -> list[TcpSocket]:
    """The established connections, by inode; none where that cannot be told."""
    try:
        return sorted(connections(pid), key=lambda one: one.inode)
    except (TargetError, PermissionsError):
        return []
