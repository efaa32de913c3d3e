"""One process that runs a QEMU: who it is, where its binary is mapped, and what its memory holds."""

from __future__ import annotations

import ctypes as ct
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from colotrace.errors import GET_PRIVILEGES, PermissionsError, TargetError

_libc = ct.CDLL(None, use_errno=True)


class _IoVec(ct.Structure):
    """struct iovec."""

    _fields_ = (("base", ct.c_void_p), ("length", ct.c_size_t))


_libc.process_vm_readv.restype = ct.c_ssize_t
_libc.process_vm_readv.argtypes = (
    ct.c_int, ct.POINTER(_IoVec), ct.c_ulong, ct.POINTER(_IoVec), ct.c_ulong, ct.c_ulong,
)  # fmt: skip
_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True)
class Mapping:
    """A line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    device: str
    inode: int
    name: str


def parse_maps(text: str) -> list[Mapping]:
    """The mappings in the text of /proc/PID/maps; lines that are none are left out."""
    mappings = []
    for line in text.split("\n"):  # a name may hold any other line separator
        fields = line.split(None, 5)
        try:
            start, _, end = fields[0].partition("-")
            mappings.append(
                Mapping(
                    int(start, 16), int(end, 16), fields[1], int(fields[2], 16), fields[3], int(fields[4]),
                    fields[5] if len(fields) > 5 else "",
                )
            )  # fmt: skip
        except (IndexError, ValueError):
            continue
    return mappings


def parse_start_time(stat: str) -> int:
    """The start time in clock ticks (field 22 of /proc/PID/stat); the name before it may hold anything."""
    return int(stat.rpartition(")")[2].split()[19])


def parse_status(text: str) -> dict[str, str]:
    """/proc/PID/status as a dictionary."""
    return {key: value.strip() for key, colon, value in (line.partition(":") for line in text.split("\n")) if colon}


@dataclass(frozen=True)
class Identity:
    """What must stay the same for a pid to be the same program: the start time, and the inode of its file."""

    start_ticks: int
    device: int
    inode: int


class Process:
    """A process by pid. Raises TargetError if there is none, PermissionsError if it may not be looked at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        process = self.status().get("Tgid", str(pid))
        if process != str(pid):
            raise TargetError(f"{pid} is a thread of process {process}", f"Use --pid {process}.")
        self.identity = self._identity()

    @property
    def exe(self) -> str:
        """The running inode, also in a container and after a package upgrade has replaced the file."""
        return f"/proc/{self.pid}/exe"

    def exe_name(self) -> str:
        """The path that the file had when it was started."""
        try:
            return os.readlink(self.exe)
        except OSError:
            return self.exe

    def tracer(self) -> int:
        """The pid of the process that traces it (ptrace), 0 for none."""
        try:
            return int(self.status().get("TracerPid", "0"))
        except ValueError as error:
            raise self._error(error, "tell who traces it") from error

    def open_pidfd(self) -> int:
        """A descriptor that becomes readable when it ends; the caller closes it. Raises TargetError if it has ended."""
        try:
            return os.pidfd_open(self.pid)
        except OSError as error:
            raise self._error(error, "watch it") from error

    def open_exe(self) -> int:
        """A descriptor of its binary; the caller closes it. Raises TargetError if it is not the one of `identity`."""
        try:
            fd = os.open(self.exe, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._error(error, "open its binary") from error
        file = os.fstat(fd)
        if (file.st_dev, file.st_ino) != (self.identity.device, self.identity.inode):
            os.close(fd)
            raise TargetError(f"process {self.pid} has just become another program", "Try again.")
        return fd

    def is_same(self) -> bool:
        """Whether the pid still stands for the program it stood for when this object was made.

        Raises PermissionsError where that may not be looked at.
        """
        try:
            return self._identity() == self.identity
        except TargetError:
            return False

    def command_line(self) -> list[str]:
        """The arguments it was started with."""
        return self._read("cmdline").rstrip("\0").split("\0")

    def status(self) -> dict[str, str]:
        """/proc/PID/status."""
        return parse_status(self._read("status"))

    def mappings(self) -> list[Mapping]:
        """/proc/PID/maps."""
        return parse_maps(self._read("maps"))

    def load_bias(self, segments: list[tuple[int, int]]) -> int:
        """What to add to the file's virtual addresses; `segments` are (address, file offset) of its code.

        Raises TargetError if the running file's code is not mapped where an ELF loader puts it.
        """
        for mapping in self.mappings():
            if mapping.inode != self.identity.inode or "x" not in mapping.permissions:
                continue
            for address, offset in segments:
                if mapping.offset == offset - offset % _PAGE:
                    return mapping.start - (address - address % _PAGE)
        raise TargetError(
            f"process {self.pid} does not map the code of {self.exe_name()}", "Is it being started just now? Try again."
        )

    def read_memory(self, address: int, size: int) -> bytes:
        """Bytes of its memory. Raises TargetError if it is gone or has nothing there, PermissionsError if forbidden.

        By process_vm_readv(2), which asks for CAP_SYS_PTRACE only; /proc/PID/mem also asks to be its owner.
        """
        buffer = ct.create_string_buffer(size)
        local, remote = _IoVec(ct.addressof(buffer), size), _IoVec(address, size)
        got = _libc.process_vm_readv(self.pid, ct.byref(local), 1, ct.byref(remote), 1, 0)
        if got != size:
            number = ct.get_errno() if got < 0 else errno.EFAULT
            raise self._error(OSError(number, os.strerror(number)), f"read its memory at {address:#x}")
        return buffer.raw

    def _identity(self) -> Identity:
        try:
            start = parse_start_time(self._read("stat"))
        except (ValueError, IndexError) as error:
            raise self._error(error, "tell when it was started") from error
        try:
            file = os.stat(self.exe)
        except OSError as error:
            raise self._error(error, "look at its binary") from error
        return Identity(start, file.st_dev, file.st_ino)

    def _read(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.pid}/{name}").read_bytes().decode("utf-8", "replace")
        except OSError as error:
            raise self._error(error, f"read its {name}") from error

    def _error(self, error: Exception, doing: str) -> TargetError | PermissionsError:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.EACCES, errno.EPERM):
            return PermissionsError(
                f"may not {doing}: process {self.pid} belongs to somebody else, and CAP_SYS_PTRACE is missing",
                GET_PRIVILEGES,
            )
        if number == errno.ENOENT and os.path.exists(f"/proc/{self.pid}"):
            return TargetError(f"process {self.pid} has no binary: it is a kernel thread or a zombie")
        if number in (errno.ENOENT, errno.ESRCH):
            return TargetError(f"there is no process {self.pid}", "colotrace list shows the QEMUs on this host.")
        return TargetError(f"cannot {doing} (process {self.pid}): {error}")
