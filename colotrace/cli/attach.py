"""colotrace attach: times the checkpoints of running QEMUs until told to stop."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from colotrace.checkpoint import Checkpoint, Event, Failover, Note
from colotrace.cli import hush
from colotrace.cli.armed import ARMED_FILE
from colotrace.cli.dropping import give_up
from colotrace.cli.findings import Looker, findings_json, findings_view
from colotrace.cli.options import DURATION, QMP, SEED_COMPATIBLE, name_options, names_asked_for, pids_given
from colotrace.cli.outputs import Outputs
from colotrace.cli.ringsize import RING_SIZE
from colotrace.cli.series import RoleSeries
from colotrace.cli.stopping import Stopper
from colotrace.errors import ColotraceError, NothingSeenError
from colotrace.failover import with_status
from colotrace.phases import Role
from colotrace.recording import lines
from colotrace.recording.facts import RunFacts, VmFacts, answers, run_facts
from colotrace.sentences import as_note, checkpoint_line, failover_line
from colotrace.session import Session, attach
from colotrace.summary import TargetSummary
from colotrace.target.discovery import only_qemu
from colotrace.text import printable

if TYPE_CHECKING:
    from colotrace.cli.live import LiveView

_EPILOG = """\b
Examples:
  sudo colotrace attach                                    the only QEMU here, live
  sudo colotrace attach --pid $(pidof qemu-system-x86_64)  all of them
  sudo colotrace attach --pid 4711 --checkpoints 30 --json >run.jsonl
  sudo colotrace attach --pid 4711 --duration 60 --output run.jsonl
  sudo colotrace attach --duration 3600 --output run.parquet     then: colotrace report run.parquet
  sudo colotrace attach --output recordings/               recordings/host=H/vm=V/TIME-RUN-PID.parquet
  sudo colotrace attach --pid 4711 --ring-size 16M --output run.jsonl  room for 56,000 checkpoints
  sudo colotrace attach --pid 4711 --dry-run               every place that would be probed; arms nothing
"""
_NOTES_KEPT = 50


@click.command("attach", epilog=_EPILOG)
@pids_given
@click.option(
    "--checkpoints", "-n", type=click.IntRange(1), metavar="N", help="Stop after N completed ones per process."
)
@DURATION
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(),
    help="Write a recording: FILE.parquet, FILE.csv, else JSON lines; or DIR/, with a Parquet file per VM in it.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: attached, checkpoint, failover, note, ...")
@RING_SIZE
@names_asked_for
@QMP
@SEED_COMPATIBLE
@ARMED_FILE
@click.option("--dry-run", is_flag=True, help="Make all checks and show what would be armed; arm nothing.")
def command(
    pids: tuple[int, ...], more_pids: tuple[int, ...], checkpoints: int | None, duration: float | None,
    output: str | None, as_json: bool, qmp: str | None, seed_compatible: bool, armed_file: str | None,
    debug_file: str | None, debuginfod: bool, ring_size: int, dry_run: bool,
) -> None:  # fmt: skip
    """Times every phase of every COLO checkpoint of running QEMUs.

    On a terminal it shows a live view, into a pipe it writes one line a checkpoint; at the end comes a summary, with
    findings: what makes the checkpoints slow. The VM is not stopped, and needs no patch, no restart and no debug
    symbols. Times are CLOCK_MONOTONIC nanoseconds. Once the probes are armed, all privileges but those still needed
    are given up.
    """
    if dry_run:
        if output or qmp or armed_file:
            raise click.UsageError("--dry-run arms nothing: --output, --qmp and --armed-file have no use with it")
        from colotrace.cli.dry_run import show
        from colotrace.rehearsal import rehearse

        show(rehearse(*pids, *more_pids, names=name_options(debug_file, debuginfod)), as_json)
        return
    asked: dict[int, VmFacts] = {}
    if qmp:
        if len({*pids, *more_pids}) > 1:
            raise click.UsageError("--qmp names the socket of one QEMU; give one --pid with it")
        from colotrace.qmp.client import query_vm  # asyncio: nobody else needs it

        # a socket that does not answer, or is another's, is better known before the run than after it
        pid = [*pids, *more_pids, 0][0] or only_qemu()
        asked[pid] = answers(*query_vm(qmp, pid))
    with Stopper(duration) as stopper, Outputs(output, armed_file) as outputs:
        names = name_options(debug_file, debuginfod)
        facts = _facts(asked, outputs.recording)
        with attach(*pids, *more_pids, ring_bytes=ring_size, names=names) as session:
            run = _Run(session, outputs, checkpoints, as_json, qmp, seed_compatible)
            try:
                run.begin(facts)
                stopper.watch(session)  # its timer is a thread, and has what its starter has
                run.follow()
            except BrokenPipeError:  # the reader has had enough (| head): as good as Ctrl-C
                stopper.interrupted = True
                hush()
            summaries = run.finish()
        if checkpoints and not stopper.interrupted:
            _judge(summaries, checkpoints)


def _facts(asked: dict[int, VmFacts], recording: bool) -> RunFacts:
    """What the run says of itself. A probe's cost is measured for recordings only: once a boot, it takes a second."""
    if not recording:
        return run_facts(asked=asked)
    from colotrace.kernel.keptcost import probe_cost

    try:
        return run_facts(probe_cost(), asked=asked)
    except ColotraceError as error:
        return run_facts(None, error.message, asked)


