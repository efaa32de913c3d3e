"""colotrace merge: both sides of a pair on one timeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from colotrace.text import printable

if TYPE_CHECKING:
    from colotrace.analysis.merge import Merged
    from colotrace.analysis.merge_split import Split
    from colotrace.recording import Recording

_PAGES = (".html", ".htm")
_EPILOG = """\b
Examples:
  colotrace merge primary.parquet secondary.parquet
  colotrace merge primary.jsonl secondary.jsonl --json
  colotrace merge both.jsonl both.jsonl                 one attach of both, on one host
  colotrace merge p.parquet s.parquet --output both.html      pictures in one page, which needs no network
  colotrace merge p.parquet s.parquet --output both.pftrace   for ui.perfetto.dev
"""


@click.command("merge", epilog=_EPILOG)
@click.argument("primary", type=click.Path())
@click.argument("secondary", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--output", metavar="FILE", type=click.Path(), help="Both sides drawn: .html or .pftrace.")
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

    if output and not perfetto.is_trace(output) and not _is_page(output):
        raise click.UsageError(
            f"--output takes a page or a Perfetto trace: a name that ends in {', '.join((*_PAGES, *perfetto.SUFFIXES))}"
        )
    recordings = [open_recording(path) for path in dict.fromkeys((primary, secondary))]
    _tell_problems(recordings)
    ours = merging.the_series(recordings[0], Role.PRIMARY)
    theirs = merging.the_series(recordings[-1], Role.SECONDARY)
    merged = merging.merge(ours, theirs)
    if as_json:
        click.echo(json.dumps(merge_report.as_json(merged)))
    else:
        _show(merged)
    if output and _is_page(output):
        _write_page(merged, output, (primary, secondary), [p for one in recordings for p in one.problems])
    elif output:
        _write(merged, output)


def _is_page(output: str) -> bool:
    return output.lower().endswith(_PAGES)


def _tell_problems(recordings: list[Recording]) -> None:
    for recording in recordings:
        for problem in recording.problems:
            click.echo(f"colotrace: note: {printable(problem)}", err=True)


def _show(merged: Merged) -> None:
    from colotrace.report import pairwording as words

    for note in merged.notes:
        click.echo(f"note: {printable(note)}")
    for series in (merged.primary, merged.secondary):
        click.echo(f"{series.role.value:<10}{printable(words.who_text(series))}")
    click.echo(f"matched   {words.matched_text(merged)}")
    for number, line in enumerate(words.clock_lines(merged)):
        click.echo(f"{'clocks' if number == 0 or line.startswith('secondary') else '':<10}{line}")
    for split in merged.splits.values():
        _show_split(split)
    for phase, reason in merged.missing.items():
        click.echo(f"\n{phase}: cannot be split: {printable(reason)}")


def _show_split(split: Split) -> None:
    from colotrace.analysis.merge_report import part_figures
    from colotrace.analysis.statistics import distribution
    from colotrace.units import time_text

    *parts, total = part_figures(split)
    error = time_text(int(split.error_ns.max()))
    click.echo(f"\nthe primary's {split.phase.value}, {total.times.n:,} checkpoints; borders ± {error}")
    click.echo(f"  {'':<18}{'mean':>10}{'p50':>10}{'p99':>10}{'share':>9}")
    for row in [*parts, total]:
        share = "" if row.share is None else f"{100 * row.share:.1f} %"
        times = "".join(f"{time_text(ns):>10}" for ns in (row.times.mean, row.times.p50, row.times.p99))
        click.echo(f"  {row.name:<18}{times}{share:>9}")
    own = distribution(split.own_ns)
    click.echo(f"  the secondary's own {split.phase.value}: mean {time_text(own.mean)}, p50 {time_text(own.p50)}")


def _write_page(merged: Merged, output: str, sources: tuple[str, ...], problems: list[str]) -> None:
    from colotrace.analysis.pairs import Pair, Place
    from colotrace.errors import EnvironmentFault
    from colotrace.newfile import write_private
    from colotrace.report.html import pair_html

    try:
        page = pair_html(Pair(merged, Place(0, 0), Place(1, 0)), sources, problems)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(f"cannot make html: {error}", "Install what colotrace depends on.") from error
    write_private(output, "--output", page.encode())


def _write(merged: Merged, output: str) -> None:
    from colotrace.cli.convert import progress
    from colotrace.export.merged import write_merged

    with progress(sum(run.rows for series in (merged.primary, merged.secondary) for run in series.runs)) as told:
        left_out = write_merged(merged, output, told)
    if left_out:
        click.echo(f"colotrace: note: {left_out} checkpoints, seen in part, are not in {printable(output)}", err=True)
