"""attach --dry-run: what would be armed, as a table or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterable

import click
from rich.console import Console
from rich.text import Text

from colotrace.cli.console import TextConsole
from colotrace.cli.tables import title
from colotrace.phases import Role
from colotrace.recording.lines import json_line
from colotrace.rehearsal import Rehearsal, how_often
from colotrace.resolve.plan import Probe
from colotrace.text import printable

_SCHEMA_VERSION = 1


def show(rehearsals: Iterable[Rehearsal], as_json: bool) -> None:
    """Prints one object, or one table, a process."""
    console = TextConsole(soft_wrap=True)
    for rehearsal in rehearsals:
        if as_json:
            click.echo(json_line({"type": "dry-run", "schema_version": _SCHEMA_VERSION, **rehearsal.as_json()}))
        else:
            _print(console, rehearsal)


def _print(console: Console, rehearsal: Rehearsal) -> None:
    plan = rehearsal.plan
    console.print(Text(f"{title(rehearsal.name, rehearsal.pid)}: QEMU {printable(plan.qemu_version)}", style="bold"))
    confined = f"only process {rehearsal.pid_filter}" if rehearsal.pid_filter else "every process of this file"
    console.print(
        f"would arm {len(plan.probes)} probes on {printable(rehearsal.exe)} (/proc/{rehearsal.pid}/exe, build-id "
        f"{plan.build_id}) by one uprobe_multi link, which {confined} would hit"
    )
    for role in Role:
        console.print(
            Text(f"\n{role.value}: {rehearsal.hits_per_checkpoint(role)} hits a checkpoint expected", style="bold")
        )
        _print_probes(console, plan.roles[role].probes)
    if plan.process_probes:
        console.print(Text("\nboth roles", style="bold"))
        _print_probes(console, plan.process_probes)
    for note in rehearsal.notes:
        console.print(Text(f"note: {printable(note.message)}", style="yellow"))
    console.print("\nNothing was armed.")


def _print_probes(console: Console, probes: Iterable[Probe]) -> None:
    for probe in probes:
        line = Text(f"  {probe.boundary.name:<18}", style="bold")
        line.append(f"{probe.file_offset:#010x}  {printable(probe.instruction)}  ", style="not bold")
        line.append("emulated" if probe.emulated else "single-stepped", style="green" if probe.emulated else "yellow")
        line.append(f"  {how_often(probe.boundary)}", style="not bold dim")
        console.print(line)
