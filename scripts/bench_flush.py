"""Splits the secondary's load at the marks of its cache's flush; see scripts/bench_flush."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import click
from colo_lab.pair import ColoPair
from colo_lab.settings import DEFAULT_QEMU, Settings
from rich.console import Console
from rich.table import Table

import colotrace
from colotrace.checkpoint import Checkpoint
from colotrace.phases import Mark, Phase, Role
from colotrace.units import time_text

PARTS = ("lock", "flush", "device state", "start")
"""Of load: waiting for the big lock; colo_flush_ram_cache(); qemu_load_device_state() and what follows, up to
vm_start(); and from that on, up to LOADED's having been sent."""


def parts(checkpoint: Checkpoint) -> Mapping[str, int]:
    """Nanoseconds of load by PARTS, and `load`: its end is the transaction's. KeyError for a mark that was not set."""
    marks, load = checkpoint.marks_ns, checkpoint.phase_ns[Phase.LOAD]
    assert checkpoint.begin_ns is not None and checkpoint.total_ns is not None
    end = checkpoint.begin_ns + checkpoint.total_ns
    moments = [end - load, *(marks[mark] for mark in (Mark.CACHE_FLUSH, Mark.CACHE_FLUSHED, Mark.VM_START)), end]
    lengths = (after - before for before, after in pairwise(moments))
    return {"load": load, **dict(zip(PARTS, lengths, strict=True))}


def measured(settings: Settings, checkpoints: int) -> list[Mapping[str, int]]:
    """The parts of that many loads of a pair's secondary."""
    found: list[Mapping[str, int]] = []
    with ColoPair(settings) as pair, colotrace.attach(pair.secondary.pid) as session:
        for event in session:
            if isinstance(event, Checkpoint) and event.role is Role.SECONDARY and event.completed:
                found.append(parts(event))
                if len(found) == checkpoints:
                    return found
    raise click.ClickException(f"only {len(found)} checkpoints were seen")


def row(dirty_mib: int, loads: list[Mapping[str, int]]) -> list[str]:
    """Medians; and all flushes' share of all loads."""
    medians = {part: statistics.median(one[part] for one in loads) for part in ("load", *PARTS)}
    share = sum(one["flush"] for one in loads) / sum(one["load"] for one in loads)
    return [str(dirty_mib), *map(time_text, medians.values()), f"{share:.1%}"]


@click.command()
@click.option("--checkpoints", default=50, show_default=True, help="How many of each pair.")
@click.option("--qemu", default=DEFAULT_QEMU, show_default=True, help="In the chroot, if there is one.")
@click.option(
    "--chroot", type=click.Path(exists=True, file_okay=False, path_type=Path), help="As scripts/chroot prints."
)
@click.argument("dirty_mib", nargs=-1, type=int)
def main(checkpoints: int, qemu: str, chroot: Path | None, dirty_mib: tuple[int, ...]) -> None:
    """Medians of the parts of the secondary's load over unix sockets, for guests that dirty DIRTY_MIB (1, 8 and 32).

    lock: waiting for the big lock (11.1: and resetting the machine). flush: colo_flush_ram_cache(). device state:
    loading it, up to vm_start(). start: vm_start() and sending VMSTATE_LOADED. share: of all flushes in all loads.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("MiB dirtied", "load", *PARTS, "share"):
        table.add_column(column, justify="right")
    for mib in dirty_mib or (1, 8, 32):
        click.echo(f"{mib} MiB", err=True)
        settings = Settings(dirty_mib=mib, delay_ms=200, qemu=qemu, chroot=chroot)
        table.add_row(*row(mib, measured(settings, checkpoints)))
    console = Console(highlight=False, width=128)
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    console.print(f"# {checkpoints} checkpoints each, medians; {os.cpu_count()} CPUs, load average {load}")
    console.print(table)


if __name__ == "__main__":
    main()
