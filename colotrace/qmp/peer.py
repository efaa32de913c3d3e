"""Opens a QMP socket, and makes sure that the QEMU behind it is the one that is meant."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from colotrace.errors import QmpError
from colotrace.text import printable

_UCRED = struct.Struct("3i")
"""struct ucred of SO_PEERCRED, unix(7): pid, uid, gid."""


def connect(path: str, pid: int | None, timeout_s: float) -> socket.socket:
    """A connected, blocking socket to the QMP server at `path`; with `pid`, only if that process serves it.

    Raises QmpError: nobody listens there, or another process does.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
        if pid is not None:
            _check_owner(connection, path, pid)
        connection.settimeout(None)
    except TimeoutError as error:
        connection.close()
        raise QmpError(
            f"{path} did not accept a connection within {timeout_s:g} s", "A QMP socket takes one client: is it in use?"
        ) from error
    except OSError as error:
        connection.close()
        raise QmpError(
            f"cannot talk QMP on {path}: {error.strerror or error}", "Name the socket given to -qmp unix:PATH,server."
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end, as SO_PEERCRED tells: the one that listens, or that has connected.

    0 if it is outside this pid namespace.
    """
    return int(_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0])


def _check_owner(connection: socket.socket, path: str, pid: int) -> None:
    """Whether `pid` serves the socket: it listens, or holds a descriptor of it that its starter has passed on."""
    listener = peer_pid(connection)
    if listener == pid or _holds(pid, connection.getpeername()):
        return
    if listener == 0:
        whose = "a process outside this pid namespace"
    else:
        whose = f"process {listener} ({printable(_name(listener))})"
    raise QmpError(
        f"{path} belongs to {whose}, not to process {pid}",
        "--pid and --qmp must name the same QEMU; its command line has the path after -qmp or -chardev.",
    )


def _holds(pid: int, name: object) -> bool:
    """Whether the process has a unix socket bound to `name` open: libvirt listens itself and hands QEMU the socket."""
    if not isinstance(name, str) or not name:
        return False
    try:
        inodes = parse_unix_sockets(Path(f"/proc/{pid}/net/unix").read_text("utf-8", "surrogateescape"), name)
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any(link == f"socket:[{inode}]" for link in links for inode in inodes)


def parse_unix_sockets(text: str, name: str) -> set[str]:
    """The inodes of the sockets bound to `name`, in the text of /proc/PID/net/unix."""
    rows = [line.split(None, 7) for line in text.split("\n")[1:]]
    return {row[6] for row in rows if len(row) == 8 and row[7] == name}


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "unknown"
