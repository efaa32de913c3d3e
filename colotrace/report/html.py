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
from string import Template
from typing import Any

from colotrace.report import sections
from colotrace.report.embed import columns
from colotrace.report.figures import base_layout, distributions, over_time, theme_layout
from colotrace.report.pagedata import SeriesData
from colotrace.report.palette import PHASE_COLOURS, PHASE_TEXTURES, THEMES


def page(series: Sequence[SeriesData], problems: Sequence[str], title: str) -> str:
    """The whole page. `problems` are the recording's, shown first; `title` names it."""
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs()
    script, style = _asset("page.js"), _asset("page.css")
    themes = {theme.name: theme_layout(theme) for theme in THEMES}
    data = {
        "themes": themes,
        "texts": {theme.name: theme.text for theme in THEMES},
        "colours": PHASE_COLOURS,
        "textures": PHASE_TEXTURES,
        "layout": base_layout(420),
        "series": [
            {
                "role": one.role.value,
                "figures": {"time": over_time(one), "distribution": distributions(one)},
                "checkpoints": columns(one),
                "slowest": list(one.slowest),
            }
            for one in series
        ],
    }
    return Template(_asset("template.html")).substitute(
        policy=escape(_policy(plotly, script)),
        title=escape(title),
        style=style + _theme_rules(),
        problems=sections.problems(problems),
        overview=sections.overview(series),
        sections="\n".join(sections.section(number, one) for number, one in enumerate(series, 1)),
        data=json_text(data),
        plotly=base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode(),
        script=script,
    )


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
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _theme_rules() -> str:
    """The palette's themes as custom properties: by the system's preference, and by the button."""
    return "".join(_rules())


def _rules() -> Iterator[str]:
    for theme in THEMES:
        names = ("paper", "text", "muted", "grid", "accent", "warning")
        values = ";".join(f"--{name}:{getattr(theme, name)}" for name in names) + f";color-scheme:{theme.name}"
        yield f':root[data-theme="{theme.name}"]{{{values}}}\n'
        if theme.name == "light":
            yield f":root{{{values}}}\n"
        else:
            yield f"@media (prefers-color-scheme:dark){{:root:not([data-theme]){{{values}}}}}\n"
    yield "".join(f".p-{name}{{background:{colour}}}\n" for name, colour in PHASE_COLOURS.items())
