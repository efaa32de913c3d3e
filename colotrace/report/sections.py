"""The page's words and tables: made here, so that they are there without a script, and every text from outside escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from colotrace.cli.units import time_text
from colotrace.report.embed import identifiers
from colotrace.report.figures import _time
from colotrace.report.pagedata import SeriesData
from colotrace.text import printable

_COUNTS = ("completed", "incomplete", "aborted", "lost")
_FIGURES = ("mean", "sd", "p50", "p90", "p99", "p999", "max")
_NAMES = {"p50": "median", "p999": "p99.9"}


def text(value: object) -> str:
    """Any text as the page shows it: no markup, no control characters."""
    return escape(printable(str(value)))


def problems(found: Sequence[str]) -> str:
    """What is wrong with the recording: the first thing on the page."""
    if not found:
        return ""
    items = "".join(f"<li>{text(one)}</li>" for one in found)
    return f'<section class="problems" aria-labelledby="problems"><h2 id="problems">Problems</h2><ul>{items}</ul></section>'


def overview(series: Sequence[SeriesData]) -> str:
    """One row per series: counts first, then its pause."""
    rows = []
    for number, one in enumerate(series, 1):
        pause = one.distributions.get(one.of)
        cells = [f'<th scope="row"><a href="#s{number}">{text(one.series.label)}</a></th>']
        cells += [_count(name, getattr(one.series.counts, name)) for name in _COUNTS]
        cells += [_time_cell(getattr(pause, name) if pause else None) for name in ("p50", "p99", "max")]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("series", *_COUNTS, "median pause", "p99 pause", "longest pause"))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Counts"><table class="overview">'
        f"<caption>Checkpoints, counted: what is not completed is in no other figure</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def section(number: int, data: SeriesData) -> str:
    """All of one series: provenance, notes, table, pictures, the slowest and the waterfall."""
    label = text(data.series.label)
    whole = (
        "Every completed checkpoint is in this page."
        if data.whole
        else f"Of {data.series.counts.completed:,} completed checkpoints this page has {len(data.rows):,}: the {len(data.slowest)} "
        f"with the longest {data.of}, and an even sample. Tables and the two pictures above are of all of them."
    )
    return f"""<section class="series" id="s{number}" aria-labelledby="h{number}">
<h2 id="h{number}">{label}</h2>
{_lost(data)}{_facts(data)}
<h3>Phases</h3>
{_phases(data)}
<h3>Over time</h3>
<figure><div class="plot" data-figure="time" data-series="{number}" role="img"
 aria-label="{label}: mean of each phase over time, stacked, and {data.of} above it; the table of phases has the same figures"></div>
<figcaption>Each bar is one checkpoint, or the mean of several in a row. Choose a bar or a point to see its slowest checkpoint
 below.</figcaption></figure>
<h3>Distributions</h3>
<figure><div class="plot" data-figure="distribution" data-series="{number}" role="img"
 aria-label="{label}: a histogram of each phase on a logarithmic axis; the table of phases has the same figures"></div>
