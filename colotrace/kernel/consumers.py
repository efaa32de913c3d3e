"""Whose uprobes are on a file: asked of the kernel, so that another tracer's int3 is told from a debugger's.

There are three ways to set one: a BPF link (colotrace, newer bpftrace), a perf event with a BPF program on it (older
bpftrace, bcc), and a line in tracefs' uprobe_events (perf probe, trace-cmd). Layouts: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from colotrace.kernel.link import bpf

_OBJ_GET_INFO_BY_FD, _TASK_FD_QUERY, _LINK_GET_FD_BY_ID, _LINK_GET_NEXT_ID = 15, 20, 30, 31
_LINK_TYPE_PERF_EVENT, _LINK_TYPE_UPROBE_MULTI = 7, 12
_PERF_EVENT_UPROBE, _PERF_EVENT_URETPROBE = 1, 2
_FD_TYPE_UPROBE, _FD_TYPE_URETPROBE = 4, 5
_ON_RETURN = 1
"""BPF_F_UPROBE_MULTI_RETURN."""
_MOST_OFFSETS = 4096
_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_TRACEFS_UPROBE = re.compile(r"^(?P<kind>[pr])[^:]*:\S+ (?P<path>.*):0x(?P<offset>[0-9a-f]+)", re.MULTILINE)


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


class _TaskFdQuery(ct.Structure):
    _fields_ = (
        ("pid", ct.c_uint32),
        ("fd", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("buf_len", ct.c_uint32),
        ("buf", ct.c_uint64),
        ("prog_id", ct.c_uint32),
        ("fd_type", ct.c_uint32),
        ("probe_offset", ct.c_uint64),
        ("probe_addr", ct.c_uint64),
    )


@dataclass(frozen=True)
class UprobeConsumer:
    """Somebody's uprobes on a file: the path as the kernel gives it, the offsets in it, the process meant, if one."""

    path: str
    offsets: frozenset[int]
    pid: int | None = None
    on_return: bool = False
    """Whether they are return probes, which replace return addresses on the stack."""


def uprobe_consumers() -> Iterator[UprobeConsumer]:
    """The uprobes that are set on this host. Raises OSError if the kernel does not let us ask (CAP_SYS_ADMIN)."""
    yield from _links()
    yield from _perf_events()
    yield from _tracefs()


def _links() -> Iterator[UprobeConsumer]:
    link_id = 0
    while True:
        attr = _Id(id=link_id)
        try:
            bpf(_LINK_GET_NEXT_ID, attr)
        except FileNotFoundError:
            return
        link_id = attr.next_id
        try:
            fd = bpf(_LINK_GET_FD_BY_ID, _Id(id=link_id))
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
        return UprobeConsumer(
            os.fsdecode(path.value),
            frozenset(offsets),
            info.of.multi.pid or None,
            bool(info.of.multi.flags & _ON_RETURN),
        )
    kind = info.of.perf.type
    if info.type == _LINK_TYPE_PERF_EVENT and kind in (_PERF_EVENT_UPROBE, _PERF_EVENT_URETPROBE):
        info = _LinkInfo()
        info.of.perf.file_name, info.of.perf.name_len = ct.addressof(path), len(path)
        _get_info(fd, info)
        on_return = kind == _PERF_EVENT_URETPROBE
        return UprobeConsumer(os.fsdecode(path.value), frozenset((info.of.perf.offset,)), on_return=on_return)
    return None


def _get_info(fd: int, info: _LinkInfo) -> None:
    bpf(_OBJ_GET_INFO_BY_FD, _InfoByFd(fd=fd, info_len=ct.sizeof(info), info=ct.addressof(info)))


def _perf_events() -> Iterator[UprobeConsumer]:
    """The perf events with a BPF program that any process holds."""
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) != "anon_inode:[perf_event]":
                continue
        except OSError:
            continue
        name = ct.create_string_buffer(4096)
        query = _TaskFdQuery(pid=int(entry.parts[2]), fd=int(entry.name), buf_len=len(name), buf=ct.addressof(name))
        try:
            bpf(_TASK_FD_QUERY, query)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise
            continue  # without a BPF program, or gone
        if query.fd_type in (_FD_TYPE_UPROBE, _FD_TYPE_URETPROBE):
            on_return = query.fd_type == _FD_TYPE_URETPROBE
            yield UprobeConsumer(os.fsdecode(name.value), frozenset((query.probe_offset,)), on_return=on_return)


def _tracefs() -> Iterator[UprobeConsumer]:
    """The lines of uprobe_events, where tracefs is mounted."""
    for base in _TRACEFS:
        try:
            text = Path(base, "uprobe_events").read_text("utf-8", "replace")
        except OSError:
            continue
        yield from parse_uprobe_events(text)
        return


def parse_uprobe_events(text: str) -> Iterator[UprobeConsumer]:
    """The uprobes in the text of tracefs' uprobe_events."""
    for found in _TRACEFS_UPROBE.finditer(text):
        offsets = frozenset((int(found["offset"], 16),))
        yield UprobeConsumer(found["path"], offsets, on_return=found["kind"] == "r")
