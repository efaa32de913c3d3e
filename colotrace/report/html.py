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
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template
from typing import Any

from colotrace.analysis.summary import Report
from colotrace.report import sections
from colotrace.report.embed import columns
from colotrace.report.figures import base_layout, distributions, over_time, theme_layout
from colotrace.report.pagedata import PART, WHOLE, SeriesData, gather
from colotrace.report.palette import PHASE_COLOURS, PHASE_TEXTURES, THEMES

LEAST_OF_SERIES = 100


def html(report: Report) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs()
    script, style = _asset("page.js"), _asset("page.css")
    series = _gathered(report)
    title = "COLO checkpoints: " + ", ".join(dict.fromkeys(PurePath(one).name or one for one in report.sources))
    data = {
        "themes": {theme.name: theme_layout(theme) for theme in THEMES},
        "texts": {theme.name: theme.text for theme in THEMES},
        "colours": PHASE_COLOURS,
        "textures": PHASE_TEXTURES,
        "layout": base_layout(420),
        "series": [
            {
                "figures": {"time": over_time(one), "distribution": distributions(one)},
                "checkpoints": columns(one),
                "slowest": [slow.row_index for slow in one.report.slowest],
            }
            for one in series
        ],
    }
    return Template(_asset("template.html")).substitute(
        policy=escape(_policy(plotly, script)),
        title=sections.text(title),
        style=style + "".join(_theme_rules()),
        problems=sections.problems("Problems", (*report.problems, *report.differences)),
        overview=sections.overview([one.report for one in series]),
        sections="\n".join(sections.section(number, one) for number, one in enumerate(series, 1)),
        data=json_text(data),
        plotly=base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode(),
        script=script,
    )


def _gathered(report: Report) -> list[SeriesData]:
    """Each series with its part of the checkpoints that fit: all, or by its size, but some of each."""
    sizes = [one.outcomes.completed for one in report.series]
    total = sum(sizes)
    budgets = sizes if total <= WHOLE else [max(LEAST_OF_SERIES, size * PART // total) for size in sizes]
    return [gather(*one) for one in zip(report.series, report.source, budgets, strict=True)]


def json_text(data: Any) -> str:
    """JSON that may stand in a script element: no `<` can end it or begin a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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
