"""What a tracer could leave behind: BPF objects in the kernel, probes in tracefs, processes, descriptors."""

from __future__ import annotations

import contextlib
import ctypes as ct
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from colotrace.kernel.link import bpf

_NEXT_ID = {"prog": 11, "map": 12, "link": 31}
"""BPF_PROG_GET_NEXT_ID and the like, include/uapi/linux/bpf.h."""
_HELD = re.compile(r"^(prog|map|link)_id:\t(\d+)$", re.MULTILINE)
UPROBE_EVENTS = Path("/sys/kernel/tracing/uprobe_events")
SETTLE_S = 10.0
"""The kernel frees what a process held some time after it has ended (RCU, and its workqueues)."""
Objects = frozenset[tuple[str, int]]


class _Id(ct.Structure):
    _fields_ = (("id", ct.c_uint32), ("next_id", ct.c_uint32), ("open_flags", ct.c_uint32))


@dataclass(frozen=True)
class Traces:
    """What there is at a moment."""

    objects: Objects
    uprobe_events: frozenset[str]
    children: frozenset[int]
    descriptors: int


def look() -> Traces:
    """Everything as it is now."""
    events = UPROBE_EVENTS.read_text() if UPROBE_EVENTS.exists() else ""
    return Traces(bpf_objects(), frozenset(events.splitlines()), children(), len(os.listdir("/proc/self/fd")))


def bpf_objects() -> Objects:
    """Every BPF program, map and link in the kernel, by kind and id."""
    found = set()
    for kind, command in _NEXT_ID.items():
        attr = _Id()
        with contextlib.suppress(FileNotFoundError):
            while True:
                bpf(command, attr)
                found.add((kind, attr.next_id))
                attr = _Id(id=attr.next_id)
    return frozenset(found)


def children(pid: int | str = "self") -> frozenset[int]:
    """The pids of a process's children, those that have ended and were not waited for included."""
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return frozenset(int(child) for path in paths for child in path.read_text().split())


def left_since(before: Traces, *, mine: frozenset[int] = frozenset()) -> list[str]:
    """What is there that was not before, in words; waits a while for it to go. Children in `mine` are expected."""
    until = time.monotonic() + SETTLE_S
    while True:
        left = _left(before, look(), mine)
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def _left(before: Traces, now: Traces, mine: frozenset[int]) -> list[str]:
    objects = now.objects - before.objects
    if objects:
        objects -= _strangers(objects)  # somebody else traces something on this host
    left = [f"BPF {kind} {number}" for kind, number in sorted(objects)]
    left += [f"uprobe event {line}" for line in sorted(now.uprobe_events - before.uprobe_events)]
    left += [f"process {pid}" for pid in sorted(now.children - before.children - mine)]
    return left


def _strangers(objects: Objects) -> Objects:
    """Those of the objects that a process holds which does not descend from this one."""
    found: set[tuple[str, int]] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            held = {
                (kind, int(number))
                for info in (entry / "fdinfo").iterdir()
                for kind, number in _HELD.findall(info.read_text())
            }
            if held & objects and not _descends(int(entry.name)):
                found |= held
    return objects & found


def _descends(pid: int) -> bool:
    """Whether a process is this one, or a descendant of it."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False
