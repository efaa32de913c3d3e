"""The report's pictures as one PNG, a row a series: what the page draws, drawn by a Chromium through kaleido."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from colotrace.analysis.summary import Report
from colotrace.errors import EnvironmentFault
from colotrace.report.figures import Figure, base_layout, distributions, over_time
from colotrace.report.pagedata import SINGLE_BARS, SeriesData, gather
from colotrace.report.wording import outcomes_text
from colotrace.text import printable

WIDTH, ROW_HEIGHT = 1600, 620
MOST_SERIES = 12
"""More rows than that make a picture that browsers refuse to draw."""
_REMEDY = "Install one (Debian: apt install chromium), or set BROWSER_PATH to it; --format html needs none."


def png(report: Report) -> bytes:
    """The picture. Raises EnvironmentFault if there is no browser to draw it, or it fails."""
    if len(report.series) > MOST_SERIES:
        raise EnvironmentFault(
            f"one picture holds {MOST_SERIES} series at most; there are {len(report.series)}",
            "Choose with --vm and --role, or use --format html.",
        )
    series = [gather(one, source, SINGLE_BARS) for one, source in zip(report.series, report.source, strict=True)]
    return draw(combined(series))


def draw(figure: Figure) -> bytes:
    """A figure as PNG, at twice its size in pixels. No network: kaleido would fetch MathJax, unless told not to."""
    import kaleido
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    size = {"format": "png", "width": figure["layout"]["width"], "height": figure["layout"]["height"], "scale": 1.5}
    try:
        drawn: bytes = kaleido.calc_fig_sync(figure, opts=size, kopts={"mathjax": False})
    except ChromeNotFoundError as error:
        raise EnvironmentFault("a PNG is drawn by Chrome or Chromium, and none was found", _REMEDY) from error
    except BrowserFailedError as error:
        raise EnvironmentFault(f"the browser that draws the PNG has failed: {error}", _REMEDY) from error
    return drawn


def combined(series: Sequence[SeriesData]) -> Figure:
    """All pictures in one figure: a row per series, time on the left, distributions on the right."""
    rows = len(series)
    figure: Figure = {"data": [], "layout": base_layout(ROW_HEIGHT * rows)}
    layout = figure["layout"]
    del layout["xaxis"], layout["yaxis"], layout["legend"]
    layout |= {"width": WIDTH, "barmode": "stack", "annotations": [], "margin": {"l": 90, "r": 30, "t": 20, "b": 60}}
    for row, one in enumerate(series):
        bottom, top = (rows - row - 1) / rows, (rows - row) / rows
        height = top - bottom
        place = (bottom + 0.125 * height, top - 0.13 * height)
        _add(figure, over_time(one), 4 * row, (0.0, 0.53), place)
        _add(figure, distributions(one), 4 * row + 2, (0.6, 1.0), place)
        words = f"<b>{_plain(one.report.label)}</b>   {_plain(outcomes_text(one.report.outcomes))}"
        layout["annotations"].append(
            {
                "text": words,
                "x": 0,
                "y": top,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "top",
                "showarrow": False,
                "font": {"size": 17},
            }
        )
    return figure


def _plain(words: str) -> str:
    """Text as plotly shows it as it is: it knows a few tags."""
    return escape(printable(words), quote=False)


def _add(figure: Figure, part: Figure, base: int, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Puts a figure of its own into a part of another: its axes and legends get numbers from `base`, and places."""

    def renamed(name: str) -> str:
        found = re.fullmatch(r"([xy](?:axis)?|legend)(\d*)", name)
        assert found
        number = base + int(found[2] or 1)
        return f"{found[1]}{number if number > 1 else ''}"

    def within(place: Sequence[float], whole: tuple[float, float]) -> list[float]:
        return [whole[0] + (whole[1] - whole[0]) * at for at in place]

    for trace in part["data"]:
        keys = {
            key: renamed(trace.get(key, default))
            for key, default in (("xaxis", "x"), ("yaxis", "y"), ("legend", "legend"))
        }
        figure["data"].append({**trace, **keys})
    for name, value in part["layout"].items():
        if not re.fullmatch(r"([xy]axis|legend)\d*", name):
            continue
        moved: dict[str, Any] = dict(value)
        if name.startswith("legend"):
            moved |= {"x": x[0], "y": within([min(value["y"], 1.01)], y)[0]}
        else:
            moved["domain"] = within(value.get("domain", (0, 1)), x if name.startswith("x") else y)
            moved["anchor"] = renamed("y" if name.startswith("x") else "x")
        figure["layout"][renamed(name)] = moved
