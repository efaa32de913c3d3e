"""colotrace list: the QEMUs on this host."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table

from colotrace.cli.console import TextConsole
from colotrace.errors import ColotraceError, NoColoError
from colotrace.plancache import plan_for
from colotrace.target.discovery import QemuProcess, list_qemus
from colotrace.target.process import Process
from colotrace.text import printable

_EPILOG = """\b
Examples:
  colotrace list
  sudo colotrace list --json
"""


@click.command("list", epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(as_json: bool) -> None:
    """Lists the QEMUs on this host: pid, VM name, version, whether COLO is built in, and the role if it can be told.

    Reading another user's process needs CAP_SYS_PTRACE; what may not be read is shown as unknown.
    """
    binaries: dict[tuple[int, int], _Row] = {}
    rows = [asdict(qemu) | _binary(qemu, binaries) for qemu in list_qemus()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("no QEMU runs on this host", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("PID", "NAME", "QEMU", "COLO", "ROLE"):
        table.add_column(column)
    for row in rows:
        version = str(row["qemu_version"] or "-").partition(" ")[0]
        colo = {True: "yes", False: "no"}.get(row["colo"], f"unknown: {row['problem']}")
        role = f"{row['role']} ({row['role_evidence']})" if row["role"] else "-"
        table.add_row(*(printable(str(cell)) for cell in (row["pid"], row["name"] or "-", version, colo, role)))
    TextConsole(soft_wrap=True).print(table)


_Row = dict[str, object]


def _binary(qemu: QemuProcess, known: dict[tuple[int, int], _Row]) -> _Row:
    """What its binary tells; each file is looked at once."""
    row: _Row = {"qemu_version": None, "build_id": None, "colo": None, "problem": None}
    try:
        file = Process(qemu.pid).identity
        if (file.device, file.inode) in known:
            return known[file.device, file.inode]
        known[file.device, file.inode] = row
        plan = plan_for(f"/proc/{qemu.pid}/exe", qemu.exe)
        row |= {"qemu_version": plan.qemu_version, "build_id": plan.build_id, "colo": True}
    except NoColoError as error:
        row |= {"colo": False, "problem": error.message}
    except ColotraceError as error:
        row |= {"problem": error.message}
    return row
