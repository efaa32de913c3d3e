"""Runs a tool on a process, and sees by the process's memory when its probes are there: the same witness for each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from colotrace.binary.image import Image
from colotrace.binary.symbols import Symbols
from colotrace.resolve.resolver import resolve
from colotrace.target.process import Process

from .tools import FUNCTIONS, Tool, environment

DEADLINE_S, LOOK_S, SETTLE_S = 60.0, 0.001, 0.5
INT3 = 0xCC


def places(pid: int, sites: str) -> list[int]:
    """The addresses in the process at which a tool puts breakpoints."""
    process = Process(pid)
    plan = resolve(process.exe)
    bias = process.load_bias([(plan.code_address, plan.code_offset)])
    if sites == "plan":
        return [probe.address + bias for probe in plan.probes]
    with Image(process.exe) as image:
        symbols = Symbols(image)
        found = [symbols.one(name) for name in FUNCTIONS.values()]
    return [symbol.address + bias for symbol in found if symbol]


def are_there(pid: int, addresses: list[int]) -> list[bool]:
    """Per address, whether a breakpoint stands there now."""
    process = Process(pid)
    return [process.read_memory(address, 1)[0] == INT3 for address in addresses]


@dataclass(frozen=True)
class Start:
    """A tool's start: seconds from exec until the last probe was there, and its peak and settled memory in bytes."""

    seconds: float
    peak_bytes: int
    resident_bytes: int
    anonymous_bytes: int


@contextlib.contextmanager
def running(tool: Tool, pid: int) -> Iterator[Start]:
    """The tool on a process, armed; ended, with its probes gone, at the end. RuntimeError if it does not arm."""
    addresses = places(pid, tool.sites)
    began = time.monotonic()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(
            tool.command(pid, os.path.realpath(f"/proc/{pid}/exe")),
            stdout=nowhere, stderr=subprocess.PIPE, env=environment(), text=True,
        )  # fmt: skip
    try:
        while not all(are_there(pid, addresses)):
            if process.poll() is not None or time.monotonic() > began + DEADLINE_S:
                process.kill()
                raise RuntimeError(f"{tool.name} did not arm: {process.communicate()[1].strip()[-500:]}")
            time.sleep(LOOK_S)
        seconds = time.monotonic() - began
        time.sleep(SETTLE_S)
        yield Start(seconds, *(memory(process.pid, name) for name in ("VmHWM", "VmRSS", "RssAnon")))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    until = time.monotonic() + DEADLINE_S
    while any(are_there(pid, addresses)):
        if time.monotonic() > until:
            raise RuntimeError(f"{tool.name} left probes behind")
        time.sleep(LOOK_S)


def memory(pid: int, name: str) -> int:
    """A process's memory by a line of /proc/PID/status, in bytes."""
    return int(Process(pid).status()[name].split()[0]) * 1024
