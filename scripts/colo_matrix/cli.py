"""The command line of scripts/matrix: runs what is missing, then shows what there is."""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
from colo_lab import orphans
from colo_lab.errors import LabError
from colo_lab.settings import DEFAULT_QEMU, TRANSPORTS
from colo_lab.signals import Signals, Stopped

from .journal import Journal, Run
from .plan import Cell, Conditions, Task, grid, order
from .running import run_task

EPILOG = """\b
A cell is named VCPUSxMEMORYxDIRTIED, memory and dirtied memory in MiB: 4x2048x32. Each is one COLO pair on this host,
recorded by `colotrace attach` on both VMs. What has been measured stays in the results directory, and the next call
goes on from there, however the last one ended; failed cells are tried again, --repeat 2 adds a second run of each.

\b
Examples:
  sudo scripts/matrix                                     the whole grid, about twenty minutes; Ctrl-C, and again later
  sudo scripts/matrix --only '*x2048x*' --only '16x*'     these cells, and tables of them
  sudo scripts/matrix --vcpus 1,2 --memory-mib 256 --dirty-mib 8 --checkpoints 10 --results /tmp/small
  scripts/matrix --list                                   what is done, what is not, what failed and why
  scripts/matrix --no-run --pictures docs                 tables and pictures of what there is
  scripts/matrix --no-run --json                          the same figures for programs

\b
Exit code: 0 all cells asked for are measured, 1 some are not (failed, or --no-run), 2 bad request, 11 no manifest,
  10 results not writable, 69 this machine cannot run a pair, 73 another matrix writes there, 128+N ended by signal N
"""


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Whole numbers with commas between them."""

    name = "N,N,..."

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """A tuple of ints; fails as click does."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,2,4", param, ctx)
        if any(number < self._least for number in numbers):
            self.fail(f"{value!r}: at least {self._least}", param, ctx)
        return numbers


def default_results() -> Path:
    """$COLOTRACE_CACHE/matrix."""
    return Path(os.environ.get("COLOTRACE_CACHE") or Path.home() / ".cache" / "colotrace") / "matrix"


@click.command(epilog=EPILOG, context_settings={"max_content_width": 110})
@click.option("--vcpus", type=Numbers(1), default="1,2,4,8,16", show_default=True, help="vCPUs of each VM.")
@click.option(
    "--memory-mib",
    type=Numbers(1),
    default="512,2048,4096",
    show_default=True,
    help="Memory of each VM; the pair needs up to three times that.",
)
@click.option(
    "--dirty-mib",
    type=Numbers(0),
    default="0,8,32,128",
    show_default=True,
    help="What the guest overwrites for ever; 0: it halts.",
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Runs of each cell.")
@click.option("--only", metavar="PATTERN", multiple=True, help="Only cells whose name matches (* and ?).")
@click.option("--checkpoints", "-n", type=click.IntRange(2), metavar="N", help="Counted per run. [default: 30]")
@click.option("--delay-ms", type=click.IntRange(1), metavar="N", help="From one checkpoint to the next. [default: 400]")
@click.option("--transport", type=click.Choice(TRANSPORTS), help="[default: unix]")
@click.option("--qemu", metavar="PATH", help=f"The QEMU binary. [default: {DEFAULT_QEMU}]")
@click.option(
    "--results",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_results,
    show_default="$COLOTRACE_CACHE/matrix",
    help="Where recordings and manifest are kept.",
)
@click.option("--list", "only_list", is_flag=True, help="Print the cells and their state, and end.")
@click.option("--no-run", is_flag=True, help="Measure nothing; show what there is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of tables.")
@click.option(
    "--pictures", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Draw PNG files into DIR."
)
def main(
    vcpus: tuple[int, ...], memory_mib: tuple[int, ...], dirty_mib: tuple[int, ...], repeat: int, only: tuple[str, ...],
    checkpoints: int | None, delay_ms: int | None, transport: str | None, qemu: str | None, results: Path,
    only_list: bool, no_run: bool, as_json: bool, pictures: Path | None,
) -> None:  # fmt: skip
    """The seed's experiment as one command: times each phase of COLO checkpoints for every combination of vCPUs, memory
    and dirtied memory on real pairs, and sets the results beside the seed's."""
    cells = [cell for cell in grid(vcpus, memory_mib, dirty_mib) if _wanted(cell, only)]
    if not cells:
        raise click.UsageError(f"no cell matches {' or '.join(only)}; --list without --only prints them")
    asked = {"checkpoints": checkpoints, "delay_ms": delay_ms, "transport": transport, "qemu": qemu}
    tasks = order(cells, repeat)
    shown_only = only_list or no_run
    try:
        with Journal(results, _conditions(results, asked)) if shown_only else _run(tasks, results, asked) as journal:
            if only_list:
                _list(tasks, journal)
                return
            _show(cells, journal, as_json, pictures)
            left = [task for task in tasks if not journal.is_done(task)]
    except LabError as error:
        click.echo(f"matrix: error: {error}", err=True)
        if error.remedy:
            click.echo(f"matrix: remedy: {error.remedy}", err=True)
        sys.exit(error.exit_code)
    except Stopped as stopped:
        click.echo(f"matrix: stopped by {stopped}; the same command goes on from here", err=True)
        sys.exit(stopped.exit_code)
    _say_failures(journal, left)
    sys.exit(1 if left else 0)


def _wanted(cell: Cell, only: tuple[str, ...]) -> bool:
    return not only or any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in only)


