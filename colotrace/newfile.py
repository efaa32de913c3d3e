"""Files that a command was told to write: for their owner only, and never through a link to somewhere else.

The commands run as root, and the directory may be anybody's.
"""

from __future__ import annotations

import errno
import os
import stat

from colotrace.errors import OutputError

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def open_private(path: str, option: str, *, empty: bool) -> int:
    """A descriptor to append to a file by, made with mode 0600 if it is not there; emptied first if asked for.

    Raises OutputError: it cannot be written, or is a symbolic link, or has other names (hard links) as well.
    """
    remedy = f"Choose another {option}."
    try:
        fd = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise OutputError(f"cannot write {path}: {reason}", remedy) from error
    facts = os.fstat(fd)
    if stat.S_ISREG(facts.st_mode):
        if facts.st_nlink > 1:
            os.close(fd)
            raise OutputError(f"cannot write {path}: the file has other names as well (hard links)", remedy)
        if empty:
            os.ftruncate(fd, 0)
    return fd


def write_private(path: str, option: str, data: bytes) -> None:
    """Writes a whole file; see open_private()."""
    with os.fdopen(open_private(path, option, empty=True), "wb") as file:
        file.write(data)
