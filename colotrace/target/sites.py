"""Whether a process's memory holds what the file holds, at every place that is to be probed."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from colotrace.resolve.plan import Probe
from colotrace.target.process import Process

INT3 = 0xCC


class SiteState(enum.Enum):
    """What stands at a probe's address in memory."""

    CLEAN = "clean"
    """The file's bytes: no probe."""
    BREAKPOINT = "breakpoint"
    """int3, then the file's bytes: a uprobe, or a debugger's breakpoint."""
    DIFFERENT = "different"
    """Anything else: another file, or patched code."""


def site_state(memory: bytes, file: bytes) -> SiteState:
    """Compares an instruction's bytes in memory with those in the file."""
    if memory == file:
        return SiteState.CLEAN
    if len(memory) == len(file) and memory[:1] == bytes((INT3,)) and memory[1:] == file[1:]:
        return SiteState.BREAKPOINT
    return SiteState.DIFFERENT


def site_states(process: Process, bias: int, probes: Iterable[Probe]) -> dict[Probe, SiteState]:
    """The state of each probe's site; raises as Process.read_memory() does."""
    return {p: site_state(process.read_memory(p.address + bias, len(p.data)), p.data) for p in probes}
