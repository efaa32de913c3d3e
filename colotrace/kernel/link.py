"""BPF links by bpf(2): arming all probes of a process at once, and asking which uprobes others have set.

bcc 0.26 has no call for either. The kernel removes a link when its last descriptor is closed, however the process ends.
Layouts are those of union bpf_attr and struct bpf_link_info in include/uapi/linux/bpf.h, Linux 6.6 on.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from colotrace.errors import GET_PRIVILEGES, ColotraceError, EnvironmentFault, PermissionsError, PlanError, TargetError

BPF_TRACE_UPROBE_MULTI = 48
_BPF_OBJ_GET_INFO_BY_FD, _BPF_LINK_CREATE, _BPF_LINK_GET_FD_BY_ID, _BPF_LINK_GET_NEXT_ID = 15, 28, 30, 31
_LINK_TYPE_PERF_EVENT, _LINK_TYPE_UPROBE_MULTI = 7, 12
_PERF_EVENT_UPROBE = 1
_SYSCALLS = {"x86_64": 321, "aarch64": 280}
_ENOTSUPP = 524
"""The kernel's own, which leaks to user space: uprobes cannot take this instruction."""
_MOST_OFFSETS = 4096


class _LinkCreate(ct.Structure):
    _fields_ = (
        ("prog_fd", ct.c_uint32),
        ("target_fd", ct.c_uint32),
        ("attach_type", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("path", ct.c_uint64),
        ("offsets", ct.c_uint64),
        ("ref_ctr_offsets", ct.c_uint64),
        ("cookies", ct.c_uint64),
        ("count", ct.c_uint32),
        ("multi_flags", ct.c_uint32),
        ("pid", ct.c_uint32),
        ("reserved", ct.c_uint32),
    )


class _Id(ct.Structure):
    _fields_ = (("id", ct.c_uint32), ("next_id", ct.c_uint32), ("open_flags", ct.c_uint32))


class _InfoByFd(ct.Structure):
    _fields_ = (("fd", ct.c_uint32), ("info_len", ct.c_uint32), ("info", ct.c_uint64))


class _MultiInfo(ct.Structure):
    _fields_ = (
        ("path", ct.c_uint64),
        ("offsets", ct.c_uint64),
        ("ref_ctr_offsets", ct.c_uint64),
        ("cookies", ct.c_uint64),
        ("path_size", ct.c_uint32),
        ("count", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("pid", ct.c_uint32),
    )


class _PerfInfo(ct.Structure):
    _fields_ = (
        ("type", ct.c_uint32),
        ("reserved", ct.c_uint32),
        ("file_name", ct.c_uint64),
        ("name_len", ct.c_uint32),
        ("offset", ct.c_uint32),
        ("cookie", ct.c_uint64),
    )


class _LinkInfoUnion(ct.Union):
    _fields_ = (("multi", _MultiInfo), ("perf", _PerfInfo), ("room", ct.c_uint8 * 128))


class _LinkInfo(ct.Structure):
    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("prog_id", ct.c_uint32),
        ("reserved", ct.c_uint32),
        ("of", _LinkInfoUnion),
    )


@dataclass(frozen=True)
class UprobeConsumer:
    """Somebody's uprobes on a file: the path as the kernel gives it, the offsets in it, the process meant, if one."""

    path: str
    offsets: frozenset[int]
    pid: int | None = None


_libc = ct.CDLL(None, use_errno=True)


def _bpf(command: int, attr: ct.Structure) -> int:
    """bpf(2); raises OSError."""
    number = _SYSCALLS[os.uname().machine]
    result: int = _libc.syscall(number, command, ct.byref(attr), ct.sizeof(attr))
    if result < 0:
        code = ct.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class UprobeMultiLink:
    """All probes of one process, armed by one call and removed by close() or by the end of this process."""

    def __init__(self, program_fd: int, path: str, pid: int, offsets: Sequence[int], cookies: Sequence[int]) -> None:
        name = ct.create_string_buffer(os.fsencode(path))
        offset_array = (ct.c_uint64 * len(offsets))(*offsets)
        cookie_array = (ct.c_uint64 * len(cookies))(*cookies)
        attr = _LinkCreate(
            prog_fd=program_fd,
            attach_type=BPF_TRACE_UPROBE_MULTI,
            path=ct.addressof(name),
            offsets=ct.addressof(offset_array),
            cookies=ct.addressof(cookie_array),
            count=len(offsets),
            pid=pid,
        )
        try:
            self.fd = _bpf(_BPF_LINK_CREATE, attr)
        except OSError as error:
            raise _link_error(error, pid, path, offsets) from error

    def close(self) -> None:
        """Removes the probes; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _link_error(error: OSError, pid: int, path: str, offsets: Sequence[int]) -> ColotraceError:
    where = f"{len(offsets)} probes on {path} (pid {pid}, first file offset {min(offsets, default=0):#x})"
    reason = f"cannot arm {where}: {error.strerror} (errno {error.errno})"
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionsError(f"{reason}; arming needs CAP_BPF and CAP_PERFMON", GET_PRIVILEGES)
    if error.errno in (errno.ESRCH, errno.ENOENT):
        return TargetError(reason, "Has the process just ended?")
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
        return EnvironmentFault(
            reason, f"One link for many uprobes needs Linux 6.6 with CONFIG_UPROBES; this is {os.uname().release}."
        )
    if error.errno == _ENOTSUPP:
        return PlanError(
            reason, "The kernel refuses an instruction of the plan; please report colotrace inspect's output."
        )
    return EnvironmentFault(reason)


def uprobe_consumers() -> Iterator[UprobeConsumer]:
    """The uprobes that BPF links of this host hold. Raises OSError if the kernel does not let us ask."""
    link_id = 0
    while True:
        attr = _Id(id=link_id)
        try:
            _bpf(_BPF_LINK_GET_NEXT_ID, attr)
        except FileNotFoundError:
            return
        link_id = attr.next_id
        try:
            fd = _bpf(_BPF_LINK_GET_FD_BY_ID, _Id(id=link_id))
        except FileNotFoundError:  # gone meanwhile
            continue
        try:
            consumer = _consumer(fd)
        finally:
            os.close(fd)
        if consumer is not None:
            yield consumer


def _consumer(fd: int) -> UprobeConsumer | None:
    info = _LinkInfo()
    _get_info(fd, info)
    path = ct.create_string_buffer(4096)
    if info.type == _LINK_TYPE_UPROBE_MULTI:
        count = min(info.of.multi.count, _MOST_OFFSETS)
        offsets = (ct.c_uint64 * count)()
        info = _LinkInfo()
        info.of.multi.path, info.of.multi.path_size = ct.addressof(path), len(path)
        info.of.multi.offsets, info.of.multi.count = ct.addressof(offsets), count
        _get_info(fd, info)
        return UprobeConsumer(os.fsdecode(path.value), frozenset(offsets), info.of.multi.pid or None)
    if info.type == _LINK_TYPE_PERF_EVENT and info.of.perf.type in (_PERF_EVENT_UPROBE, _PERF_EVENT_UPROBE + 1):
        info = _LinkInfo()
        info.of.perf.file_name, info.of.perf.name_len = ct.addressof(path), len(path)
        _get_info(fd, info)
        return UprobeConsumer(os.fsdecode(path.value), frozenset((info.of.perf.offset,)))
    return None


def _get_info(fd: int, info: _LinkInfo) -> None:
    _bpf(_BPF_OBJ_GET_INFO_BY_FD, _InfoByFd(fd=fd, info_len=ct.sizeof(info), info=ct.addressof(info)))
