"""colotrace inspect: what would be probed in a binary, and why. Touches no process."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.text import Text

from colotrace.cli.console import TextConsole
from colotrace.cli.options import name_options, names_asked_for
from colotrace.errors import NoColoError
from colotrace.resolve.plan import Probe, ProbePlan, Quality, RolePlan
from colotrace.resolve.resolver import resolve
from colotrace.target.process import Process
from colotrace.text import printable

_EPILOG = """\b
Examples:
  colotrace inspect /usr/bin/qemu-system-x86_64
  colotrace inspect --pid 4711 --json | jq .roles.primary.phases
  colotrace inspect --debug-file qemu-system-x86_64.debug ./qemu-system-x86_64
"""
_STYLES = {Quality.EXACT: "green", Quality.PARTIAL: "yellow", None: "red"}


@click.command("inspect", epilog=_EPILOG)
@click.argument("path", required=False, type=click.Path())
@click.option("--pid", "-p", type=click.IntRange(1), metavar="PID", help="The binary that this process runs.")
@names_asked_for
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(path: str | None, pid: int | None, as_json: bool, debug_file: str | None, debuginfod: bool) -> None:
    """Prints the probe plan for a QEMU binary: each boundary's address, instruction, and the evidence for it.

    Needs no privileges for a file, and runs nothing of it.
    """
    if (path is None) == (pid is None):
        raise click.UsageError("give either a PATH or --pid PID")
    try:
        plan = resolve(
            path if path is not None else Process(pid or 0).exe, options=name_options(debug_file, debuginfod)
        )
    except NoColoError as error:
        if as_json:
            click.echo(json.dumps(error.facts | {"error": error.message}, indent=2))
        raise
    if as_json:
        click.echo(json.dumps(plan.as_json(), indent=2))
    else:
        _print(plan)


def _print(plan: ProbePlan) -> None:
    console = TextConsole(soft_wrap=True)
    where = f"{plan.path}: QEMU {plan.qemu_version}, {plan.machine}, build-id {plan.build_id}"
    console.print(printable(where))
    console.print(printable(f"names from {', '.join(plan.sources)}; message numbers {plan.message_numbers}"))
    for role in plan.roles.values():
        _print_role(console, role)
    if plan.process_probes:
        console.print(Text("\nboth roles", style="bold"))
        _print_probes(console, plan.process_probes)
    console.print(f"\nRAM counters: {printable(plan.ram_counters.evidence)}")
    for trigger, reason in plan.triggers.reasons.items():
        console.print(f"not heard asking for checkpoints: {trigger.value}: {printable(reason)}")
    inferred = [known for known in plan.names if known.evidence]
    if inferred:
        console.print(Text("\nnames that no table of symbols has", style="bold"))
    for known in inferred:
        console.print(Text(printable(f"  {known.name} {known.address:#x}: {known.evidence}"), style="dim"))
    for item in plan.unresolved:
        where = f"{item.role.value}: " if item.role else ""
        console.print(Text(printable(f"unresolved: {where}{item.what}: {item.reason}"), style="yellow"))


def _print_role(console: Console, role: RolePlan) -> None:
    line = Text(f"\n{role.role.value}", style="bold")
    line.append(printable(f"  in {role.function}:  "), style="")
    for phase, quality in role.phases.items():
        line.append(f"{phase.value} ", style="")
        line.append(f"{quality.value if quality else 'none'}  ", style=_STYLES[quality])
    console.print(line)
    if role.meanings:
        console.print(Text(printable(f"  found {role.found_by}"), style="dim"))
        told = "; ".join(f"{subject}: {where}" for subject, where in role.meanings.items())
        console.print(Text(printable(f"  {told}"), style="dim"))
    if role.probes:
        console.print(Text(f"  {_witness(role)}", style="yellow" if role.witness.contradicted else "dim"))
    _print_probes(console, role.probes)


def _witness(role: RolePlan) -> str:
    """What the second witness says, in a line."""
    witness = role.witness
    if witness.reason:
        return f"no second witness: {printable(witness.source)}: {printable(witness.reason)}"
    agreed, judged = len(witness.agreed), len(witness.agreed) + len(witness.contradicted)
    return f"second witness: {printable(witness.source)} has {agreed} of {judged} boundaries in the right functions"


def _print_probes(console: Console, probes: tuple[Probe, ...]) -> None:
    """Two lines a probe: what and where, then why."""
    for probe in probes:
        line = Text(f"  {probe.boundary.name:<18}", style="bold")
        where = f"{probe.address:#x} (file {probe.file_offset:#x})  {probe.instruction}  "
        line.append(printable(where), style="not bold")
        line.append("emulated" if probe.emulated else "single-stepped", style="green" if probe.emulated else "yellow")
        console.print(line)
        console.print(Text(f"{'':20}{printable(probe.evidence)}", style="dim"))
