"""Prints the primary's phases of recordings side by side: side_by_side.py NAME=FILE NAME=FILE ...

The files are what attach --output wrote. Medians over the completed checkpoints, because the first one after
COLO begins loads the whole RAM and would dominate a mean of few.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from colotrace.phases import PHASES, Phase
from colotrace.units import time_text

ROWS = [f"{phase.value}_ns" for phase in PHASES if phase is not Phase.INIT] + ["other_ns", "total_ns", "pause_ns"]
STALL_NS = 35_000_000
"""A delayed ACK takes 40 ms (TCP_DELACK_MIN, include/net/tcp.h); anything near it is one."""


def completed(path: str) -> list[dict[str, Any]]:
    """The primary's completed checkpoints in a file of JSON lines."""
    records = [json.loads(line) for line in Path(path).read_text("ascii").splitlines()]
    return [r for r in records if r["type"] == "checkpoint" and r["role"] == "primary" and r["outcome"] == "completed"]


def main() -> None:
    """Prints the table, and how often the two waits for the secondary lasted as long as a delayed ACK."""
    runs = {name: completed(path) for name, _, path in (one.partition("=") for one in sys.argv[1:])}
    console = Console(highlight=False)
    console.print("primary, median per checkpoint:")
    table = Table(box=None, header_style="bold")
    table.add_column("phase")
    for name in runs:
        table.add_column(name, justify="right")
    for row in ROWS:
        table.add_row(
            row.removesuffix("_ns"), *(time_text(statistics.median(r[row] for r in run)) for run in runs.values())
        )
    console.print(table)
    for name, run in runs.items():
        slow = {wait: sum(record[wait] > STALL_NS for record in run) for wait in ("recv_ns", "load_ns")}
        console.print(
            f"{name}: of {len(run)} checkpoints, {slow['recv_ns']} waited over {time_text(STALL_NS)} in recv "
            f"and {slow['load_ns']} in load"
        )


main()
