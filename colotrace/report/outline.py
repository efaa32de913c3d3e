"""A report in words: sections of lines and tables of text, which the text and markdown renderers only lay out.

What recordings say of themselves goes in as it is: each renderer escapes every text as its medium needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from colotrace.analysis.findings.finding import Findings
from colotrace.analysis.findings.wording import details, head, none, rest
from colotrace.analysis.statistics import PERCENTILE_NAMES
from colotrace.analysis.summary import Report, Row, SeriesReport
from colotrace.report.pairwording import matched_text, share_lines
from colotrace.report.wording import (
    drift_lines,
    fact_text,
    failover_text,
    number,
    outcomes_text,
    ram_cost_lines,
    sparkline,
    value_text,
    when_text,
)
from colotrace.units import time_text

PAIRS_TITLE = "Both sides on one timeline"
FINDINGS = "Findings"


@dataclass(frozen=True)
class Table:
    """Cells of text; columns whose name is in `left` are flush left. `strong`: indices of rows that stand out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = frozenset()
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """Lines before a table, the table, and lines below it. `warning` marks lines that nobody should miss.

    `points` are sentences with what belongs to each; they come after the lines.
    """

    heading: str | None
    lines: tuple[str, ...] = ()
    table: Table | None = None
    below: tuple[str, ...] = ()
    points: tuple[tuple[str, tuple[str, ...]], ...] = ()
    warning: bool = False


@dataclass(frozen=True)
class Chapter:
    """A series, or the report itself."""

    title: str
    sections: tuple[Section, ...]


def outline(report: Report) -> tuple[Chapter, ...]:
    """The report's chapters: problems of the files, one a series, the pairs, what keeps series apart."""
    chapters = []
    if report.problems:
        chapters.append(Chapter("Problems of the recording", (Section(None, report.problems, warning=True),)))
    chapters += [Chapter(one.label, tuple(_sections(one))) for one in report.series]
    if report.pairs.found or report.pairs.problems:
        chapters.append(Chapter(PAIRS_TITLE, tuple(_pairs(report))))
    if report.differences:
        chapters.append(Chapter("Not comparable", (Section(None, report.differences, warning=True),)))
    return tuple(chapters)


def _pairs(report: Report) -> Iterator[Section]:
    for pair in report.pairs.found:
        where = "`colotrace merge` has more, and --format html a picture"
        yield Section(pair.label, (matched_text(pair.merged), *share_lines(pair.merged)), below=(*pair.notes, where))
    if report.pairs.problems:
        yield Section(None, report.pairs.problems)


def _sections(series: SeriesReport) -> Iterator[Section]:
    ended = f"{number(series.runs)} {'run' if series.runs == 1 else 'runs'}, {number(series.ended)} with an end"
    who = ", ".join(f"{one.title} {fact_text(one)}" for one in series.facts if one.name in ("host", "qemu_version"))
    yield Section(None, (outcomes_text(series.outcomes), ended, who))
    if series.problems:
        yield Section(None, series.problems, warning=True)
    if series.outcomes.completed:
        yield _findings(series.findings)
        yield _phases(series)
        yield _sizes(series)
        yield Section("Cost of a page", tuple(ram_cost_lines(series)))
        if series.slowest:
            yield _slowest(series)
        yield _trend(series)
    if series.triggers:
        yield _triggers(series)
    if series.failovers:
        yield Section("Failovers", tuple(failover_text(one) for one in series.failovers))
    if series.notes:
        rows = tuple((one.event, number(one.count), one.message) for one in series.notes)
        yield Section("Notes", table=Table(("note", "n", "the first"), rows, frozenset({"note", "the first"})))
    if series.meanings:
        lines = tuple(f"{subject}: {phase}" for subject, phase in series.meanings.items())
        yield Section("What this QEMU does where", ("; ".join(lines),))
    facts = tuple((one.title, fact_text(one)) for one in series.facts)
    yield Section("Recorded", table=Table(("what", "value"), facts, frozenset({"what", "value"})))


def _findings(findings: Findings) -> Section:
    points = tuple((head(one), details(one)) for one in findings.found)
    return Section(FINDINGS, () if points else (none(findings),), below=tuple(rest(findings)), points=points)


