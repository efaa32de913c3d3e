"""How each tool is started. What it times it can time: four of the primary's phases are calls of exported functions."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from colotrace.binary.image import Image
from colotrace.binary.symbols import Symbols

HERE = Path(__file__).resolve().parent
HEADERS = HERE.parents[1] / "bpf" / "headers"
FUNCTIONS = {
    "wait": "qemu_event_wait",
    "dev": "qemu_save_device_state",
    "ram": "qemu_savevm_live_state",
    "resume": "vm_start",
}
"""Phase -> the exported function of QEMU 7.2 that takes most of it."""


@dataclass(frozen=True)
class Tool:
    """One way to trace. `command` makes its command from a pid, `program` is what must be installed for it, and `sites`
    says where its probes lie: "plan" on colotrace's call sites, "entries" on the functions, "nowhere" at all."""

    name: str
    times: str
    program: str
    package: str
    sites: str
    command: Callable[[int, str], list[str]]

    @property
    def missing(self) -> str | None:
        """Which package it would take; None if it is there."""
        return None if shutil.which(self.program) else self.package


def bpftrace_script(path: str) -> str:
    """Times the four functions, as one would by hand."""
    lines = []
    for phase, function in FUNCTIONS.items():
        lines.append(f"uprobe:{path}:{function} {{ @{phase}_at[tid] = nsecs; }}")
        lines.append(
            f"uretprobe:{path}:{function} /@{phase}_at[tid]/ "
            f"{{ @{phase} = hist(nsecs - @{phase}_at[tid]); delete(@{phase}_at[tid]); }}"
        )
    return "\n".join(lines)


def _own(pid: int, _path: str) -> list[str]:
    return [sys.executable, "-m", "colotrace", "attach", "--pid", str(pid), "--json"]


def _floor(pid: int, _path: str) -> list[str]:
    return [sys.executable, str(HERE / "floor.py"), str(pid)]


def _bpftrace(pid: int, path: str) -> list[str]:
    return ["bpftrace", "-p", str(pid), "-e", bpftrace_script(path)]


def _funclatency(pid: int, path: str) -> list[str]:
    pattern = f"{path}:^({'|'.join(FUNCTIONS.values())})$"
    return ["funclatency-bpfcc", "-r", "-F", "-p", str(pid), pattern]


def _perf(pid: int, path: str) -> list[str]:
    with Image(path) as image:
        symbols = Symbols(image)
        found = {name: symbols.one(name) for name in FUNCTIONS.values()}
        offsets = [f"{name}={image.offset_of(symbol.address):#x}" for name, symbol in found.items() if symbol]
    return ["sh", str(HERE / "perf.sh"), str(pid), path, *offsets]


COLOTRACE = Tool("colotrace", "all nine phases, exact", "python3", "", "plan", _own)
TOOLS = (
    COLOTRACE,
    Tool("empty BPF program", "nothing, on colotrace's sites", "python3", "", "plan", _floor),
    Tool("bpftrace", "wait, dev, ram, resume", "bpftrace", "bpftrace", "entries", _bpftrace),
    Tool("funclatency", "the same four", "funclatency-bpfcc", "bpfcc-tools", "entries", _funclatency),
    Tool("perf record", "the same four, afterwards", "perf", "linux-perf", "entries", _perf),
)


def environment() -> dict[str, str]:
    """For tools on bcc: they want kernel headers as well, and the stubs serve them."""
    return os.environ | {"BCC_KERNEL_SOURCE": str(HEADERS)}
