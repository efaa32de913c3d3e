"""Files kept from run to run in $XDG_CACHE_HOME/colotrace (or $XDG_STATE_HOME/colotrace: what must not be lost), so
that nobody else can put words into our mouth.

colotrace runs as root, often with another user's environment. So the directories must be ours and writable by us
alone, no symbolic link is followed below the cache's root, and files are made with mode 0600 under another name and
then renamed. Where that cannot be had, there is no cache.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def cache_root() -> str | None:
    """The directory that caches belong in (XDG Base Directory Specification); None if the environment names none."""
    return _root("XDG_CACHE_HOME", ".cache")


def state_root() -> str | None:
    """The directory for what must outlive a cache that somebody clears; None if the environment names none."""
    return _root("XDG_STATE_HOME", ".local/state")


def _root(variable: str, below_home: str) -> str | None:
    root = os.environ.get(variable, "")
    if not os.path.isabs(root):  # the specification: relative paths are to be ignored
        home = os.environ.get("HOME", "")
        root = os.path.join(home, below_home) if os.path.isabs(home) else ""
    return root or None


def cache_directory(*names: str) -> contextlib.AbstractContextManager[int | None]:
    """A descriptor of the directory colotrace/NAMES... in the cache, made if need be; None if it cannot be trusted."""
    return private_directory(cache_root(), *names)


@contextlib.contextmanager
def private_directory(root: str | None, *names: str) -> Iterator[int | None]:
    """A descriptor of ROOT/colotrace/NAMES..., made if need be; None if it cannot be trusted to be ours alone."""
    with contextlib.ExitStack() as stack:
        try:
            if root is None:
                raise OSError
            os.makedirs(root, mode=0o700, exist_ok=True)
            directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, directory)
            for name in ("colotrace", *names):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=directory)
                directory = os.open(name, _DIRECTORY, dir_fd=directory)
                stack.callback(os.close, directory)
                _check_ours(directory)
        except OSError:
            directory = -1
        yield None if directory < 0 else directory


def has_file(directory: int, name: str) -> bool:
    """Whether a regular file of ours is there."""
    return read_file(directory, name, 0) is not None


def read_file(directory: int, name: str, most: int) -> bytes | None:
    """The first `most` bytes of a file, if it is there, regular, and ours."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            _check_ours(descriptor)
            return file.read(most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None


@contextlib.contextmanager
def new_file(directory: int, name: str) -> Iterator[int]:
    """A descriptor to write a file by; when the block ends without an exception, the file has its name, all at once."""
    unfinished, flags = f".{os.urandom(8).hex()}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(unfinished, flags, 0o600, dir_fd=directory)
    try:
        yield file
        os.rename(unfinished, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished, dir_fd=directory)
        raise
    finally:
        os.close(file)


def kept(kind: str, name: str, most: int) -> bytes | None:
    """The first `most` bytes of what keep() has kept under that name, if it is there and can be trusted."""
    with cache_directory(kind) as directory:
        return read_file(directory, name, most) if directory is not None else None


def keep(kind: str, name: str, data: bytes, most_files: int) -> None:
    """Keeps data under a name that ends with .json, and the latest `most_files` of a kind; nothing where that fails."""
    with cache_directory(kind) as directory:
        if directory is None:
            return
        with contextlib.suppress(OSError):  # full, or not writable
            with new_file(directory, name) as file, os.fdopen(os.dup(file), "wb") as out:
                out.write(data)
            forget_old(directory, ".json", most_files)


def forget_old(directory: int, suffix: str, most: int) -> None:
    """Leaves the `most` files with this suffix that were made last. Raises OSError."""
    names = [name for name in os.listdir(directory) if name.endswith(suffix)]
    names.sort(key=lambda name: os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, reverse=True)
    for name in names[most:]:
        os.unlink(name, dir_fd=directory)


def _check_ours(descriptor: int) -> None:
    facts = os.fstat(descriptor)
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError("not ours alone")