def _phases(series: SeriesReport) -> Section:
    rows, reasons = [], []
    for row in series.rows:
        name = f"{row.name} *" if row.quality == "partial" else row.name
        one = row.distribution
        figures = (one.mean, one.sd, one.p50, one.p90, one.p99, one.p999, one.max)
        share = "" if row.share is None else f"{100 * row.share:.1f} %"
        rows.append((name, number(one.n), *(time_text(figure) for figure in figures), share))
        if row.missing:
            reasons.append(f"{row.name}: {row.missing}")
    parts = [(row.share or 0, i) for i, row in enumerate(series.rows)]
    largest = max(parts, default=(0, 0))
    if any(row.quality == "partial" for row in series.rows):
        reasons.append("* partial: some of it is counted in a neighbouring phase")
    return Section(
        "Times per checkpoint",
        table=Table(
            ("phase", "n", "mean", "sd", *PERCENTILE_NAMES.values(), "max", "share"),
            tuple(rows),
            frozenset({"phase"}),
            frozenset({largest[1]}) if largest[0] else frozenset(),
        ),
        below=(*reasons, *_unsupported(series.rows)),
    )


def _unsupported(rows: tuple[Row, ...]) -> list[str]:
    """Why percentiles (and sd) are not given, each reason once, with the rows if it does not hold for all."""
    reasons: dict[str, list[str]] = {}
    known = [row for row in rows if row.distribution.n]
    for row in known:
        for field, reason in row.distribution.missing.items():
            reasons.setdefault(f"sd: {reason}" if field == "sd" else reason, []).append(row.name)
    return [
        reason if len(names) == len(known) else f"{reason} ({', '.join(names)})"
        for reason, names in reasons.items()
    ]


def _sizes(series: SeriesReport) -> Section:
    rows, reasons = [], []
    for row in series.sizes:
        one = row.distribution
        figures = (one.min, one.p50, one.max)
        rows.append((row.name.replace("_", " "), number(one.n), *(value_text(figure, row.unit) for figure in figures)))
        if row.missing:
            reasons.append(f"{row.name.replace('_', ' ')}: {row.missing}")
    table = Table(("size", "n", "min", "median", "max"), tuple(rows), frozenset({"size"}))
    return Section("Sizes per checkpoint", table=table, below=tuple(reasons))


def _slowest(series: SeriesReport) -> Section:
    rows = tuple(
        (
            when_text(one.when_ns),
            str(one.pid),
            f"#{one.sequence}",
            time_text(one.time_ns),
            one.phase or "-",
            time_text(one.phase_ns),
            time_text(one.median_ns),
        )
        for one in series.slowest
    )
    columns = ("began (UTC)", "pid", "checkpoint", series.slowest_by, "made by", "it took", "its median")
    what = "Slowest pauses" if series.slowest_by == "pause" else "Slowest checkpoints (no pause is known)"
    return Section(what, table=Table(columns, rows, frozenset({"began (UTC)", "made by"})))


def _trend(series: SeriesReport) -> Section:
    trend = series.trend
    lines = list(drift_lines(trend))
    if len(trend.bins) > 1:
        lines.append(f"median  {sparkline([one.median_ns for one in trend.bins])}")
        lines.append(f"max     {sparkline([one.max_ns for one in trend.bins])}")
    rows = tuple(
        (
            when_text(one.begin_ns, trend.clock),
            when_text(one.end_ns, trend.clock),
            number(one.n),
            *(time_text(figure) for figure in (one.median_ns, one.p99_ns, one.max_ns)),
        )
        for one in trend.coarse
    )
    columns = ("from", "to", "n", "median", "p99", "max")
    table = Table(columns, rows, frozenset({"from", "to"})) if rows else None
    return Section(f"The {trend.of} over time", tuple(lines), table)


def _triggers(series: SeriesReport) -> Section:
    rows = tuple(
        (one.name, number(one.n), time_text(one.wait.p50), time_text(one.pause.p50), time_text(one.pause.max))
        for one in series.triggers
    )
    columns = ("began because of", "n", "median wait", "median pause", "max pause")
    return Section("What began checkpoints", table=Table(columns, rows, frozenset({"began because of"})))
