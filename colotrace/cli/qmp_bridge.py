"""colotrace qmp-bridge: QEMU's monitor for many clients, with the seed's two commands, in front of any QEMU."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from colotrace.checkpoint import Checkpoint, Event
from colotrace.cli import hush
from colotrace.cli.options import ONE_PID, SEED_COMPATIBLE
from colotrace.cli.tables import title
from colotrace.recording import lines
from colotrace.recording.facts import run_facts
from colotrace.sentences import as_note
from colotrace.target.discovery import only_qemu
from colotrace.text import printable

if TYPE_CHECKING:
    from colotrace.arming import AttachedTarget
    from colotrace.qmp.bridging import Outcome

_EPILOG = """\b
Examples:
  sudo colotrace qmp-bridge --pid 4711 --qmp /run/vm/qmp.sock --listen /run/vm/bridge.sock
  sudo colotrace qmp-bridge --qmp /run/vm/qmp.sock --listen /run/vm/bridge.sock --json --verbose
"""
_CLIENTS = ("client-came", "client-left")


@click.command("qmp-bridge", epilog=_EPILOG)
@ONE_PID
@click.option(
    "--qmp", required=True, metavar="SOCKET", type=click.Path(),
    help="A QMP socket of that QEMU that nobody else uses.",
)  # fmt: skip
@click.option(
    "--listen", required=True, metavar="PATH", type=click.Path(),
    help="Where to listen; the socket is there once the probes are armed, and is for its owner only.",
)  # fmt: skip
@click.option("--override", is_flag=True, help="Answer the two commands from the kernel even if QEMU has them itself.")
@SEED_COMPATIBLE
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: attached, listening, note, ..., summary.")
@click.option("--verbose", "-v", is_flag=True, help="Tell of clients that come and go.")
def command(
    pid: int | None, qmp: str, listen: str, override: bool, seed_compatible: bool, as_json: bool, verbose: bool
) -> None:
    """Adds info_checkpoint and reset_checkpoint to the QMP monitor of an unmodified QEMU.

    Clients connect to PATH instead of to QEMU, several at once, and see QEMU's own monitor with two commands more,
    which are answered from the kernel's totals. Everything else goes through as it is, events included. If the bridge
    dies, QEMU goes on.
    """
    from colotrace.cli.dropping import give_up
    from colotrace.qmp.bridging import Settings, run

    reporter = _Reporter(as_json, verbose)
    folder = os.path.dirname(listen) or "."
    outcome = run(
        Settings(pid or only_qemu(), qmp, listen, override, seed_compatible),
        reporter,
        lambda session: give_up(session, folder),
    )
    reporter.sum_up(outcome)
    if outcome.error:
        raise outcome.error


class _Reporter:
    """Sentences on standard error, or JSON lines on standard output."""

    def __init__(self, as_json: bool, verbose: bool) -> None:
        self._as_json, self._verbose = as_json, verbose
        self._facts = run_facts()

    def armed(self, target: AttachedTarget) -> None:
        """Says what is armed."""
        plan = target.plan
        text = f"{title(target.name, target.pid)}: QEMU {plan.qemu_version}, {len(target.probes)} probes armed"
        self._say(text, lines.attached_json(target, self._facts))

    def happened(self, event: Event) -> None:
        """Tells what the session notes; checkpoints are only counted."""
        if not isinstance(event, Checkpoint):
            self._say(f"note: {as_note(event).message}", lines.event_json(event))

    def tell(self, word: str, text: str, details: dict[str, object]) -> None:
        """Tells of the bridge's own doings."""
        if self._verbose or word not in _CLIENTS:
            self._say(text, {"type": word, "message": text, **details})

    def sum_up(self, outcome: Outcome) -> None:
        """Says what the run has done."""
        counts = outcome.counts
        parts = [] if outcome.checkpoints is None else [f"{outcome.checkpoints} checkpoints"]
        parts += [f"{counts.clients} clients", f"{counts.commands} commands, {counts.answered} of them answered here"]
        parts += [f"{counts.events} events"]
        self._say("; ".join(parts), {"type": "summary", "checkpoints": outcome.checkpoints, **asdict(counts)})

    def _say(self, text: str, line: dict[str, object]) -> None:
        try:
            if self._as_json:
                click.echo(lines.json_line(line))
            if not self._as_json or line["type"] == "client-dropped":
                click.echo(f"colotrace: {printable(text)}", err=True)
        except BrokenPipeError:
            hush()  # whoever read has gone; the clients have not
