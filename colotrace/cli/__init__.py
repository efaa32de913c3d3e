"""The command line: one small file a command; a command parses, calls one function of the library, and renders."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from colotrace import __version__
from colotrace.errors import ColotraceError, OutputError
from colotrace.text import printable

_COMMANDS = {
    "attach": "colotrace.cli.attach",
    "audit": "colotrace.cli.audit",
    "check": "colotrace.cli.check",
    "compare": "colotrace.cli.compare",
    "convert": "colotrace.cli.convert",
    "doctor": "colotrace.cli.doctor",
    "info-checkpoint": "colotrace.cli.info_checkpoint",
    "inspect": "colotrace.cli.inspect",
    "list": "colotrace.cli.list",
    "merge": "colotrace.cli.merge",
    "qmp-bridge": "colotrace.cli.qmp_bridge",
    "report": "colotrace.cli.report",
    "remedy": "colotrace.cli.remedy",
}
_INTERRUPTED = 130
"""What a shell says of a command that SIGINT has ended."""
EXIT_CODES = """\b
Exit codes:
  0  done, or ended by Ctrl-C or SIGTERM
  1  check and audit: something is wrong with the patch's figures; compare --fail-if-slower: B is slower
  2  wrong usage
  3  the process: not there, not a QEMU, gone, several to choose from
  4  the binary: not ELF, truncated, another architecture, no QEMU, no COLO in it
  5  a probe cannot be placed safely; nothing was armed
  6  a capability is missing
  7  this kernel or installation cannot do it: bcc missing, uprobes off, lockdown
  8  a QMP socket does not answer
  9  fewer checkpoints completed than were asked for
  10 a file, or standard output, cannot be written
  11 a file cannot be read, or is not what it should be
  70 an error of colotrace itself; please report it
  130 Ctrl-C before there was anything to sum up
"""


class _Commands(click.Group):
    """Imports a command's file when the command is used, so that --help stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]  # in this package `list` is a command's module

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        _open_standard_streams()
        try:
            return super().invoke(ctx)
        except ColotraceError as error:
            print_error(error)
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # the reader has had enough (| head): no error of ours, and nothing more to say
            hush()
            ctx.exit(0)
        except OSError as error:
            print_error(OutputError(f"cannot write: {error.strerror or error}", "Is the disk full?"))
            hush()
            ctx.exit(OutputError.exit_code)
        except (KeyboardInterrupt, click.Abort):  # before or after the part of a run that ends with a summary
            click.echo("colotrace: interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except Exception:  # Python's own exit code for these would be 1, which means findings
            for line in traceback.format_exc().splitlines():
                click.echo(printable(line), err=True)
            ctx.exit(ColotraceError.exit_code)


def hush() -> None:
    """Sends what is still to be printed to nowhere: standard output cannot take it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _open_standard_streams() -> None:
    """Puts /dev/null where a caller has closed descriptors 0 to 2, as C programs do, before another file takes them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def print_error(error: ColotraceError) -> None:
    """What is wrong, on one line of standard error, and what to do about it.

    A message names what others have named, so that a line's end in it is shown, not made; remedies are our own words.
    """
    click.echo(f"colotrace: {printable(error.message)}", err=True)
    for line in (error.remedy or "").splitlines():
        click.echo(f"  {printable(line)}", err=True)


@click.command(cls=_Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="colotrace")
def main() -> None:
    """Times every phase of QEMU's COLO checkpoints from outside, in an unmodified, stripped QEMU.

    \b
    Examples:
      colotrace list
      sudo colotrace doctor
      sudo colotrace attach --pid $(pidof qemu-system-x86_64)
      colotrace inspect /usr/bin/qemu-system-x86_64
      sudo colotrace info-checkpoint --pid 4711
      sudo colotrace qmp-bridge --pid 4711 --qmp /run/vm/qmp.sock --listen /run/vm/bridge.sock
      sudo colotrace check --pid 4711 --qmp /run/vm/qmp.sock
      colotrace audit capture.txt
      colotrace report run.parquet
      colotrace compare before.parquet after.parquet
      colotrace convert run.parquet run.csv
      colotrace merge primary.parquet secondary.parquet
      sudo colotrace remedy nodelay --pid 4711
    """


if __name__ == "__main__":
    sys.exit(main())
