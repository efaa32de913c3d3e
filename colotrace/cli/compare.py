"""colotrace compare: two recordings, or a recording and an answer of info_checkpoint: what got better, what worse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from colotrace.errors import InputError

if TYPE_CHECKING:
    from colotrace.analysis.compare import Comparison
    from colotrace.crosscheck.capture import Capture
    from colotrace.recording import Series

_EPILOG = """\b
Exit code: 0 compared; 1 with --fail-if-slower: B is slower, beyond chance; 11 a file that cannot be read, or
several VMs or roles to choose from. Evidence is that the whole interval lies beyond the limit.

\b
Examples:
  colotrace compare before.parquet after.parquet
  colotrace compare --role primary --fail-if-slower 5% before.jsonl after.jsonl
  colotrace compare --format html before.jsonl after.jsonl > compare.html
  colotrace compare capture.txt after.parquet
"""
_RECORDINGS = (".parquet", ".csv")


def percentage(text: str) -> float:
    """5% or 5 -> 0.05. ValueError, which click makes a usage error of, for anything else."""
    part = float(text.removesuffix("%")) / 100
    if not 0 <= part < 100:
        raise ValueError("not between 0% and 9999%")
    return part


@click.command("compare", epilog=_EPILOG)
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option("--role", type=click.Choice(["primary", "secondary"]), help="Which role, if a recording has both.")
@click.option("--vm", metavar="NAME", help="Which VM, if a recording has several.")
@click.option("--vm-b", metavar="NAME", help="Which VM in B, if it has another name there.")
@click.option(
    "--answer", metavar="N", type=click.IntRange(1), help="Which answer of a capture, if it has several, from 1."
)
@click.option(
    "--statistic", type=click.Choice(["median", "mean"]), default="median", show_default=True,
    help="The mean is what the guest pays; the median bears a busy host. Beside a capture: the mean, always.",
)  # fmt: skip
@click.option(
    "--margin", type=percentage, default="5%", show_default=True, metavar="PERCENT",
    help="How much a figure must differ to be better or worse: runs of one setting differ as well.",
)  # fmt: skip
@click.option(
    "--fail-if-slower", type=percentage, metavar="PERCENT", help="Exit with 1 if B is slower by more, beyond chance."
)
@click.option("--on", metavar="FIGURE", default="pause", show_default=True, help="What --fail-if-slower looks at.")
@click.option(
    "--format", "format_", type=click.Choice(["text", "markdown", "html", "json"]), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    a: str, b: str, role: str | None, vm: str | None, vm_b: str | None, answer: int | None, statistic: str,
    margin: float, fail_if_slower: float | None, on: str, format_: str, as_json: bool,
) -> None:  # fmt: skip
    """Says what is better and what is worse in B than in A, phase by phase.

    A and B are recordings (.parquet, .csv, .jsonl, or directories of them); one of them may be a capture of
    info_checkpoint's answer. Medians (or means) are compared, with intervals fit for checkpoints that depend on one
    another, all at 95% together. Intervals know what varies within a run: record A and B on the same machine with the
    same load, and mind the settings listed as `differs`.
    """
    comparison, problems = _compare(a, b, role, (vm, vm_b or vm), answer, margin, statistic)
    names = [row.name for row in comparison.rows]
    if on not in names:
        raise click.BadParameter(f"{on} is none of {', '.join(names)}", param_hint="--on")
    click.echo(_rendered(comparison, problems, "json" if as_json else format_), nl=False)
    if fail_if_slower is None:
        return
    slower = comparison.is_slower(on, fail_if_slower)
    if not slower and comparison.row(on).ratio.low is None:
        reason = comparison.row(on).reason or "it has no interval"
        click.echo(f"colotrace: --fail-if-slower could not judge {on}: {reason}", err=True)
    if slower:
        click.echo(f"colotrace: {on} is slower by more than {fail_if_slower:.1%}", err=True)
        click.get_current_context().exit(1)


def _compare(
    a: str, b: str, role: str | None, vms: tuple[str | None, str | None], answer: int | None, margin: float,
    statistic: str,
) -> tuple[Comparison, tuple[str, ...]]:
    from colotrace.analysis.capture import compare_capture
    from colotrace.analysis.compare import compare_series

    captures = _capture(a, answer), _capture(b, answer)
    if captures[0] and captures[1]:
        raise InputError("both are captures of info_checkpoint: two means have no intervals", "Record one of the two.")
    problems: list[str] = []
    if captures[0] or captures[1]:
        number = 1 if captures[0] else 0
        capture = captures[0] or captures[1]
        assert capture
        from colotrace.crosscheck.reading import likely_role

        wanted = role or likely_role(capture.reading).value
        series = _choose((a, b)[number], wanted, vms[number], problems)
        return compare_capture(series, capture, capture_first=number == 1, margin=margin), tuple(problems)
    one = _choose(a, role, vms[0], problems)
    other = _choose(b, role or one.role.value, vms[1], problems)
    return compare_series(one, other, margin, statistic=statistic), tuple(problems)


def _choose(path: str, role: str | None, vm: str | None, problems: list[str]) -> Series:
    """The one series of a recording that is meant. InputError if there is none, or several."""
    from colotrace.recording import open_recording

    recording = open_recording(path)
    problems += recording.problems
    every = recording.series()
    found = [s for s in every if role in (None, s.role.value) and (not vm or s.vm == vm)]
    if len(found) == 1:
        return found[0]
    choices = ", ".join(f"{s.label} (QEMU {s.qemu_version or 'unknown'})" for s in (found or every)) or "none"
    what = "several series fit" if found else "no series fits"
    raise InputError(f"{path}: {what}: {choices}", "Choose with --role and --vm, or name a recording of that VM alone.")


def _capture(path: str, answer: int | None) -> Capture | None:
    """The capture in a file that is one; None if it is a recording. InputError if it has several answers."""
    from pathlib import Path

    from colotrace.crosscheck.capture import LARGEST_BYTES, captures

    if os.path.isdir(path) or path.endswith(_RECORDINGS) or not os.path.isfile(path):
        return None  # a pattern, or what open_recording says it is
    try:
        with Path(path).open("rb") as file:
            start = file.read(1 << 16)
            if b'"type"' in start.split(b"\n", 1)[0]:
                return None
            text = (start + file.read(LARGEST_BYTES)).decode("utf-8-sig", "replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    found = captures(text, path)
    if not found:
        return None
    if answer is None and len(found) > 1:
        told = ", ".join(f"{at} ({_about(one)})" for at, one in enumerate(found, 1))
        raise InputError(f"{path} has {len(found)} answers: {told}", "Choose one with --answer N.")
    if answer is not None and answer > len(found):
        raise InputError(f"{path} has {len(found)} answers, not {answer}")
    return found[(answer or 1) - 1]


def _about(capture: Capture) -> str:
    words = [f"{capture.vcpus} vCPUs"] if capture.vcpus else []
    words += [str(value) for key, value in (capture.about or {}).items() if key == "workload"]
    return ", ".join(words) or capture.label


def _rendered(comparison: Comparison, problems: tuple[str, ...], format_: str) -> str:
    if format_ == "json":
        import json

        return json.dumps({**comparison.as_json(), "problems": list(problems)}, allow_nan=False) + "\n"
    if format_ == "html":
        from colotrace.report.compare_html import as_html

        return as_html(comparison, problems)
    from colotrace.report.compare_text import as_markdown, as_text

    return as_markdown(comparison, problems) if format_ == "markdown" else as_text(comparison, problems)
