"""colotrace merge: both sides of a pair on one timeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from colotrace.text import printable

if TYPE_CHECKING:
    from colotrace.analysis.merge import Merged
    from colotrace.analysis.merge_report import ClockFigures
    from colotrace.analysis.merge_split import Split
    from colotrace.recording import Recording, Series

_MOST_LINES = 5
_EPILOG = """\b
Examples:
  colotrace merge primary.parquet secondary.parquet
  colotrace merge primary.jsonl secondary.jsonl --json
  colotrace merge both.jsonl both.jsonl                 one attach of both, on one host
  colotrace merge p.parquet s.parquet --output both.pftrace   for ui.perfetto.dev
"""


@click.command("merge", epilog=_EPILOG)
@click.argument("primary", type=click.Path())
@click.argument("secondary", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--output", metavar="FILE", type=click.Path(), help="Both sides as a Perfetto trace: .pftrace.")
def command(primary: str, secondary: str, as_json: bool, output: str | None) -> None:
    """Puts the recordings of a pair's PRIMARY and SECONDARY, made at the same time on two hosts, on one clock.

    The clocks' offset, and how fast it changes, come from the checkpoints' messages: each arrives after it was sent.
    The error holds as long as both clocks keep their rates. The primary's waits for the secondary (recv and load) are
    then split into the secondary's work, the network, and what neither explains.
    """
    from colotrace.analysis import merge as merging
    from colotrace.analysis import merge_report
    from colotrace.export import perfetto
    from colotrace.phases import Role
    from colotrace.recording import open_recording

    if output and not perfetto.is_trace(output):
        raise click.UsageError(f"--output takes a Perfetto trace: a name that ends in {' or '.join(perfetto.SUFFIXES)}")
    recordings = [open_recording(path) for path in dict.fromkeys((primary, secondary))]
    _tell_problems(recordings)
    ours = merging.the_series(recordings[0], Role.PRIMARY)
    theirs = merging.the_series(recordings[-1], Role.SECONDARY)
    merged = merging.merge(ours, theirs)
    if as_json:
        click.echo(json.dumps(merge_report.as_json(merged)))
    else:
        _show(merged)
    if output:
        _write(merged, output)


def _tell_problems(recordings: list[Recording]) -> None:
    for recording in recordings:
        for problem in recording.problems:
            click.echo(f"colotrace: note: {printable(problem)}", err=True)


def _show(merged: Merged) -> None:
    from colotrace.analysis import merge_report

    for note in merged.notes:
        click.echo(f"note: {printable(note)}")
    for series in (merged.primary, merged.secondary):
        click.echo(f"{series.role.value:<10}{printable(_who(series))}")
    found = merged.match
    click.echo(
        f"matched   {len(found.sequence):,} checkpoints, the primary's numbers {found.sequence[0]} to "
        f"{found.sequence[-1]}; the secondary's are these {found.shift:+}"
    )
    lines = merge_report.clock_figures(merged)
    for clock in lines[:_MOST_LINES]:
        several = f" (checkpoints {clock.first} to {clock.last})" if len(found.pieces) > 1 else ""
        click.echo(f"clocks    {_clock(clock)}{several}")
    if len(lines) > _MOST_LINES:
        click.echo(f"          and {len(lines) - _MOST_LINES} more stretches; --json has them all")
    for split in merged.splits.values():
        _show_split(split)
    for phase, reason in merged.missing.items():
        click.echo(f"\n{phase}: cannot be split: {printable(reason)}")


def _who(series: Series) -> str:
    name = series.vm or "a VM without a name"
    where = f"pid {series.header.pid} on {series.host or 'an unknown host'}"
    return f"{name}, {where}, {series.counts.completed:,} checkpoints"


def _clock(clock: ClockFigures) -> str:
    from colotrace.analysis.merge_report import PPM
    from colotrace.units import time_text

    errors = f"± {time_text(clock.error_ns)} in the middle, ± {time_text(clock.greatest_error_ns)} at most"
    drift = f"drift {clock.drift / PPM:+.3f} ± {clock.drift_error / PPM:.3f} ppm"
    return f"secondary - primary {clock.offset_ns / 1e9:+.9f} s {errors}; {drift}"


def _show_split(split: Split) -> None:
    from colotrace.analysis.merge import parts_of
    from colotrace.analysis.statistics import distribution
    from colotrace.units import time_text

    total = distribution(split.total_ns)
    error = time_text(int(split.error_ns.max()))
    click.echo(f"\nthe primary's {split.phase.value}, {total.n:,} checkpoints; borders ± {error}")
    click.echo(f"  {'':<18}{'mean':>10}{'p50':>10}{'p99':>10}{'share':>9}")
    rows = [(name, distribution(split.parts_ns[name])) for name in parts_of(split)]
    for name, row in [*rows, ("total", total)]:
        share = f"{100 * row.total / total.total:.1f} %" if total.total else ""
        times = "".join(f"{time_text(ns):>10}" for ns in (row.mean, row.p50, row.p99))
        click.echo(f"  {name:<18}{times}{share:>9}")
    own = distribution(split.own_ns)
    click.echo(f"  the secondary's own {split.phase.value}: mean {time_text(own.mean)}, p50 {time_text(own.p50)}")


def _write(merged: Merged, output: str) -> None:
    from colotrace.cli.convert import progress
    from colotrace.export.merged import write_merged

    with progress(sum(run.rows for series in (merged.primary, merged.secondary) for run in series.runs)) as told:
        left_out = write_merged(merged, output, told)
    if left_out:
        click.echo(f"colotrace: note: {left_out} checkpoints, seen in part, are not in {printable(output)}", err=True)
