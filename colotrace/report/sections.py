"""The page's words and tables: made here, so that they are there without a script, and every text from outside escaped.

What the other formats say too is the outline's (colotrace.report.outline); here is what a page does differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from colotrace.analysis.statistics import PERCENTILE_NAMES
from colotrace.analysis.summary import Report, SeriesReport
from colotrace.report.embed import identifiers
from colotrace.report.figures import time_of_day
from colotrace.report.outline import FINDINGS, Section, outline
from colotrace.report.pagedata import SeriesData
from colotrace.report.tables import problems, table, text, time_cell
from colotrace.report.wording import fact_text, number, outcomes_text
from colotrace.units import time_text

_COUNTS = ("completed", "incomplete", "aborted", "lost")
_FIGURES = ("mean", "sd", *PERCENTILE_NAMES, "max")
_WHOLES = ("total", "pause")


def overview(series: Sequence[SeriesReport]) -> str:
    """One row per series: counts first, then its pause."""
    rows = []
    for at, one in enumerate(series, 1):
        row = one.row(one.slowest_by)
        cells = [f'<th scope="row"><a href="#s{at}">{text(one.label)}</a></th>']
        for name in _COUNTS:
            count = getattr(one.outcomes, name)
            warn = ' class="warn"' if name != "completed" and count != 0 else ""
            cells.append(f"<td{warn}>{number(count)}</td>")
        cells += [time_cell(getattr(row.distribution, name) if row else None) for name in ("p50", "p99", "max")]
        rows.append(cells)
    heads = ("series", *_COUNTS, "median pause", "p99 pause", "longest pause")
    caption = "What is not completed is in no figure below"
    return table("overview", "Counts", heads, rows, caption)


def section(at: int, data: SeriesData, both: Mapping[tuple[int, int], str] | None = None) -> str:
    """All of one series: counts, provenance, phases, pictures, the slowest and the waterfall, and the rest.

    `both`: (series, row) -> the address of a checkpoint's picture with both sides of its pair.
    """
    one = data.report
    label = text(one.label)
    rest = {part.heading: part for part in _outline(one)}
    findings = rest.pop(FINDINGS, None)
    trend = rest.pop(f"The {one.trend.of} over time", None)
    for heading in [h for h in rest if h is None or h.startswith(("Times per", "Slowest", "Recorded"))]:
        rest.pop(heading)
    warn = any((one.outcomes.incomplete, one.outcomes.aborted, one.outcomes.lost, one.outcomes.lost is None))
    return f"""<section class="series" id="s{at}" aria-labelledby="h{at}">
