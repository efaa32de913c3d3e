"""Files that a command was told to write: for their owner only, and never through a link to somewhere else.

The commands run as root, and the directory may be anybody's.
"""

from __future__ import annotations

import errno
import os
import stat

from colotrace.errors import OutputError

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def open_private(path: str, option: str) -> int:
    """A descriptor to write a file by: emptied if it is there, else made with mode 0600.

    Raises OutputError: it cannot be written, or is a symbolic link, or has other names (hard links) as well.
    """
    try:
        fd = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise OutputError(f"cannot write {path}: {reason}", f"Choose another {option}.") from error
    facts = os.fstat(fd)
    if stat.S_ISREG(facts.st_mode):
        if facts.st_nlink > 1:
            os.close(fd)
            raise OutputError(f"cannot write {path}: the file has other names as well", f"Choose another {option}.")
        os.ftruncate(fd, 0)
    return fd
