"""The listening socket: for its owner only, never through a symbolic link, and removed only while it is ours."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator

from colotrace.errors import OutputError

_UNTIL_IT_LISTENS = "~"
"""Ends the name that the socket is bound to; it gets its own only then, so that whoever sees it can connect."""
_MAX_PATH_BYTES = 107 - len(_UNTIL_IT_LISTENS)
"""sun_path without its final NUL, unix(7)."""
_BACKLOG = 16
_LOCK_S = 1.0
_REMEDY = "Choose another --listen."


class Listener:
    """A unix socket that listens at `path`. Use as a context manager, or close().

    Raises OutputError: the path is taken, too long, or cannot be written. A socket on which nobody listens any more
    (a bridge that was killed) is replaced.
    """

    def __init__(self, path: str) -> None:
        check_path(path)
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(self.socket.fileno(), 0o600)  # Linux: the file that bind() makes has the socket's mode
            with _only_one(path):
                self._file = self._appear(path + _UNTIL_IT_LISTENS)
            self.socket.setblocking(False)
        except OSError as error:
            self.socket.close()
            raise OutputError(f"cannot listen on {path}: {error.strerror}", _REMEDY) from error
        except BaseException:
            self.socket.close()
            raise

    def _appear(self, first: str) -> tuple[int, int]:
        """Binds to `first`, listens, and takes the path; returns the file's identity."""
        for path in (first, self.path):
            check_path(path)
        if os.path.lexists(first):
            os.unlink(first)
        self.socket.bind(first)
        try:
            file = _identity(first)
            self.socket.listen(_BACKLOG)
            if os.path.lexists(self.path):
                os.rename(first, self.path)  # over a stale one
            else:
                os.link(first, self.path)  # fails if there is something by now
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(first)
        return file

    def close(self) -> None:
        """Stops listening, and removes the file unless another has taken its place; safe to call twice."""
        if self.socket.fileno() < 0:
            return
        with contextlib.suppress(OSError):  # it, or its directory, has gone already
            if _identity(self.path) == self._file:
                os.unlink(self.path)
        self.socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def check_path(path: str) -> None:
    """Raises OutputError if a Listener there cannot be had as things are; creates nothing."""
    if not 0 < len(os.fsencode(path.removesuffix(_UNTIL_IT_LISTENS))) <= _MAX_PATH_BYTES:
        raise OutputError(
            f"cannot listen on {path!r}: the path of a unix socket has 1 to {_MAX_PATH_BYTES} bytes",
            "Choose a shorter --listen.",
        )
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise OutputError(f"cannot listen on {path}: there is no directory {folder}", _REMEDY) from None
        return
    except OSError as error:
        raise OutputError(f"cannot listen on {path}: {error.strerror}", _REMEDY) from error
    if stat.S_ISLNK(mode):
        raise OutputError(f"cannot listen on {path}: it is a symbolic link", _REMEDY)
    if not stat.S_ISSOCK(mode):
        raise OutputError(f"cannot listen on {path}: there is a file", _REMEDY)
    if not _is_stale(path):
        raise OutputError(f"cannot listen on {path}: it is a socket in use", _REMEDY)


@contextlib.contextmanager
def _only_one(path: str) -> Iterator[None]:
    """Two bridges that find the same stale socket must not both replace it: locks the directory.

    Other programs lock directories for purposes of their own (systemd-tmpfiles); then it goes without.
    """
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + _LOCK_S
        while time.monotonic() < until:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_S / 20)
        yield
    finally:
        os.close(folder)


def _is_stale(path: str) -> bool:
    """Whether nobody listens on a socket any more; in doubt somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        return trial.connect_ex(path) == errno.ECONNREFUSED


def _identity(path: str) -> tuple[int, int]:
    file = os.lstat(path)
    return file.st_dev, file.st_ino
