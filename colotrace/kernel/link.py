"""One BPF link for all probes of a process, by bpf(2), which bcc 0.26 has no call for.

The kernel removes a link when its last descriptor is closed, however the process ends. The layout is that of union
bpf_attr in include/uapi/linux/bpf.h, Linux 6.6 on.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Sequence

from colotrace.errors import GET_PRIVILEGES, ColotraceError, EnvironmentFault, PermissionsError, PlanError, TargetError

BPF_TRACE_UPROBE_MULTI = 48
_BPF_LINK_CREATE = 28
_SYSCALLS = {"x86_64": 321, "aarch64": 280}
_ENOTSUPP = 524
"""The kernel's own, which leaks to user space: uprobes cannot take this instruction."""


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


_libc = ct.CDLL(None, use_errno=True)


def bpf(command: int, attr: ct.Structure) -> int:
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
            self.fd = bpf(_BPF_LINK_CREATE, attr)
        except OSError as error:
            raise _link_error(error, pid, path, offsets) from error

    def close(self) -> None:
        """Removes the probes; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _link_error(error: OSError, pid: int, path: str, offsets: Sequence[int]) -> ColotraceError:
    where = f"{len(offsets)} probes (pid {pid}, {path}, first file offset {min(offsets, default=0):#x})"
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
