"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

PIDS = click.option(
    "--pid", "-p", "pids", type=click.IntRange(1), multiple=True, metavar="PID",
    help="A QEMU's process; may be given several times, and further pids may follow it. Default: the only QEMU here.",
)  # fmt: skip
MORE_PIDS = click.argument("more_pids", nargs=-1, type=click.IntRange(1), metavar="[PID]...")
QMP = click.option(
    "--qmp", metavar="SOCKET", type=click.Path(),
    help="A QMP socket of that QEMU that nobody else uses; adds query-migrate's answer as `info`.",
)  # fmt: skip
SEED_COMPATIBLE = click.option(
    "--seed-compatible", is_flag=True,
    help="In info_checkpoint, give 0 instead of null for a phase that the role has not, as the seed's patch does.",
)  # fmt: skip


def pids_given(function: Callable[..., Any]) -> Callable[..., Any]:
    """--pid PID [PID]..., so that --pid $(pidof qemu-system-x86_64) works whatever it expands to."""
    return PIDS(MORE_PIDS(function))
