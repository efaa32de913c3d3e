"""colotrace convert: a recording in another format."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

import click

from colotrace.text import printable

_EPILOG = """\b
Examples:
  colotrace convert run.parquet run.csv
  colotrace convert run.parquet run.jsonl
  colotrace convert killed.parquet whole.parquet       takes in what a killed tracer left in killed.parquet.journal
  colotrace convert run.parquet run.pftrace            for ui.perfetto.dev
  colotrace convert *.jsonl recordings/                recordings/host=H/vm=V/TIME-RUN-PID.parquet
"""


@click.command("convert", epilog=_EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="RECORDING...", type=click.Path())
@click.argument("target", metavar="TARGET", type=click.Path())
@click.option("--to", "kind", type=click.Choice(["perfetto"]), help="A Perfetto trace, whatever TARGET's name.")
def command(sources: tuple[str, ...], target: str, kind: str | None) -> None:
    """Writes RECORDING anew as TARGET: .jsonl, .csv or .parquet by its name; nothing is lost on the way.

    .pftrace or .perfetto-trace: a Perfetto trace, for ui.perfetto.dev and trace_processor. It has the checkpoints and
    failovers. `colotrace merge` puts both sides of a pair into one.

    Where TARGET is a directory (it is there, or ends with /), each VM of each recording gets a Parquet file in it,
    partitioned by host and VM as DuckDB, Spark and Trino read it.
    """
    import os

    from colotrace.errors import InputError
    from colotrace.export import perfetto
    from colotrace.recording import convert as converting
    from colotrace.recording import open_recording

    recording = open_recording(*sources)
    as_trace = kind == "perfetto" or perfetto.is_trace(target)
    into_directory = not as_trace and (target.endswith("/") or os.path.isdir(target))
    if not into_directory and len(recording.runs) != 1:
        raise InputError(
            f"{len(recording.runs)} recordings do not fit into one file", "Name a directory: they go to files in it."
        )
    for problem in recording.problems:
        click.echo(f"colotrace: note: {printable(problem)}", err=True)
    with progress(sum(run.rows for run in recording.runs)) as told:
        done = 0
        for run in recording.runs:
            if as_trace:
                left_out = perfetto.write_trace(target, [perfetto.Side(run.all_lines())], told, [run.path])
                if left_out:
                    click.echo(f"colotrace: note: {left_out} checkpoints, seen in part, are not in it", err=True)
            elif into_directory:
                for path in converting.partition(run, target, progress=functools.partial(_later, told, done)):
                    click.echo(printable(path))
            else:
                converting.convert(run, target, told)
            done += run.rows


def _later(told: Callable[[int], None], done: int, rows: int) -> None:
    told(done + rows)


@contextlib.contextmanager
def progress(rows: int) -> Iterator[Callable[[int], None]]:
    """How far it has come, on a terminal and for work that is not done at once."""
    if rows < 50_000 or not sys.stderr.isatty():
        yield lambda _rows: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("checkpoints", total=rows)
        yield lambda done: shown.update(task, completed=done)
