"""The TCP sockets of a process: which there are (/proc/PID/net/tcp, tcp6), and a duplicate of one (pidfd_getfd).

/proc/PID/net is the process's own network namespace. A duplicate shares the socket itself, so that an option set on it
is set for the process as well; it must be closed at once, since QEMU's close() ends the connection only when it has the
last descriptor.
"""

from __future__ import annotations

import ctypes as ct
import errno
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from colotrace.errors import GET_PRIVILEGES, EnvironmentFault, PermissionsError, TargetError

ESTABLISHED, LISTEN = 1, 10
"""TCP_ESTABLISHED and TCP_LISTEN (include/net/tcp_states.h), as in the column `st`."""
_PIDFD_GETFD = 438
"""The same number on every architecture; Linux 5.6 on."""
_libc = ct.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Endpoint:
    """An address and a port; a v4-mapped IPv6 address is the IPv4 address that it stands for."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @classmethod
    def of(cls, address: str | bytes | int, port: int) -> Endpoint:
        """From a text (a scope after % is left out) or an address's bytes. Raises ValueError."""
        if isinstance(address, str):
            address = address.partition("%")[0]
        parsed = ipaddress.ip_address(address)
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return cls(mapped or parsed, port)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class TcpSocket:
    """A line of /proc/PID/net/tcp or tcp6. `state` is the kernel's number."""

    inode: int
    local: Endpoint
    peer: Endpoint
    state: int

    def __str__(self) -> str:
        return f"socket {self.inode}, {self.local} to {self.peer}"


def parse_tcp(text: str) -> list[TcpSocket]:
    """The sockets in the text of /proc/net/tcp or tcp6; lines that are none are left out."""
    found = []
    for line in text.split("\n"):
        fields = line.split()
        try:
            local, peer = _endpoint(fields[1]), _endpoint(fields[2])
            found.append(TcpSocket(int(fields[9]), local, peer, int(fields[3], 16)))
        except (IndexError, ValueError):
            continue
    return found


def _endpoint(text: str) -> Endpoint:
    """Of hexadecimal words: the address's bytes in network order, printed as 32-bit numbers of this machine."""
    address, colon, port = text.partition(":")
    if not colon or len(address) not in (8, 32):
        raise ValueError(text)
    words = (address[at : at + 8] for at in range(0, len(address), 8))
    return Endpoint.of(b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words), int(port, 16))


def socket_descriptors(pid: int) -> dict[int, int]:
    """A process's sockets: inode -> the lowest descriptor of it. Raises TargetError or PermissionsError."""
    found: dict[int, int] = {}
    try:
        for entry in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda entry: int(entry.name)):
            inode = _inode_of(pid, int(entry.name))
            if inode is not None:
                found.setdefault(inode, int(entry.name))
    except OSError as error:
        raise _error(pid, error, "list its descriptors") from error
    return found


def _inode_of(pid: int, fd: int) -> int | None:
    """The inode of the socket that a descriptor stands for; None if it is no socket, or has been closed."""
    try:
        kind, _, rest = os.readlink(f"/proc/{pid}/fd/{fd}").partition(":[")
    except FileNotFoundError:
        return None
    return int(rest.removesuffix("]")) if kind == "socket" else None


def connections(pid: int) -> list[TcpSocket]:
    """The established TCP connections of a process. Raises TargetError or PermissionsError."""
    held = socket_descriptors(pid)
    found: list[TcpSocket] = []
    for name in ("tcp", "tcp6"):
        try:
            found += parse_tcp(Path(f"/proc/{pid}/net/{name}").read_text("ascii", "replace"))
        except FileNotFoundError:  # a kernel without IPv6
            continue
        except OSError as error:
            raise _error(pid, error, "list its connections") from error
    return [one for one in found if one.inode in held and one.state == ESTABLISHED]


def duplicate(pid: int, fd: int) -> socket.socket:
    """A duplicate of a process's socket; close it at once.

    Raises TargetError if there is no such socket any more, PermissionsError without PTRACE_MODE_ATTACH (for another
    user's process or one with more capabilities: CAP_SYS_PTRACE), EnvironmentFault before Linux 5.6.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise _error(pid, error, "open it") from error
    try:
        copy = int(_libc.syscall(_PIDFD_GETFD, pidfd, fd, 0))
        number = ct.get_errno()
    finally:
        os.close(pidfd)
    if copy < 0:
        raise _error(pid, OSError(number, os.strerror(number)), "duplicate its socket")
    try:
        return socket.socket(fileno=copy)
    except OSError as error:
        os.close(copy)
        raise TargetError(f"descriptor {fd} of process {pid} is no socket") from error


def _error(pid: int, error: OSError, doing: str) -> TargetError | PermissionsError | EnvironmentFault:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionsError(
            f"may not {doing} (process {pid}): CAP_SYS_PTRACE is missing, or a security module forbids it",
            GET_PRIVILEGES,
        )
    if error.errno == errno.ENOSYS:
        return EnvironmentFault(f"cannot {doing}: this kernel has no pidfd_getfd(2)", "It came with Linux 5.6.")
    if error.errno in (errno.ESRCH, errno.ENOENT):
        return TargetError(f"there is no process {pid} any more", "colotrace list shows the QEMUs on this host.")
    return TargetError(f"cannot {doing} (process {pid}): {error.strerror or error}")