<figcaption>20 bins a decade; each row is as high as its own fullest bin. Two hills in a row are two ways a phase goes.</figcaption></figure>
<div class="pair"><div><h3 id="slow{number}">Slowest checkpoints</h3>
{_slowest(number, data)}</div>
<div class="chosen"><h3 id="w{number}">One checkpoint</h3>
<form class="choose" data-series="{number}"><label for="c{number}">Checkpoint</label>
<input id="c{number}" inputmode="numeric" autocomplete="off" size="9" value="">
<button type="submit">Show</button>
<button type="button" data-step="-1">Previous</button><button type="button" data-step="1">Next</button></form>
<p class="muted">{whole}</p>
<p class="said" role="status" aria-live="polite"></p>
<figure><div class="waterfall" data-series="{number}" role="img" aria-label=""></div></figure>
<div class="detail"></div></div></div>
</section>"""


def _lost(data: SeriesData) -> str:
    counts = data.series.counts
    parts = [f"{counts.completed:,} completed", f"{counts.incomplete:,} incomplete", f"{counts.aborted:,} aborted"]
    lost = "lost: not known" if counts.lost is None else f"{counts.lost:,} lost ({text(counts.lost_from)})"
    worst = " warn" if counts.incomplete or counts.aborted or counts.lost else ""
    return f'<p class="counts{worst}">{", ".join(parts)}, {lost}</p>'


def _facts(data: SeriesData) -> str:
    header = data.series.header
    facts: Mapping[str, Any] = {
        "host": header.host,
        "VM": header.vm,
        "VM uuid": header.vm_uuid,
        "pid": header.pid,
        "QEMU": header.qemu_version,
        "build-id": header.build_id,
        "kernel": header.kernel,
        "started": header.started,
        "checkpoint delay": f"{header.checkpoint_delay_ms} ms" if header.checkpoint_delay_ms is not None else None,
    }
    shown = "".join(
        f"<div><dt>{name}</dt><dd>{text(value) if value is not None else '-'}</dd></div>" for name, value in facts.items()
    )
    notes = [f"failover: {_failover(one)}" for one in data.series.failovers]
    notes += [str(one.get("message", one.get("event", ""))) for one in data.series.notes]
    said = "".join(f"<li>{text(one)}</li>" for one in notes[:100])
    more = f"<li>and {len(notes) - 100:,} more</li>" if len(notes) > 100 else ""
    return f'<dl class="facts">{shown}</dl>' + (f"<details><summary>Notes ({len(notes)})</summary><ul>{said}{more}</ul></details>" if notes else "")


def _failover(one: Mapping[str, Any]) -> str:
    return f"{one.get('mode')}, {one.get('reason')}; last good checkpoint {one.get('last_good')}"


def _phases(data: SeriesData) -> str:
    heads = ("phase", "n", *(_NAMES.get(name, name) for name in _FIGURES), "share")
    total = data.distributions.get("total")
    rows = []
    for row in ("wait", *data.parts, "total", "pause"):
        found = data.distributions.get(row)
        colour = f'<i class="key p-{row}" aria-hidden="true"></i>' if row not in ("total", "pause") else ""
        cells = [f'<th scope="row">{colour}{row}</th>']
        if found is None:
            reason = data.series.missing(f"{row}_ns") or "not seen"
            cells.append(f'<td class="muted left" colspan="{len(heads) - 1}">{text(reason)}</td>')
        else:
            cells.append(f"<td>{found.n:,}</td>")
            cells += [_time_cell(getattr(found, name), found.missing.get(name)) for name in _FIGURES]
            share = f"{found.total / total.total:.1%}" if total and total.total and row in data.parts else ""
            cells.append(f"<td>{share}</td>")
        rows.append(f'<tr class="{"sum" if row in ("total", "pause") else "part"}">{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Phases"><table class="phases"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _slowest(number: int, data: SeriesData) -> str:
    if not data.slowest:
        return "<p>No checkpoint can be ranked: neither pause nor total is known of all.</p>"
    places = {row: i for i, row in enumerate(data.rows)}
    names = identifiers(data)
    offset = int(data.series.wall_offset_ns())
    rows = []
    for rank, row in enumerate(data.slowest, 1):
        record = data.records[places[row]]
        name = names[places[row]]
        made = data.excess(record)
        begin = record["begin_ns"]
        cells = [
            f"<td>{rank}</td>",
            f'<th scope="row"><a href="#s{number}-c{name}">{name}</a></th>',
            _time_cell(record[f"{data.of}_ns"]),
            f'<td class="left"><i class="key p-{made[0]}" aria-hidden="true"></i>{made[0]}</td>{_time_cell(made[1])}'
            if made
            else "<td>-</td><td>-</td>",
            f'<td class="time">{_time(begin + offset)[:-3] if begin is not None else "-"}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", "checkpoint", data.of, "made by", "over its median", "began (UTC)"))
    return (
        f'<div class="scroll slowest" role="region" aria-labelledby="slow{number}"><table class="slow">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="muted">Arrow keys move through the list; the chosen checkpoint is in the address, to be linked.</p>'
    )


def _count(name: str, value: int | None) -> str:
    return f'<td class="{"warn" if value and name != "completed" else ""}">{"-" if value is None else f"{value:,}"}</td>'


def _time_cell(ns: float | None, reason: str | None = None) -> str:
    title = f"{round(ns):,} ns" if ns is not None else reason or "not known"
    return f'<td title="{text(title)}">{time_text(ns)}</td>'