class _Run:
    """One run of the command: where its lines go, what it has seen, when it is over."""

    def __init__(
        self, session: Session, outputs: Outputs, checkpoints: int | None, as_json: bool, qmp: str | None,
        seed_compatible: bool,
    ) -> None:  # fmt: skip
        self._session, self._outputs = session, outputs
        self._wanted, self._as_json, self._qmp, self._seed_compatible = checkpoints, as_json, qmp, seed_compatible
        self._series: dict[tuple[int, Role], RoleSeries] = {}
        self._looker = Looker()
        self._done: dict[int, int] = {target.pid: 0 for target in session.targets}
        self._is_live = not as_json and sys.stdout.isatty()
        self._view: LiveView | None = None
        self._unsaid: deque[Note] = deque(maxlen=_NOTES_KEPT)
        self._failovers: dict[int, list[Failover]] = {}
        if not as_json:  # only now: arming need not wait for what draws, and JSON lines do without it
            from colotrace.cli import live, tables  # noqa: F401 (later on, they might not be readable any more)
            from colotrace.cli.console import TextConsole

            self._console = TextConsole()

    def begin(self, facts: RunFacts) -> None:
        """Says what is armed, and gives up what is not needed any more."""
        memory = lines.memory_json(self._session)
        headers = [lines.attached_json(target, facts) | memory for target in self._session.targets]
        self._outputs.begin(headers)
        for header, target in zip(headers, self._session.targets, strict=True):
            if self._as_json:
                click.echo(lines.json_line(header))
            if not self._as_json:
                from colotrace.cli.tables import title

                text = f"{title(target.name, target.pid)}: QEMU {target.plan.qemu_version}"
                self._say(f"{text}, {len(target.probes)} probes armed")
        self._looker.begin(headers)
        self._outputs.armed.create()
        note = give_up(self._session, self._qmp)
        self._emit(lines.event_json(note))
        if not self._as_json:
            self._say(note.message)

    def follow(self) -> None:
        """Shows and writes what happens until the run is over."""
        view = None
        if self._is_live:
            from colotrace.cli.live import LiveView

            view = LiveView(self._console, self._session, self._series)
        with view or contextlib.nullcontext():
            self._view = view
            while not self._session.ended:
                self._take(self._session.receive())
                if self._wanted and self._enough(self._wanted):
                    self._session.detach()
                if view:
                    view.refresh()
        self._view = None

    def finish(self) -> list[TargetSummary]:
        """Removes the probes, writes what was still under way, and sums up."""
        self._session.detach()
        self._take(self._session.receive(0))
        while self._unsaid:  # the live view, now wiped, was the only place where these could be seen
            self._say(f"note: {self._unsaid.popleft().message}")
        summaries = self._session.summaries()
        if self._qmp:
            summaries[0] = replace(summaries[0], info=self._migration_info(self._qmp))
        for summary in summaries:
            summary = replace(summary, failovers=tuple(self._failovers.get(summary.pid, ())))
            found = self._looker.findings(summary.pid)
            line = summary.as_json(seed_compatible=self._seed_compatible) | {"findings": findings_json(found)}
            self._emit({"type": "summary", **line})
            if not self._as_json:
                from colotrace.cli.tables import summary_view

                self._console.print(summary_view(summary, self._series))
                self._console.print(findings_view(found, wrap=self._is_live))
        return summaries

    def _migration_info(self, path: str) -> dict[str, object] | None:
        from colotrace.qmp.client import query_migrate

        try:
            return query_migrate(path)
        except ColotraceError as error:
            self._say(f"{error.message}; the summary is without `info`")
            return None

    def _asked_status(self, failover: Failover) -> Failover:
        """With query-colo-status's answer, asked now that somebody has taken over, if there is a socket to ask on."""
        if not self._qmp:
            return failover
        from colotrace.qmp.client import query_colo_status

        try:
            return with_status(failover, query_colo_status(self._qmp))
        except ColotraceError as error:
            return with_status(failover, None, error.message)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Failover):
                event = self._asked_status(event)
                self._failovers.setdefault(event.pid, []).append(event)
            if self._outputs.recording or self._as_json:
                self._emit(lines.event_json(event))
            if isinstance(event, Checkpoint):
                self._checkpoint(event)
            elif isinstance(event, Failover) and not self._as_json and not self._is_live:
                self._console.print(failover_line(event))
            elif self._is_live:
                note = as_note(event)
                if not isinstance(event, Failover):  # the summary has those
                    self._unsaid.append(note)
                if self._view:
                    self._view.note(note)
            elif not self._as_json:
                self._say(f"note: {as_note(event).message}")

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        key = (checkpoint.pid, checkpoint.role)
        self._series.setdefault(key, RoleSeries(*key)).add(checkpoint)
        self._looker.add(checkpoint)
        if not self._as_json and not self._is_live:
            click.echo(checkpoint_line(checkpoint))  # our own words; and rich takes ten times as long
        self._done[checkpoint.pid] += checkpoint.completed

    def _enough(self, wanted: int) -> bool:
        """Whether every process that is still there has had its checkpoints."""
        return all(self._done[target.pid] >= wanted for target in self._session.targets if target.alive)

    def _emit(self, line: dict[str, object]) -> None:
        if self._outputs.recording:
            self._outputs.write(line)
        if self._as_json:
            click.echo(lines.json_line(line))

    def _say(self, text: str) -> None:
        click.echo(f"colotrace: {printable(text)}", err=True)


def _judge(summaries: list[TargetSummary], wanted: int) -> None:
    """Raises NothingSeenError if a process has not had its checkpoints."""
    short = [s for s in summaries if s.checkpoints < wanted]
    if short:
        seen = ", ".join(f"{s.checkpoints} in pid {s.pid}" for s in short)
        raise NothingSeenError(
            f"fewer checkpoints completed than asked for: {seen}; {wanted} wanted",
            "The notes say what was in the way; --duration gives them more time, if it was that.",
        )
