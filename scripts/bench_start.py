"""Measures what it takes to start; see scripts/bench_start."""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from rich.console import Console
from rich.table import Table
from rivals.run import Start, running
from rivals.tools import COLOTRACE, TOOLS, environment

import colotrace

_EMPTY = """
from bcc import BPF
BPF(text=b"int nothing(void *context) { return 0; }").load_func(b"nothing", BPF.KPROBE)
import json
lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("VmHWM", "VmRSS", "RssAnon")))
print(json.dumps([int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS", "RssAnon")]))
"""


def empty_bcc() -> list[int]:
    """Peak, resident and anonymous bytes of a Python that has bcc compile and load an empty program."""
    run = subprocess.run(
        [sys.executable, "-c", _EMPTY], capture_output=True, text=True, check=True, env=environment()
    )
    numbers: list[int] = json.loads(run.stdout)
    return numbers


def starts(pid: int, rounds: int) -> dict[str, list[Start]]:
    """Tool -> its starts; the tools take turns. colotrace starts with nothing kept, and then with what it has kept."""
    kept, fresh = f"{COLOTRACE.name}, plan and program kept", f"{COLOTRACE.name}, first time"
    tools = [tool for tool in TOOLS if not tool.missing and tool.name != "empty BPF program" and tool is not COLOTRACE]
    found: dict[str, list[Start]] = {fresh: [], kept: []} | {tool.name: [] for tool in tools}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            for name in (fresh, kept):
                with running(COLOTRACE, pid) as start:
                    found[name].append(start)
            del os.environ["XDG_CACHE_HOME"]
        for tool in tools:
            with running(tool, pid) as start:
                found[tool.name].append(start)
    return found


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each tool is started.")
def main(rounds: int) -> None:
    """From exec to the last probe, and memory: colotrace on a real QEMU beside tools that time four functions of it.

    When a probe is there is seen in QEMU's memory, for all alike. Medians; memory is that of the tool's own process,
    half a second later, and its peak.
    """
    for tool in TOOLS:
        if tool.missing:
            click.echo(f"{tool.name} is not here (package {tool.missing}) and is left out", err=True)
    compileall.compile_dir(str(Path(colotrace.__file__).parent), quiet=1)  # as pip does when it installs
    empty = [statistics.median(column) for column in zip(*(empty_bcc() for _ in range(rounds)), strict=True)]
    with ColoPair(Settings(delay_ms=200, transport="unix")) as pair:
        found = starts(pair.primary.pid, rounds)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("tool", "armed after", "peak", "to bcc's", "resident", "anonymous"):
        table.add_column(column, justify="left" if column == "tool" else "right")
    table.add_row("bcc, an empty program", "", *mib(empty[0]), "1.00", *mib(*empty[1:]))
    for name, each in found.items():
        seconds = statistics.median(one.seconds for one in each)
        peak, resident, anonymous = (
            statistics.median(numbers)
            for numbers in zip(*((s.peak_bytes, s.resident_bytes, s.anonymous_bytes) for s in each), strict=True)
        )
        table.add_row(name, f"{seconds:.2f} s", *mib(peak), f"{peak / empty[0]:.2f}", *mib(resident, anonymous))
    Console(highlight=False, width=128).print(table)


def mib(*sizes: float) -> list[str]:
    """Sizes as texts."""
    return [f"{size / (1 << 20):.0f} MiB" for size in sizes]


main()
