"""A comparison as one self-contained HTML page, each interval drawn; dark and light; no script, no network."""

from __future__ import annotations

import html
import math

from colotrace.analysis.compare import Comparison, Row, Verdict
from colotrace.report.compare_cells import cells, counts_text, differs_text, headings, method, reasons
from colotrace.text import printable

_WIDTH, _HEIGHT, _WIDEST = 220, 18, 1.0
"""Of a drawing in pixels; and the largest power of two that it shows on either side of 1."""
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--line:#999;--worse:#b34700;--better:#0062a8}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--paper:#161616;--line:#777;--worse:#ffa14d;--better:#69b8ff}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;
padding:0 1rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}th:nth-last-child(2){text-align:center}
.worse{color:var(--worse);font-weight:600}.better{color:var(--better);font-weight:600}
svg{display:block}li,p{overflow-wrap:anywhere}
"""


def as_html(comparison: Comparison, problems: tuple[str, ...] = ()) -> str:
    """The page. Names are text, never markup."""
    about = [*problems, counts_text("A", comparison.a), counts_text("B", comparison.b), *differs_text(comparison)]
    notes = [*reasons(comparison), *comparison.notes]
    *first, last = headings(comparison)
    columns = [*first, "0.5 … 1 … 2", last]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>colotrace compare</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{_text(comparison.summary)}</h1>\n"
        f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in about)}</ul>\n<table><thead><tr>"
        f"{''.join(f'<th scope=col>{_text(one)}</th>' for one in columns)}</tr></thead><tbody>\n"
        f"{''.join(map(_row, comparison.rows))}</tbody></table>\n"
        f"<ul>{''.join(f'<li>{_text(note)}</li>' for note in notes)}</ul>\n"
        f"<p>{_text(method(comparison))}</p>\n</body></html>\n"
    )


def _row(row: Row) -> str:
    *figures, verdict = cells(row)
    kind = {Verdict.WORSE: "worse", Verdict.BETTER: "better"}.get(row.verdict, "")
    tds = "".join(f"<td>{_text(one)}</td>" for one in figures)
    return f'<tr>{tds}<td>{_drawing(row, kind)}</td><td class="{kind}">{_text(verdict)}</td></tr>\n'


def _drawing(row: Row, kind: str) -> str:
    """The interval on a log axis around 1; nothing where there is none."""
    ratio = row.ratio
    if ratio.low is None or ratio.high is None or ratio.value is None:
        return ""
    left, right, middle = _x(ratio.low), _x(ratio.high), _x(ratio.value)
    colour = f"var(--{kind})" if kind else "var(--ink)"
    y = _HEIGHT // 2
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{_text(cells(row)[4])}">'
        f'<line x1="{_x(1)}" y1="0" x2="{_x(1)}" y2="{_HEIGHT}" stroke="var(--line)"/>'
        f'<line x1="{left}" y1="{y}" x2="{max(right, left + 1)}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{middle}" cy="{y}" r="4" fill="{colour}"/></svg>'
    )


def _x(ratio: float) -> float:
    power = -_WIDEST if ratio <= 0 else _WIDEST if math.isinf(ratio) else math.log2(ratio)
    power = max(-_WIDEST, min(_WIDEST, power))
    return round(5 + (_WIDTH - 10) * (power + _WIDEST) / (2 * _WIDEST), 1)


def _text(text: str) -> str:
    return html.escape(printable(text))
