"""colotrace attach: times the checkpoints of running QEMUs until told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from colotrace.checkpoint import Checkpoint, Event
from colotrace.cli import lines, printable
from colotrace.cli.live import LiveView
from colotrace.cli.options import QMP, SEED_COMPATIBLE, pids_given
from colotrace.cli.series import RoleSeries
from colotrace.cli.tables import summary_view, title
from colotrace.errors import ColotraceError, NothingSeenError
from colotrace.phases import Role
from colotrace.qmp.client import query_migrate
from colotrace.session import Session, attach
from colotrace.summary import TargetSummary

_EPILOG = """\b
Examples:
  sudo colotrace attach                                    the only QEMU here, live
  sudo colotrace attach --pid $(pidof qemu-system-x86_64)  all of them
  sudo colotrace attach --pid 4711 --checkpoints 30 --json >run.jsonl
  sudo colotrace attach --pid 4711 --duration 60 --output run.jsonl
"""


@click.command("attach", epilog=_EPILOG)
@pids_given
@click.option(
    "--checkpoints", "-n", type=click.IntRange(1), metavar="N", help="Stop after N completed ones per process."
)
@click.option("--duration", "-d", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after S seconds.")
@click.option("--output", "-o", metavar="FILE", type=click.Path(), help="Write the JSON lines to FILE as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: attached, checkpoint, note, summary.")
@QMP
@SEED_COMPATIBLE
@click.option(
    "--armed-file", metavar="FILE", type=click.Path(),
    help="Create FILE once all probes are armed, for scripts that start COLO only then.",
)  # fmt: skip
def command(
    pids: tuple[int, ...], more_pids: tuple[int, ...], checkpoints: int | None, duration: float | None,
    output: str | None, as_json: bool, qmp: str | None, seed_compatible: bool, armed_file: str | None,
) -> None:  # fmt: skip
    """Times every phase of every COLO checkpoint of running QEMUs.

    On a terminal it shows a live view, and a summary at the end; into a pipe it writes one line a checkpoint. The VM is
    not stopped, and needs no patch, no restart and no debug symbols. Times are CLOCK_MONOTONIC nanoseconds.
    """
    if qmp:
        if len({*pids, *more_pids}) > 1:
            raise click.UsageError("--qmp names the socket of one QEMU; give one --pid with it")
        query_migrate(qmp)  # a socket that does not answer is better known before the run than after it
    run = _Run(attach(*pids, *more_pids), checkpoints, as_json, output, qmp, seed_compatible)
    with run:
        if armed_file:
            Path(armed_file).touch()
        with stopping(run.session, duration):
            run.follow()
        run.finish()


class _Run:
    """One run of the command: where its lines go, what it has seen, when it is over."""

    def __init__(
        self, session: Session, checkpoints: int | None, as_json: bool, output: str | None, qmp: str | None,
        seed_compatible: bool,
    ) -> None:  # fmt: skip
        self.session = session
        self._wanted, self._as_json, self._qmp, self._seed_compatible = checkpoints, as_json, qmp, seed_compatible
        self._console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._series: dict[tuple[int, Role], RoleSeries] = {}
        self._done: dict[int, int] = {target.pid: 0 for target in session.targets}
        self._view: LiveView | None = None
        try:
            self._file = lines.LineFile(output) if output else None
        except ColotraceError:
            session.close()
            raise

    def __enter__(self) -> _Run:
        for target in self.session.targets:
            line = lines.attached_json(target)
            self._emit(line)
            if not self._as_json:
                text = f"{title(target.name, target.pid)}: QEMU {printable(target.plan.qemu_version)}, "
                self._say(f"{text}{len(target.probes)} probes armed")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.session.close()
        if self._file:
            self._file.close()

    def follow(self) -> None:
        """Shows and writes what happens until the run is over."""
        if self._as_json or not sys.stdout.isatty():
            while not self.session.ended:
                self._take(self.session.receive())
            return
        with LiveView(self._console, self.session, self._series) as self._view:
            while not self.session.ended:
                self._take(self.session.receive())
                self._view.refresh()
        self._view = None

    def finish(self) -> None:
        """Removes the probes, writes what was still under way, and sums up. Raises NothingSeenError."""
        self.session.detach()
        self._take(self.session.receive(0))
        summaries = self.session.summaries()
        if self._qmp and summaries:
            summaries[0] = replace(summaries[0], info=self._migration_info(self._qmp))
        for summary in summaries:
            self._emit({"type": "summary", **summary.as_json(seed_compatible=self._seed_compatible)})
            if not self._as_json:
                self._console.print(summary_view(summary, self._series))
        self._judge(summaries)

    def _migration_info(self, path: str) -> dict[str, object] | None:
        try:
            return query_migrate(path)
        except ColotraceError as error:
            self._say(f"{error.message}; the summary is without `info`")
            return None

    def _judge(self, summaries: list[TargetSummary]) -> None:
        if was_interrupted():
            return
        short = [s for s in summaries if s.checkpoints < (self._wanted or 1)]
        if short:
            seen = ", ".join(f"{s.checkpoints} in pid {s.pid}" for s in short)
            raise NothingSeenError(
                f"fewer checkpoints completed than asked for: {seen}; {self._wanted or 1} wanted",
                "The notes above say what was in the way.",
            )

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self._emit(lines.event_json(event))
            if isinstance(event, Checkpoint):
                self._checkpoint(event)
            elif self._view:
                self._view.note(lines.as_note(event))
            elif not self._as_json:
                self._say(f"note: {lines.as_note(event).message}")

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        self._series.setdefault(
            (checkpoint.pid, checkpoint.role), RoleSeries(checkpoint.pid, checkpoint.role)
        ).add(checkpoint)  # fmt: skip
        if not self._as_json and not self._view:
            self._console.print(lines.checkpoint_line(checkpoint), markup=False)
        self._done[checkpoint.pid] += checkpoint.completed
        if self._wanted and not self.session.ended and self._enough():
            self.session.detach()

    def _enough(self) -> bool:
        """Whether every process that is still there has had its checkpoints."""
        alive = [target.pid for target in self.session.targets if target.alive]
        return all(self._done[pid] >= (self._wanted or 0) for pid in alive)

    def _emit(self, line: dict[str, object]) -> None:
        if self._file:
            self._file.write(line)
        if self._as_json:
            click.echo(lines.json_line(line))

    def _say(self, text: str) -> None:
        click.echo(f"colotrace: {printable(text)}", err=True)


_interrupted = threading.Event()


def was_interrupted() -> bool:
    """Whether a signal, or a closed pipe, ended the last run."""
    return _interrupted.is_set()


@contextlib.contextmanager
def stopping(session: Session, duration: float | None) -> Iterator[None]:
    """Ends the session at the deadline, and at SIGINT, SIGTERM or SIGHUP; a second signal ends the process at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        _interrupted.set()
        session.stop()

    _interrupted.clear()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    timer = threading.Timer(duration, session.stop) if duration else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    except BrokenPipeError:  # the reader has had enough (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _interrupted.set()
        session.stop()
    finally:
        if timer:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
