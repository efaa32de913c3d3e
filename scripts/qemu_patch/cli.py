"""The command line of scripts/patched_qemu: parses, builds, prints paths."""

from __future__ import annotations

import sys

import click

from .build import binary
from .commands import say
from .errors import PatchError
from .variants import CORRECT, VARIANTS, Defect

EPILOG = """\b
Examples:
  A QEMU whose info_checkpoint is right, in the lab:
    scripts/lab --qemu $(scripts/patched_qemu) -- sh -c 'sleep 5; \\
      scripts/colotrace info-checkpoint --pid $COLO_PRIMARY_PID --qmp $COLO_PRIMARY_QMP'
  As the patch was written, mistakes included:
    scripts/patched_qemu faithful
  Both:
    scripts/patched_qemu correct faithful
  Which variants there are, and what is wrong with each:
    scripts/patched_qemu --list

\b
The first build fetches the source of the installed QEMU 7.2, installs what building takes (as root), and needs some
minutes and 400 MB below $COLOTRACE_CACHE/qemu-patched. Another variant takes seconds, the same one again nothing.

\b
Exit code: 0, or
  2 bad request     69 packages or QEMU 7.2 missing
  70 the source cannot be fetched     71 the source is not what the patch expects
  72 QEMU does not build
"""


def listing() -> str:
    """One line for each variant: its name, and what its one defect does or the names of its defects."""
    width = max(map(len, VARIANTS))
    return "\n".join(f"{name:{width}}  {_described(has)}" for name, has in VARIANTS.items())


def _described(defects: frozenset[Defect]) -> str:
    if len(defects) == 1:
        return next(iter(defects)).summary
    return ", ".join(defect.variant for defect in Defect if defect in defects) or "no defects"


@click.command(epilog=EPILOG, context_settings={"max_content_width": 120})
@click.option("--list", "only_list", is_flag=True, help="Print the variants and their defects; build nothing.")
@click.argument("variants", metavar="[VARIANT]...", nargs=-1, type=click.Choice(list(VARIANTS)))
def main(only_list: bool, variants: tuple[str, ...]) -> None:
    """Build the installed QEMU with the info_checkpoint patch in it, as VARIANT (default: correct), and print the path
    of each binary, one a line."""
    if only_list:
        click.echo(listing())
        return
    try:
        for variant in variants or (CORRECT,):
            click.echo(binary(variant))
    except PatchError as error:
        say(f"error: {error}")
        if error.remedy:
            say(f"remedy: {error.remedy}")
        sys.exit(error.exit_code)
