"""colotrace doctor: what stands in the way of attaching, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from colotrace.checkpoint import ProbeCost
from colotrace.cli.console import TextConsole
from colotrace.cli.verdicts import cost_line
from colotrace.diagnosis import Check, Status
from colotrace.doctor import Examination, examine
from colotrace.errors import ColotraceError
from colotrace.text import printable

_EPILOG = """\b
Exit code: 0 if nothing fails, else the one that attach would end with.

\b
Examples:
  colotrace doctor
  sudo colotrace doctor --pid $(pidof -s qemu-system-x86_64)
  sudo colotrace doctor --probe-cost
  sudo colotrace doctor --pid 4711 --json | jq '.host[] | select(.status != "ok")'
"""
_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
_WIDTH_IN_A_FILE = 100


@click.command("doctor", epilog=_EPILOG)
@click.option("--pid", "-p", type=click.IntRange(1), metavar="PID", help="Also look at this process.")
@click.option("--probe-cost", is_flag=True, help="Also measure what a probe's hit costs here, which takes a second.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(pid: int | None, probe_cost: bool, as_json: bool) -> None:
    """Says what works on this host and what stands in the way of attaching, with the remedy.

    These are the checks that attach itself makes, and a self-test: probes on a child of colotrace's own, whose hits
    must be counted to the last one. Nothing is changed, and no privileges are needed to be told what is missing.
    Without --pid no QEMU is looked at.
    """
    examination = examine(pid)
    cost, reason = _measured(examination) if probe_cost else (None, None)
    if as_json:
        measured = {"probe_cost": cost.as_json() if cost else None, "probe_cost_missing": reason} if probe_cost else {}
        click.echo(json.dumps(examination.as_json() | measured, indent=2))
    else:
        console = TextConsole(soft_wrap=False, width=None if sys.stdout.isatty() else _WIDTH_IN_A_FILE)
        console.print(examination_view(examination))
        if probe_cost:
            console.print(cost_line(cost) if cost else f"what a probe's hit costs is not known: {reason}")
    click.get_current_context().exit(examination.exit_code)


def _measured(examination: Examination) -> tuple[ProbeCost | None, str | None]:
    """What a hit costs on this kernel, or why that is not known."""
    if examination.self_test.status is not Status.OK:
        return None, f"self-test: {examination.self_test.found}"
    from colotrace.kernel.cost import measure_probe_cost

    try:
        return measure_probe_cost(), None
    except ColotraceError as error:
        return None, error.message


def examination_view(examination: Examination) -> RenderableType:
    """A table for the host and one for the process, and a sentence at the end."""
    parts: list[RenderableType] = [_table("host", [*examination.host, examination.self_test])]
    if examination.target:
        parts += [Text(), _table(f"process {examination.pid}", examination.target)]
    return Group(*parts, Text(), _verdict(examination))


def _table(title: str, checks: Sequence[Check]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        found = Text(printable(check.found))
        for word, text in (("blocks", check.blocks), ("remedy", check.remedy)):
            if text and check.status is not Status.OK:
                found.append(f"\n{word}: {printable(text)}", style="dim" if word == "blocks" else "")
        table.add_row(check.name, Text(check.status.value, style=_STYLES[check.status]), found)
    return table


def _verdict(examination: Examination) -> Text:
    failed = [check.name for check in examination.checks if check.status is Status.FAIL]
    warned = [check.name for check in examination.checks if check.status is Status.WARN]
    if failed:
        return Text(f"attach would end with exit code {examination.exit_code}: {', '.join(failed)}", style="bold red")
    text = "attach can work here" if examination.pid is None else f"attach can work on process {examination.pid}"
    return Text(f"{text}; worth knowing: {', '.join(warned)}" if warned else text, style="bold")
