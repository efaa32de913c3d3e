"""Whether a process's memory holds what the file holds, at every place that is to be probed."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable

from colotrace.resolve.plan import Probe
from colotrace.target.process import Process

_BREAKPOINTS = {"x86_64": b"\xcc", "aarch64": 0xD42000A0.to_bytes(4, "little")}
"""By os.uname().machine, what a uprobe writes: int3 over the first byte; brk #5 over the whole instruction, where a
debugger's is brk #0 (arch/arm64/include/asm: UPROBE_SWBP_INSN in uprobes.h, UPROBES_BRK_IMM in brk-imm.h)."""


class SiteState(enum.Enum):
    """What stands at a probe's address in memory."""

    CLEAN = "clean"
    """The file's bytes: no probe."""
    BREAKPOINT = "breakpoint"
    """A breakpoint, then the file's bytes: a uprobe, or (on x86-64) a debugger's."""
    DIFFERENT = "different"
    """Anything else: another file, or patched code."""


def site_state(memory: bytes, file: bytes) -> SiteState:
    """Compares an instruction's bytes in memory with those in the file."""
    if memory == file:
        return SiteState.CLEAN
    written = _BREAKPOINTS.get(os.uname().machine, b"")
    if len(memory) == len(file) and written and memory == written + file[len(written) :]:
        return SiteState.BREAKPOINT
    return SiteState.DIFFERENT


def site_states(process: Process, bias: int, probes: Iterable[Probe]) -> dict[Probe, SiteState]:
    """The state of each probe's site; raises as Process.read_memory() does."""
    return {p: site_state(process.read_memory(p.address + bias, len(p.data)), p.data) for p in probes}
