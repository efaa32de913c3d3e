"""colotrace audit: judges pasted answers of info_checkpoint, with no QEMU and no tracer."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

import click

from colotrace.cli import print_error
from colotrace.cli.console import TextConsole
from colotrace.cli.verdicts import audit_view
from colotrace.crosscheck.audit import audit
from colotrace.crosscheck.capture import LARGEST_BYTES, Capture, captures
from colotrace.errors import InputError
from colotrace.recording.lines import json_line

_EPILOG = """\b
Exit code: 0 nothing wrong, 1 findings, 11 a file that cannot be read or holds no answer.

\b
Examples:
  colotrace audit capture.txt
  echo '{"execute": "info_checkpoint"}' | qmp-shell /run/qmp.sock | colotrace audit -
  colotrace audit --json results.jsonl
"""


@click.command("audit", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(files: tuple[str, ...], as_json: bool) -> None:
    """Says what is wrong with answers of info_checkpoint, from the answers alone.

    FILE holds QMP output as it was captured from a socket or a monitor: one answer or many, greetings and events among
    them, a cut-off end; `-` is standard input. A file of JSON lines may hold such text under `raw`, with `vcpus` and
    other words about it; query-cpus-fast's answer in the same capture tells the vCPUs as well.
    """
    found: list[Capture] = []
    trouble: list[InputError] = []
    for name in files:
        try:
            found += _captures(name)
        except InputError as error:
            trouble.append(error)  # the others are still judged
    if not found:
        raise trouble[0]
    judged = audit(found)
    if as_json:
        click.echo(json_line(judged.as_json()))
    else:
        TextConsole().print(audit_view(judged))
    for other in trouble[1:]:
        print_error(other)
    if trouble:
        raise trouble[0]
    if judged.findings:
        click.get_current_context().exit(1)


def _captures(name: str) -> list[Capture]:
    """The answers in a file; InputError if there are none."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(LARGEST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{name} is larger than {LARGEST_BYTES >> 20} MiB", "Cut out the answers of info_checkpoint.")
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    found = captures(data.decode(encoding, "replace"), name)
    if not found:
        raise InputError(
            f"{name} holds no answer of info_checkpoint", "An answer is an object with tot_time, tot_num and so on."
        )
    return found
