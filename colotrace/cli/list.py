"""colotrace list: the QEMUs on this host."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from colotrace.cli import printable
from colotrace.errors import ColotraceError, NoColoError
from colotrace.resolve.resolver import resolve
from colotrace.target.discovery import QemuProcess, list_qemus

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
    rows = [_row(qemu) for qemu in list_qemus()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("no QEMU runs on this host, or none that this user may look at", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("PID", "NAME", "QEMU", "COLO", "ROLE"):
        table.add_column(column)
    for row in rows:
        colo = {True: "yes", False: "no", None: f"unknown: {row['problem']}"}[row["colo"]]  # type: ignore[index]
        role = f"{row['role']} ({row['role_evidence']})" if row["role"] else "-"
        cells = (str(row["pid"]), row["name"] or "-", row["qemu_version"] or "-", colo, role)
        table.add_row(*(printable(str(cell)) for cell in cells))
    Console(highlight=False, markup=False, soft_wrap=True).print(table)


def _row(qemu: QemuProcess) -> dict[str, object]:
    row: dict[str, object] = asdict(qemu) | {"qemu_version": None, "build_id": None, "colo": None, "problem": None}
    try:
        plan = resolve(f"/proc/{qemu.pid}/exe")
        row |= {"qemu_version": plan.qemu_version, "build_id": plan.build_id, "colo": True}
    except NoColoError as error:
        row |= {"colo": False, "problem": error.message}
    except ColotraceError as error:
        row |= {"problem": error.message}
    return row
