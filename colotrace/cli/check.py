"""colotrace check: holds a patched QEMU's info_checkpoint against the kernel's figures."""

from __future__ import annotations

import sys

import click
from rich.console import Group

from colotrace.checking import Checker, CheckResult, open_patched
from colotrace.checkpoint import Checkpoint, Event
from colotrace.cli.armed import ARMED_FILE, ArmedFile
from colotrace.cli.console import TextConsole
from colotrace.cli.dropping import give_up
from colotrace.cli.options import DURATION, ONE_PID
from colotrace.cli.series import RoleSeries
from colotrace.cli.stopping import Stopper
from colotrace.cli.tables import summary_view, title
from colotrace.cli.verdicts import check_table, cost_line, findings_view, reasons
from colotrace.errors import ColotraceError, NothingSeenError
from colotrace.kernel.cost import measure_probe_cost
from colotrace.phases import Role
from colotrace.recording.lines import json_line
from colotrace.sentences import as_note
from colotrace.session import attach
from colotrace.summary import TargetSummary
from colotrace.target.discovery import only_qemu
from colotrace.text import printable

_EPILOG = """\b
Exit code: 0 all that was compared agrees, 1 findings; others as `colotrace --help` says.

\b
Examples:
  sudo colotrace check --pid 4711 --qmp /run/vm/qmp.sock
  sudo colotrace check --pid 4711 --qmp /run/vm/qmp.sock --checkpoints 200 --json
  sudo colotrace check --pid 4711 --qmp /run/vm/qmp.sock --reset
"""


@click.command("check", epilog=_EPILOG)
@ONE_PID
@click.option(
    "--qmp", metavar="SOCKET", type=click.Path(), required=True, help="Its QMP socket; nobody else may be using it."
)
@click.option(
    "--checkpoints", "-n", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="Over how many."
)
@DURATION
@click.option(
    "--reset", is_flag=True,
    help="At the end call reset_checkpoint and see what it leaves. The patch's figures so far are gone then.",
)  # fmt: skip
@ARMED_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    pid: int | None,
    qmp: str,
    checkpoints: int,
    duration: float | None,
    reset: bool,
    armed_file: str | None,
    as_json: bool,
) -> None:
    """Says which fields of a patched QEMU's info_checkpoint are wrong, by how much and why.

    Both count the same checkpoints: the patch is asked between them, never before the first one has completed and never
    while one is under way. Differences are judged by a bound that is derived beforehand: what truncated averages leave
    open, and what the probes cost, measured on this machine.
    """
    armed = ArmedFile(armed_file)
    pid = pid or only_qemu()
    with open_patched(qmp, pid) as connection:
        _say("measuring what a probe costs on this machine")
        cost = measure_probe_cost()
        with Stopper(duration) as stopper, attach(pid) as session:
            run = _Progress(checkpoints)
            checker = Checker(session, connection, cost, run.take)
            target = session.targets[0]
            _say(f"{title(target.name, pid)}: {len(target.probes)} probes armed; {cost_line(cost)}")
            armed.create()
            _say(give_up(session).message)
            stopper.watch(session)  # its timer is a thread, and has what its starter has
            trouble: ColotraceError | None = None
            try:
                checker.run(checkpoints, reset=reset)
            except ColotraceError as error:
                trouble = error  # what was traced is still reported
            result = checker.result()
            session.detach()
            summary = session.summaries()[0]
    _report(result, summary, run, as_json, trouble)
    if trouble and not (stopper.interrupted and isinstance(trouble, NothingSeenError)):
        raise trouble
    if result.findings:
        click.get_current_context().exit(1)
    if result.checkpoints < checkpoints and not stopper.interrupted:
        raise NothingSeenError(f"{result.checkpoints} checkpoints were compared, {checkpoints} were asked for")


class _Progress:
    """Notes as they come, and on a terminal how many checkpoints there have been."""

    def __init__(self, wanted: int) -> None:
        self._wanted, self._done = wanted + 1, 0
        self.series: dict[tuple[int, Role], RoleSeries] = {}

    def take(self, event: Event) -> None:
        """The next event of the session."""
        if not isinstance(event, Checkpoint):
            _say(f"note: {as_note(event).message}")
            return
        key = (event.pid, event.role)
        self.series.setdefault(key, RoleSeries(*key)).add(event)
        self._done += event.completed
        if sys.stderr.isatty():
            click.echo(
                f"\rcolotrace: {min(self._done, self._wanted)} of {self._wanted} checkpoints\x1b[K", err=True, nl=False
            )
            if self._done >= self._wanted:
                click.echo("\r\x1b[K", err=True, nl=False)


def _report(
    result: CheckResult, summary: TargetSummary, run: _Progress, as_json: bool, trouble: ColotraceError | None
) -> None:
    if as_json:
        click.echo(
            json_line(
                {
                    "type": "check",
                    "pid": summary.pid,
                    "error": trouble.message if trouble else None,
                    **result.as_json(),
                    "summary": summary.as_json(),
                }
            )
        )
        return
    console = TextConsole()
    if not result.checks:
        console.print(summary_view(summary, run.series))
        return
    console.print(
        f"{title(summary.name, summary.pid)}, {result.role.value if result.role else 'unknown role'}: means over "
        f"{result.checkpoints} checkpoints in {result.windows} windows"
    )
    console.print(check_table(result.checks))
    for note in (*reasons(result.checks), *result.notes):
        console.print(f"note: {printable(note)}")
    if result.findings:
        console.print(Group(*findings_view(result.findings)))
    else:
        console.print("all fields that were compared agree")
    if trouble:
        console.print(summary_view(summary, run.series))


def _say(text: str) -> None:
    click.echo(f"colotrace: {printable(text)}", err=True)
