"""The report as one HTML file: nothing is fetched, and nothing in a recording can become markup or code.

plotly.js comes from the plotly package. It is carried gzipped and unpacked by the browser (DecompressionStream): 2 MB
instead of 5, and a page that fits a mail. The content security policy allows no network at all, and no script but the
two whose SHA-256 it names.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template
from typing import Any

from colotrace.analysis.pairs import Pair
from colotrace.analysis.summary import Report
from colotrace.phases import SENDERS
from colotrace.report import pairsections, sections
from colotrace.report.embed import columns
from colotrace.report.figures import base_layout, distributions, over_time, theme_layout
from colotrace.report.pagedata import PART, WHOLE, SeriesData
from colotrace.report.pagedata import gather as gather_series
from colotrace.report.pairdata import PairData, gather, gather_pairs
from colotrace.report.pairfigures import waits_over_run
from colotrace.report.palette import PHASE_COLOURS, PHASE_TEXTURES, THEMES
from colotrace.report.tables import problems, text

LEAST_OF_SERIES = 100
_SCRIPTS = ("base.js", "pair.js", "page.js")


def html(report: Report) -> str:
    """The whole page of a report."""
    series, pairs = _gathered(report), gather_pairs(report)
    both = pairsections.links(pairs)
    return _page(
        "COLO checkpoints: " + _names(report.sources),
        series,
        pairs,
        problems("Problems", (*report.problems, *report.differences)),
        sections.overview([one.report for one in series]) + pairsections.summary(pairs, report.pairs.problems),
        *(sections.section(number, one, both) for number, one in enumerate(series, 1)),
    )


def pair_html(pair: Pair, sources: Sequence[str], found_problems: Sequence[str] = ()) -> str:
    """A page with nothing but both sides of a pair."""
    title = "COLO checkpoints on both sides: " + _names(sources)
    return _page(title, [], [gather(pair)], problems("Problems", found_problems), "")


def _page(
    title: str, series: list[SeriesData], pairs: list[PairData], warnings: str, overview: str, *parts: str
) -> str:
    """A page; `warnings`, `overview` and `parts` are markup that stands before the pairs."""
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs()
    script, style = "".join(map(_asset, _SCRIPTS)), _asset("page.css")
    data = {
        "themes": {theme.name: theme_layout(theme) for theme in THEMES},
        "texts": {theme.name: theme.text for theme in THEMES},
        "grids": {theme.name: theme.grid for theme in THEMES},
        "papers": {theme.name: theme.paper for theme in THEMES},
        "colours": PHASE_COLOURS,
        "textures": PHASE_TEXTURES,
        "senders": {mark.name: role.value for mark, role in SENDERS.items()},
        "layout": base_layout(420),
        "series": [
            {
                "figures": {"time": over_time(one), "distribution": distributions(one)},
                "checkpoints": columns(one),
                "slowest": [slow.row_index for slow in one.report.slowest],
            }
            for one in series
        ],
        "pairs": [
            {"figures": {"waits": waits_over_run(one)}, "checkpoints": one.columns, "first": one.first} for one in pairs
        ],
    }
    return Template(_asset("template.html")).substitute(
        policy=escape(_policy(plotly, script)),
        title=text(title),
        style=style + "".join(_theme_rules()),
        problems=warnings,
        overview=overview,
        sections="\n".join((*parts, *(pairsections.section(number, one) for number, one in enumerate(pairs, 1)))),
        data=json_text(data),
        plotly=base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode(),
        script=script,
    )


def _names(sources: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(PurePath(one).name or one for one in sources))


def _gathered(report: Report) -> list[SeriesData]:
    """Each series with its part of the checkpoints that fit: all, or by its size, but some of each."""
    sizes = [one.outcomes.completed for one in report.series]
    total = sum(sizes)
    budgets = sizes if total <= WHOLE else [max(LEAST_OF_SERIES, size * PART // total) for size in sizes]
    return [gather_series(*one) for one in zip(report.series, report.source, budgets, strict=True)]


def json_text(data: Any) -> str:
    """JSON that may stand in a script element: no `<` can end it or begin a comment."""
    words = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return words.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files("colotrace.report").joinpath("page", name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    rest = "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {hashes}; {rest}"


def _theme_rules() -> Iterator[str]:
    """The palette's themes as custom properties: by the system's preference, and by the button."""
    for theme in THEMES:
        names = ("paper", "text", "muted", "grid", "accent", "warning")
        values = ";".join(f"--{name}:{getattr(theme, name)}" for name in names) + f";color-scheme:{theme.name}"
        yield f':root[data-theme="{theme.name}"]{{{values}}}\n'
        if theme.name == "light":
            yield f":root{{{values}}}\n"
        else:
            yield f"@media (prefers-color-scheme:dark){{:root:not([data-theme]){{{values}}}}}\n"
    yield "".join(f".p-{name}{{background:{colour}}}\n" for name, colour in PHASE_COLOURS.items())
