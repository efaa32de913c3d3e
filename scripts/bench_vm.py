"""Measures what tracing costs the VM; see scripts/bench_vm."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import click
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from colo_target.target import ColoTarget
from rich.console import Console
from rich.table import Table
from rivals.run import running
from rivals.tools import COLOTRACE, FUNCTIONS, TOOLS, Tool

from colotrace.kernel.cost import measure_probe_cost

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "real"))

from support import QmpWitness, wait_for


def installed() -> list[Tool]:
    """The tools that can be run here; says which cannot."""
    for tool in TOOLS:
        if tool.missing:
            click.echo(f"{tool.name} is not here (package {tool.missing}) and is left out", err=True)
    return [tool for tool in TOOLS if not tool.missing]


def rounds_on_target(tools: list[Tool], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Tool -> nanoseconds that it adds to a checkpoint, a figure a round; tools and nothing take turns."""
    added: dict[str, list[float]] = {tool.name: [] for tool in tools}
    with ColoTarget("primary", 0) as target:
        target.go()
        for number in range(rounds):
            for tool in tools:
                before = pace(target, seconds / 2)
                with running(tool, target.pid):
                    traced = pace(target, seconds)
                bare = statistics.mean((before, pace(target, seconds / 2)))
                added[tool.name].append(traced - bare)
                click.echo(f"round {number + 1} of {rounds}: {tool.name} +{traced - bare:,.0f} ns", err=True)
    return added


def pace(target: ColoTarget, seconds: float) -> float:
    """Nanoseconds per checkpoint now, by the target's own count."""
    first, began = target.counts()["completed"], time.monotonic_ns()
    time.sleep(seconds)
    last, ended = target.counts()["completed"], time.monotonic_ns()
    return float((ended - began) / (last - first))


def on_target(tools: list[Tool], rounds: int, seconds: float) -> Table:
    """The table for a target that does nothing but pass COLO's boundaries."""
    added = rounds_on_target(tools, rounds, seconds)
    own = statistics.median(added[COLOTRACE.name])
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("tool", "times", "added per checkpoint", "rounds", "colotrace / it"):
        table.add_column(column, justify="left" if column in ("tool", "times") else "right")
    for tool in tools:
        each = added[tool.name]
        median = statistics.median(each)
        spread = f"{min(each) / 1000:.1f} to {max(each) / 1000:.1f}"
        table.add_row(tool.name, tool.times, f"{median / 1000:.1f} us", spread, f"{own / median:.2f}")
    return table


def on_pair(tools: list[Tool], rounds: int, checkpoints: int) -> Table:
    """The table for a real pair: pauses from QMP's STOP to its RESUME, by turns with and without each tool."""
    with ColoPair(Settings(dirty_mib=8, delay_ms=60, transport="unix")) as pair:
        turns: dict[str, list[float]] = {"nothing": []} | {tool.name: [] for tool in tools}
        for number in range(rounds):
            for tool in (None, *tools):
                name = tool.name if tool else "nothing"
                with running(tool, pair.primary.pid) if tool else nullcontext():
                    turns[name].append(statistics.median(observed(pair, checkpoints)))
                click.echo(f"turn {number + 1} of {rounds}: {name} {turns[name][-1] / 1000:,.0f} us", err=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("tool", "median pause", "turns", "to nothing"):
        table.add_column(column, justify="left" if column == "tool" else "right")
    bare = statistics.median(turns["nothing"])
    for name, medians in turns.items():
        middle = statistics.median(medians)
        table.add_row(
            name, f"{middle / 1e6:.2f} ms", f"{min(medians) / 1e6:.2f} to {max(medians) / 1e6:.2f}",
            f"{middle / bare:.3f}",
        )  # fmt: skip
    return table


def observed(pair: ColoPair, checkpoints: int) -> Iterator[float]:
    """The primary's pauses as its QMP tells them, nanoseconds."""
    with QmpWitness(pair.primary.qmp_path) as witness:
        wait_for(f"{checkpoints} checkpoints", lambda: len(witness.times("RESUME")) > checkpoints or None)
    events = [(name, when) for name, when in witness.events if name in ("STOP", "RESUME")]
    for (name, stopped), (_, resumed) in pairwise(events):
        if name == "STOP":
            yield float(resumed - stopped)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each tool has its turn.")
@click.option("--seconds", default=1.0, show_default=True, help="How long each turn on the synthetic target is.")
@click.option("--checkpoints", default=40, show_default=True, help="How many each turn on the real pair sees.")
def main(rounds: int, seconds: float, checkpoints: int) -> None:
    """What tracing adds to a checkpoint: on a target that only passes COLO's boundaries, and on a real pair.

    The target counts its own checkpoints; on the pair, QMP's events are the witness. Each tool's turn on the target
    stands between two turns of nothing, in the same run.
    """
    tools = installed()
    console = Console(highlight=False, width=128)
    cost = measure_probe_cost()
    console.print(
        f"a hit here: emulated {cost.emulated.warm_ns} ns in a loop, {cost.emulated.cold_ns} ns with cold caches; "
        f"stepped {cost.stepped.warm_ns} and {cost.stepped.cold_ns} ns"
    )
    console.print(on_target(tools, rounds, seconds))
    console.print(
        f"\nA real pair (Debian's QEMU, 8 MiB dirtied, a unix socket), {rounds} turns of {checkpoints} checkpoints:"
    )
    console.print(on_pair([t for t in tools if t.sites == "plan" or t.name == "bpftrace"], rounds, checkpoints))
    console.print(
        f"load average {', '.join(f'{one:.1f}' for one in os.getloadavg())}; functions timed by the others: "
        f"{', '.join(FUNCTIONS.values())}"
    )


main()
