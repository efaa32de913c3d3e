"""Runs `colotrace check` on real pairs of the patched QEMU, and prints how far apart the two sets of figures are."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from qemu_patch.build import binary
from rich.console import Console
from rich.table import Table

AIM_NS, AIM_SHARE = 5_000, 0.001
"""What a phase's mean should differ by at most: 5 us and a thousandth."""


def run_check(pair: ColoPair, role: str, checkpoints: int) -> dict[str, Any]:
    """One check; its JSON object, with the command's exit code."""
    vm = getattr(pair, role)
    words = ["--pid", vm.pid, "--qmp", vm.qmp_path, "--checkpoints", checkpoints, "--reset", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "colotrace", "check", *map(str, words)], stdout=subprocess.PIPE, text=True, check=False
    )
    record: dict[str, Any] = json.loads(done.stdout)
    return record | {"exit_code": done.returncode}


def mean_difference(field: dict[str, Any]) -> float:
    """A field's difference per checkpoint, in nanoseconds."""
    return float(field["difference"]) / field["checkpoints"]


def row_of(record: dict[str, Any]) -> list[str]:
    """What the table says of a run: the phases furthest apart, the aim, the findings."""
    phases = [f for f in record["fields"] if f["unit"] == "ns" and f["verdict"] in ("agrees", "disturbed")]
    allowed = {f["field"]: AIM_NS + AIM_SHARE * f["kernel"] / f["checkpoints"] for f in phases}
    within = sum(abs(mean_difference(f)) <= allowed[f["field"]] for f in phases)
    furthest = max(phases, key=lambda f: abs(mean_difference(f)) / allowed[f["field"]], default=None)
    shown = ""
    if furthest:
        name, us = furthest["field"].removesuffix("_time"), mean_difference(furthest) / 1000
        shown = f"{name} {us:+.1f} us of {furthest['kernel'] / furthest['checkpoints'] / 1000:,.0f}"
    codes = ", ".join(finding["code"] for finding in record["findings"]) or "none"
    return [f"{within} of {len(phases)}", shown, str(record["exit_code"]), codes]


@click.command()
@click.option("--checkpoints", "-n", default=50, show_default=True, help="Per run.")
@click.option("--dirty-mib", default=8, show_default=True, help="What the guest dirties.")
@click.option("--delay-ms", default=100, show_default=True, help="From one checkpoint to the next.")
@click.argument("variants", nargs=-1)
def main(checkpoints: int, dirty_mib: int, delay_ms: int, variants: tuple[str, ...]) -> None:
    """Checks VARIANTS of the patched QEMU (correct and faithful, unless named) over each transport, in both roles.

    \b
    Example:
      scripts/crosscheck --checkpoints 200 correct
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("variant", "over", "role", "in the aim", "furthest apart", "exit", "findings"):
        table.add_column(column)
    for variant in variants or ("correct", "faithful"):
        for transport in ("unix", "tcp"):
            settings = Settings(qemu=str(binary(variant)), transport=transport, dirty_mib=dirty_mib, delay_ms=delay_ms)
            with ColoPair(settings) as pair:
                for role in ("primary", "secondary"):
                    click.echo(f"{variant} over {transport}: the {role}", err=True)
                    table.add_row(variant, transport, role, *row_of(run_check(pair, role, checkpoints)))
                if trouble := pair.trouble():
                    raise click.ClickException("; ".join(trouble))
    Console(highlight=False, width=None if sys.stdout.isatty() else 118).print(table)


if __name__ == "__main__":
    main()
