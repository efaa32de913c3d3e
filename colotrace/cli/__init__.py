"""The command line: one small file a command; a command parses, calls one function of the library, and renders."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from colotrace import __version__
from colotrace.errors import ColotraceError

_COMMANDS = {
    "attach": "colotrace.cli.attach",
    "info-checkpoint": "colotrace.cli.info_checkpoint",
    "inspect": "colotrace.cli.inspect",
    "list": "colotrace.cli.list",
}
EXIT_CODES = """\b
Exit codes:
  0  done, or ended by Ctrl-C or SIGTERM
  2  wrong usage
  3  the process: not there, not a QEMU, gone, several to choose from
  4  the binary: not ELF, truncated, another architecture, no QEMU, no COLO in it
  5  a probe cannot be placed safely; nothing was armed
  6  a capability is missing
  7  this kernel or installation cannot do it: bcc missing, uprobes off, lockdown
  8  a QMP socket does not answer
  9  fewer checkpoints completed than were asked for
"""


class _Commands(click.Group):
    """Imports a command's file when the command is used, so that --help stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ColotraceError as error:
            print_error(error)
            ctx.exit(error.exit_code)


def print_error(error: ColotraceError) -> None:
    """What is wrong and what to do about it, on standard error."""
    click.echo(f"colotrace: {printable(error.message)}", err=True)
    if error.remedy:
        click.echo(f"  {printable(error.remedy)}", err=True)


def printable(text: str) -> str:
    """Text from outside (names of VMs and files) without control characters, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


@click.command(cls=_Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="colotrace")
def main() -> None:
    """Times every phase of QEMU's COLO checkpoints from outside, in an unmodified, stripped QEMU.

    \b
    Examples:
      colotrace list
      sudo colotrace attach --pid $(pidof qemu-system-x86_64)
      colotrace inspect /usr/bin/qemu-system-x86_64
      sudo colotrace info-checkpoint --pid 4711
    """


if __name__ == "__main__":
    sys.exit(main())
