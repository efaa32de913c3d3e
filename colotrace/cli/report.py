"""colotrace report: what is slow, in which phase, since when."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from colotrace.errors import EnvironmentFault, InputError
from colotrace.phases import Role

if TYPE_CHECKING:
    from colotrace.analysis.summary import Report
    from colotrace.recording import Series

FORMATS = ("text", "markdown", "json", "html", "png")
_TO_FILES = ("html", "png")
"""Written next to the recording unless --output says otherwise; the others go to standard output."""
SLOWEST, SLOWEST_OF_PAGE = 10, 50
_EPILOG = """\b
Exit code: 0 done, 10 a file that cannot be written, 11 a file that cannot be read or is no recording.

\b
Examples:
  colotrace report run.parquet
  colotrace report --format markdown --slowest 20 run.jsonl
  colotrace report --format json recordings/ | jq '.series[].outcomes'
  colotrace report --format html --output report.html 'recordings/host=a/vm=*/'
"""


@click.command("report", epilog=_EPILOG)
@click.argument("recordings", nargs=-1, required=True, metavar="RECORDING...", type=click.Path())
@click.option("--format", "-f", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(),
    help="Write there. Default: standard output; html and png: a file beside the first recording.",
)  # fmt: skip
@click.option(
    "--slowest", type=click.IntRange(0, 100_000), metavar="N",
    help="List the N slowest pauses, each with the phase that made it.  [default: 10; html: 50]",
)  # fmt: skip
@click.option("--vm", "vms", multiple=True, metavar="NAME", help="Only this VM; may be given several times.")
@click.option("--role", type=click.Choice([role.value for role in Role]), help="Only this role.")
def command(
    recordings: tuple[str, ...],
    form: str,
    output: str | None,
    slowest: int | None,
    vms: tuple[str, ...],
    role: str | None,
) -> None:
    """Reports what recordings say: what is slow, in which phase, since when.

    RECORDING is a file that attach --output wrote, a directory of such files, or a quoted pattern of names. Lost,
    incomplete and aborted checkpoints come first; then findings: what makes them slow, by which evidence; times per
    phase, the slowest pauses and what made them, drifts, and the cost of a page. A percentile that there are too few
    checkpoints for is a dash; what is unknown has its reason. Both sides of a pair among the recordings are found by
    merging them (colotrace merge): whose the primary's waits were is said, and drawn in the page.
    """
    from colotrace.analysis.summarise import report_of
    from colotrace.newfile import write_private
    from colotrace.recording import open_recording

    with _progress() as tell:
        tell("reading")
        recording = open_recording(*recordings)
        series = _chosen(recording.series(), vms, role)
        count = slowest if slowest is not None else SLOWEST_OF_PAGE if form == "html" else SLOWEST
        report = report_of(recordings, recording.problems, series, slowest=count, progress=tell)
        tell(f"writing {form}")
        data = None if form == "text" and output is None else _rendered(report, form)
    if data is None:
        _print(report)  # not before the progress has left the screen
        return
    if output is None and form not in _TO_FILES:
        click.echo(data, nl=False)
        return
    path = output or _beside(recordings[0], form)
    write_private(path, "--output", data)
    if form in _TO_FILES:
        click.echo(path)


def _chosen(series: list[Series], vms: tuple[str, ...], role: str | None) -> list[Series]:
    """The series that were asked for. Raises InputError if there are none."""
    found = [
        one for one in series if (not vms or one.vm in vms) and (role is None or one.role.value == role)
    ]  # fmt: skip
    if not found and series:
        raise InputError(
            "the recording has no such VM or role", "It has: " + ", ".join(sorted({one.label for one in series}))
        )
    return found


def _rendered(report: Report, form: str) -> bytes:
    """The report in one format, as what a file of it holds."""
    if form == "json":
        import json

        return json.dumps(report.as_json(), ensure_ascii=True, allow_nan=False).encode() + b"\n"
    if form == "markdown":
        from colotrace.report.markdown import markdown

        return markdown(report).encode()
    if form == "text":
        return _plain_text(report).encode()
    try:
        if form == "html":
            from colotrace.report.html import html

            return html(report).encode()
        from colotrace.report.png import png

        return png(report)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(f"cannot make {form}: {error}", "Install what colotrace depends on.") from error


def _plain_text(report: Report) -> str:
    import io

    from colotrace.cli.console import TextConsole
    from colotrace.report.text import WIDTH, print_text

    stream = io.StringIO()
    print_text(report, TextConsole(file=stream, width=WIDTH, soft_wrap=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _print(report: Report) -> None:
    """Text on standard output: a terminal's width and colours, or plain and of a fixed width."""
    from colotrace.cli.console import TextConsole
    from colotrace.report.text import print_text

    if sys.stdout.isatty():
        print_text(report, TextConsole())
    else:
        click.echo(_plain_text(report), nl=False)


def _beside(recording: str, form: str) -> str:
    path = Path(recording)
    if path.is_dir():
        return str(path / f"report.{form}")
    name = path.name if path.exists() else "report"  # a pattern of names is no name for a file
    return str(path.with_name(f"{Path(name).stem}.{form}"))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Something to tell what is being worked on; shown on a terminal's standard error only."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    from colotrace.text import printable

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with console.status("reading") as status:
        yield lambda step: status.update(printable(step))