<h2 id="h{at}">{label}</h2>
<p class="counts{" warn" if warn else ""}">{text(outcomes_text(one.outcomes))}</p>
{problems("Before believing a figure", one.problems)}{_findings(findings)}{_facts(one)}
<h3>Phases</h3>
{_phases(one)}
<h3>Over time</h3>
{"".join(f"<p>{text(line)}</p>" for line in trend.lines if "  " not in line) if trend else ""}
<figure>{_plot(at, "time", f"{label}: mean of each phase over time, stacked, and the {one.trend.of} above it")}
<figcaption>A bar is one checkpoint, or the mean of several in a row. Choosing a bar or a point shows its slowest
checkpoint below.</figcaption></figure>
<h3>Distributions</h3>
<figure>{_plot(at, "distribution", f"{label}: a histogram of each phase on a logarithmic axis")}
<figcaption>20 bins a decade, each row as high as its own fullest bin. Two hills in one row are two ways that it goes.
</figcaption></figure>
<div class="pair"><div><h3 id="slow{at}">Slowest checkpoints</h3>
{_slowest(at, data, both or {})}</div>
<div class="chosen"><h3 id="w{at}">One checkpoint</h3>
{_chooser(at, data)}</div></div>
<div class="rest">{"".join(_block(part) for part in rest.values())}</div>
</section>"""


def _outline(one: SeriesReport) -> Sequence[Section]:
    return outline(Report((), (), (one,)))[0].sections


def _findings(part: Section | None) -> str:
    """What the rules have found, each with its evidence folded open; what they have not, below."""
    if part is None:
        return ""
    found = "".join(
        f"<li><details open><summary>{text(point)}</summary><ul>"
        f"{''.join(f'<li>{text(line)}</li>' for line in belonging)}</ul></details></li>"
        for point, belonging in part.points
    )
    shown = f'<ol class="findings">{found}</ol>' if found else "".join(f"<p>{text(line)}</p>" for line in part.lines)
    below = "".join(f'<p class="muted">{text(line)}</p>' for line in part.below)
    return f"<h3>{FINDINGS}</h3>{shown}{below}"


def _plot(at: int, figure: str, label: str) -> str:
    """Where the script draws. `label` is escaped already."""
    words = f"{label}; the table of phases has the same figures"
    return f'<div class="plot" data-figure="{figure}" data-series="{at}" role="img" aria-label="{words}"></div>'


def _facts(one: SeriesReport) -> str:
    shown = "".join(f"<div><dt>{text(f.title)}</dt><dd>{text(fact_text(f))}</dd></div>" for f in one.facts)
    return f'<details open><summary>Where this was recorded</summary><dl class="facts">{shown}</dl></details>'


def _phases(one: SeriesReport) -> str:
    rows = []
    for row in one.rows:
        key = "" if row.name in _WHOLES else f'<i class="key p-{row.name}" aria-hidden="true"></i>'
        partial = (
            ' <abbr title="some of it is counted in a neighbouring phase">*</abbr>' if row.quality == "partial" else ""
        )
        cells = [f'<th scope="row">{key}{text(row.name)}{partial}</th>', f"<td>{number(row.distribution.n)}</td>"]
        if row.missing:
            cells.append(f'<td class="muted left" colspan="{len(_FIGURES) + 1}">{text(row.missing)}</td>')
        else:
            found = row.distribution
            cells += [time_cell(getattr(found, name), found.missing.get(name)) for name in _FIGURES]
            cells.append(f"<td>{'' if row.share is None else f'{100 * row.share:.1f} %'}</td>")
        rows.append(cells)
    heads = ("phase", "n", "mean", "sd", *PERCENTILE_NAMES.values(), "max", "share")
    return table("phases", "Phases", heads, rows)


def _slowest(at: int, data: SeriesData, both: Mapping[tuple[int, int], str]) -> str:
    one = data.report
    if not one.slowest:
        return "<p>There is none to list.</p>"
    names = dict(zip(data.rows, identifiers(data), strict=True))
    days = {time_of_day(slow.when_ns)[:10] for slow in one.slowest if slow.when_ns is not None}
    first, head = (11, f"{days.pop()}, UTC") if len(days) == 1 else (0, "began (UTC)")
    paired = any((at - 1, slow.row_index) in both for slow in one.slowest)
    rows = []
    for rank, slow in enumerate(one.slowest, 1):
        name = names[slow.row_index]
        key = f'<i class="key p-{slow.phase}" aria-hidden="true"></i>{slow.phase}' if slow.phase else "-"
        over = f"+{time_text(slow.excess_ns)}" if slow.excess_ns is not None else "-"
        when = "-" if slow.when_ns is None else time_of_day(slow.when_ns)[first:-3]
        rows.append(
            [
                f"<td>{rank}</td>",
                f'<th scope="row"><a href="#s{at}-c{name}">{name}</a></th>',
                time_cell(slow.time_ns),
                f'<td class="left">{key}</td>',
                f'<td title="{slow.excess_ns or 0:,} ns over its median">{over}</td>',
                f'<td class="left">{when}</td>',
            ]
        )
        if paired:
            address = both.get((at - 1, slow.row_index))
            link = f'<a class="both" href="{address}" aria-label="{name} on both sides">⇄</a>' if address else ""
            rows[-1].insert(2, f"<td>{link}</td>")
    heads = ("", "checkpoint", *(["sides"] if paired else []), one.slowest_by, "made by", "over median", head)
    hint = (
        '<p class="muted">Arrow keys move through the list. The chosen checkpoint is in the address, to be linked.</p>'
    )
    return table("slow", "Slowest checkpoints", heads, rows, left=("made by", head)) + hint


def _chooser(at: int, data: SeriesData) -> str:
    completed = data.report.outcomes.completed
    whole = (
        f"All {number(completed)} completed checkpoints are in this page."
        if data.whole
        else f"Of {number(completed)} completed checkpoints this page carries {number(len(data.rows))}: the slowest, "
        "the slowest of each bar above, and an even sample of the rest. Tables and pictures are of all."
    )
    return f"""<form class="choose" data-series="{at}"><label for="c{at}">Checkpoint</label>
<input id="c{at}" inputmode="numeric" autocomplete="off" size="9">
<button type="submit">Show</button>
<button type="button" data-step="-1">Previous</button><button type="button" data-step="1">Next</button></form>
<p class="muted">{whole}</p>
<p class="said" role="status" aria-live="polite"></p>
<div class="waterfall" data-series="{at}" role="img" aria-label="The chosen checkpoint's phases"></div>
<div class="detail"></div>"""


def _block(part: Section) -> str:
    """A section of the outline as it is."""
    heading = f"<h3>{text(part.heading)}</h3>" if part.heading else ""
    lines = "".join(f'<p class="{"warn" if part.warning else ""}">{text(line)}</p>' for line in part.lines)
    below = "".join(f'<p class="muted">{text(line)}</p>' for line in part.below)
    cells = ""
    if part.table:
        sides = ["left wrap" if column in part.table.left else "" for column in part.table.columns]
        rows = [
            [f'<td class="{side}">{text(cell)}</td>' for side, cell in zip(sides, row, strict=True)]
            for row in part.table.rows
        ]
        cells = table("", part.heading or "", part.table.columns, rows, left=part.table.left)
    return f"<div>{heading}{lines}{cells}{below}</div>"
