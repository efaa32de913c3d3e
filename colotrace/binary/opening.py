"""Opening a file that should be an ELF file: each way in which it is not has its own message."""

from __future__ import annotations

import mmap
import os
import stat
from typing import BinaryIO

from colotrace.binary import elf
from colotrace.errors import BinaryError


def open_binary(path: str) -> BinaryIO:
    """A regular file, open for reading."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would keep us waiting for a writer
    except FileNotFoundError as error:
        raise BinaryError(
            f"there is no file {path}", "Name a QEMU binary, such as /usr/bin/qemu-system-x86_64."
        ) from error
    except OSError as error:
        raise BinaryError(f"cannot read {path}: {error.strerror}", "Check the path and its permissions.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BinaryError(f"{path} is not a regular file", "Name the QEMU binary itself.")
    return os.fdopen(fd, "rb")


def map_binary(file: BinaryIO, path: str) -> mmap.mmap:
    """The file in memory, if it begins as an ELF file does; it may be closed as soon as this fails."""
    try:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # an empty file
        raise BinaryError(f"{path} is empty, not an ELF file", "Name a QEMU binary.") from error
    except OSError as error:
        raise BinaryError(f"cannot read {path}: {error.strerror}", "Name a QEMU binary.") from error
    try:
        check_magic(data, path)
    except BinaryError:
        data.close()
        raise
    return data


def check_magic(data: elf.Buffer, path: str) -> None:
    """Refuses what does not begin as an ELF file does, or ends within its header."""
    if data[0:4] != b"\x7fELF":
        what = "a Linux kernel image" if data[0x202:0x206] == b"HdrS" else "not an ELF file"
        raise BinaryError(f"{path} is {what}", "Name the QEMU binary itself, not a wrapper script.")
    if len(data) < 64:
        raise truncated(path, len(data), 64)


def truncated(path: str, size: int, end: int) -> BinaryError:
    """The error for a file that ends before what its headers speak of."""
    return BinaryError(
        f"{path} is truncated: it has {size} bytes, and its headers speak of {end}", "Use an intact copy of it."
    )
