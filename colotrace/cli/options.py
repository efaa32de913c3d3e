"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from colotrace.resolve.nameoptions import NameOptions

PIDS = click.option(
    "--pid", "-p", "pids", type=click.IntRange(1), multiple=True, metavar="PID",
    help="A QEMU's process; may be given several times, and further pids may follow it. Default: the only QEMU here.",
)  # fmt: skip
ONE_PID = click.option(
    "--pid", "-p", type=click.IntRange(1), metavar="PID", help="The QEMU's process. Default: the only QEMU here."
)
DURATION = click.option(
    "--duration", "-d", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after S seconds."
)
MORE_PIDS = click.argument("more_pids", nargs=-1, type=click.IntRange(1), metavar="[PID]...")
QMP = click.option(
    "--qmp", metavar="SOCKET", type=click.Path(),
    help="A QMP socket of that QEMU that nobody else uses; adds query-migrate's answer as `info`.",
)  # fmt: skip
SEED_COMPATIBLE = click.option(
    "--seed-compatible", is_flag=True,
    help="In info_checkpoint, give 0 instead of null for a phase that the role has not, as the seed's patch does.",
)  # fmt: skip

DEBUG_FILE = click.option(
    "--debug-file", metavar="FILE", type=click.Path(),
    help="Take names from FILE, the binary's separate debug symbols; its build-id must be the binary's.",
)  # fmt: skip
DEBUGINFOD = click.option(
    "--debuginfod", is_flag=True,
    help="Where this host has no debug symbols, fetch them from the servers in $DEBUGINFOD_URLS.",
)  # fmt: skip


def name_options(debug_file: str | None, debuginfod: bool) -> NameOptions:
    """What --debug-file and --debuginfod mean."""
    if not debuginfod:
        return NameOptions(debug_file)
    from colotrace.debuginfod import fetch  # an HTTP client, which nobody else needs

    return NameOptions(debug_file, fetch)


def names_asked_for(function: Callable[..., Any]) -> Callable[..., Any]:
    """--debug-file and --debuginfod."""
    return DEBUG_FILE(DEBUGINFOD(function))


def pids_given(function: Callable[..., Any]) -> Callable[..., Any]:
    """--pid PID [PID]..., so that --pid $(pidof qemu-system-x86_64) works whatever it expands to."""
    return PIDS(MORE_PIDS(function))