def _conditions(results: Path, asked: Mapping[str, object]) -> Conditions:
    """Those of the results that are there, or the defaults, with what was asked for put in."""
    known = Journal(results).conditions.as_json()
    return Conditions.from_json(known | {name: value for name, value in asked.items() if value is not None})


def _run(tasks: list[Task], results: Path, asked: Mapping[str, object]) -> Journal:
    """Does what is not done yet. Raises Stopped and LabError."""
    if os.geteuid() != 0:
        raise click.UsageError("needs root to arm probes; --list and --no-run do not")
    journal = Journal(results, _conditions(results, asked), write=True)
    todo = [task for task in tasks if not journal.is_done(task)]
    click.echo(f"matrix: {len(todo)} of {len(tasks)} runs to do, into {results}", err=True)
    signals = Signals()
    orphans.adopt()
    began = time.monotonic()
    try:
        for number, task in enumerate(todo, 1):
            progress = _Progress(f"[{number}/{len(todo)}] {task.cell.name} run {task.repetition}")
            signals.check()
            run = run_task(task, journal, signals, progress.step)
            spent = time.monotonic() - began
            progress.end(run, spent / number * (len(todo) - number))
    except BaseException:
        journal.close()
        raise
    return journal


class _Progress:
    """What goes on, on standard error: a line that changes on a terminal, one line per run that has ended."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._live = sys.stderr.isatty()
        self.step("begins")

    def step(self, what: str) -> None:
        """Something has happened in the run."""
        if self._live:
            click.echo(f"\r{self._title}: {what.splitlines()[0][:60]}\033[K", err=True, nl=False)

    def end(self, run: Run, left_s: float) -> None:
        """The run has ended; so much time the others will take."""
        said = f"done in {run.seconds:.1f} s" if run.done else f"failed: {run.reason}"
        wipe = "\r\033[K" if self._live else ""
        minutes = f", about {left_s / 60:.0f} min left" if left_s >= 60 else ""
        click.echo(f"{wipe}{self._title}: {said}, load {run.load_before[0]:.1f}{minutes}", err=True)
        for note in run.notes:
            click.echo(f"    {note}", err=True)


def _list(tasks: list[Task], journal: Journal) -> None:
    for task in sorted(tasks):
        run = journal.runs.get(task)
        if journal.is_done(task):
            state = "done"
        elif run is None:
            state = "to do"
        else:
            state = f"failed: {run.reason}" if not run.done else "to do: its recording has gone"
        click.echo(f"{task.cell.name:<14} run {task.repetition}  {state}")


def _show(cells: list[Cell], journal: Journal, as_json: bool, pictures: Path | None) -> None:
    from .results import measure
    from .table import as_object, print_tables

    measured = measure(cells, journal)
    if as_json:
        click.echo(json.dumps(as_object(measured, journal)))
    else:
        print_tables(measured, journal)
    if pictures is not None:
        from .pictures import draw

        for path in draw(measured, pictures):
            click.echo(f"matrix: {path}", err=True)


def _say_failures(journal: Journal, left: list[Task]) -> None:
    for task in left:
        run = journal.runs.get(task)
        if run is not None and not run.done:
            click.echo(f"matrix: {task.cell.name} run {task.repetition} failed: {run.reason}", err=True)
