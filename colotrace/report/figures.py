"""Pictures of a series as plotly figures (plain dictionaries): the page and the PNG show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import log10
from typing import Any

from colotrace.analysis.summary import Row
from colotrace.analysis.trend import Bin
from colotrace.report.pagedata import SeriesData
from colotrace.report.palette import FONT, LIGHT, PHASE_COLOURS, PHASE_TEXTURES, Theme
from colotrace.units import time_text

Figure = dict[str, Any]
_MEDIAN, _P99, _MAX = "#009e73", "#8c8c8c", "#d55e00"
_ROW = {"total": "#56b4e9", "pause": "#cc79a7"}
_UNITS = ((1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s"))


def theme_layout(theme: Theme) -> Figure:
    """The colours of a figure's surroundings as a relayout: keys with dots, as plotly.js takes them."""
    layout: Figure = {"paper_bgcolor": theme.paper, "plot_bgcolor": theme.paper, "font.color": theme.text}
    for axis in ("xaxis", "yaxis", "yaxis2"):
        layout |= {
            f"{axis}.gridcolor": theme.grid,
            f"{axis}.linecolor": theme.muted,
            f"{axis}.zerolinecolor": theme.muted,
        }
    return layout | {"hoverlabel.bgcolor": theme.paper, "hoverlabel.font.color": theme.text}


def base_layout(height: int) -> Figure:
    """What all figures share, in light colours."""
    axis = {"gridcolor": LIGHT.grid, "linecolor": LIGHT.muted, "zeroline": False, "automargin": True}
    return {
        "height": height,
        "margin": {"l": 70, "r": 20, "t": 34, "b": 44},
        "paper_bgcolor": LIGHT.paper,
        "plot_bgcolor": LIGHT.paper,
        "font": {"family": FONT, "size": 13, "color": LIGHT.text},
        "hoverlabel": {"bgcolor": LIGHT.paper, "font": {"color": LIGHT.text}, "align": "left"},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.01,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "dragmode": "zoom",
    }


def phase_marker(phase: str) -> Figure:
    """A bar's fill: the phase's colour, and its texture over it."""
    pattern = {"shape": PHASE_TEXTURES[phase], "fillmode": "overlay", "fgcolor": "#000000", "fgopacity": 0.3, "size": 6}
    return {"color": PHASE_COLOURS[phase], "pattern": pattern, "line": {"width": 0}}


def over_time(data: SeriesData) -> Figure:
    """The mean of each phase per bin, stacked; above it, on a log axis, median, p99 and longest of the pause."""
    bins, of = [bar.bin for bar in data.bars], data.report.trend.of
    slowest = [bar.slowest for bar in data.bars]
    wall = data.times_of_day
    figure: Figure = {"data": [], "layout": base_layout(560)}
    if not bins:
        return figure
    widths = _widths(bins)
    when = [_x(b.begin_ns, wall) for b in bins]
    for part in data.parts:
        values = [b.mean_ns.get(part) for b in bins]
        if not any(values):
            continue
        figure["data"].append(
            {
                "type": "bar",
                "name": part,
                "x": when,
                "y": [None if v is None else v / 1e6 for v in values],
                "width": [w if wall else w / 1e3 for w in widths],
                "offset": 0,
                "marker": phase_marker(part),
                "customdata": [
                    [row, _counted(b, wall), time_text(v), "" if v is None else f"{v:,} ns"]
                    for row, b, v in zip(slowest, bins, values, strict=True)
                ],
                "hovertemplate": f"<b>{part}</b> "
                "%{customdata[2]} (%{customdata[3]})<br>%{customdata[1]}<extra></extra>",
            }
        )
    middles = [_x(b.begin_ns + int(w * 5e5), wall) for b, w in zip(bins, widths, strict=True)]
    one_each = all(b.n == 1 for b in bins)
    lines: list[tuple[str, Sequence[int | None], str, str, str]] = [
        ("longest", [b.max_ns for b in bins], _MAX, "markers", "circle")
    ]
    if not one_each:
        lines += [("median", [b.median_ns for b in bins], _MEDIAN, "lines", "")]
        if any(b.p99_ns for b in bins):
            lines += [("p99", [b.p99_ns for b in bins], _P99, "lines", "")]
    for name, times, colour, mode, symbol in lines:
        trace: Figure = {
            "type": "scatter",
            "name": of if one_each else f"{of}, {name}",
            "legend": "legend2",
            "x": middles,
            "y": [None if v is None else v / 1e6 for v in times],
            "yaxis": "y2",
            "mode": mode,
            "line": {"color": colour, "width": 2, "dash": "dot" if name == "p99" else "solid"},
            "customdata": [
                [row, _counted(b, wall), time_text(v)] for row, b, v in zip(slowest, bins, times, strict=True)
            ],
            "hovertemplate": f"<b>{of} {name}</b> %{{customdata[2]}}<br>%{{customdata[1]}}<extra></extra>",
        }
        if symbol:
            trace["marker"] = {"color": colour, "symbol": symbol, "size": 6}
        figure["data"].append(trace)
    layout = figure["layout"]
    layout["barmode"] = "stack"
    if wall:
        layout["xaxis"] |= {"type": "date", "rangebreaks": _breaks(bins), "title": {"text": "time of day (UTC)"}}
    else:
        layout["xaxis"] |= {"title": {"text": "seconds of CLOCK_MONOTONIC"}}
    layout["yaxis"] |= {"domain": [0, 0.58], "title": {"text": "mean per checkpoint, ms"}, "rangemode": "tozero"}
    ends = [v for b in bins for v in (b.median_ns, b.max_ns) if v]
    layout["yaxis2"] = base_layout(0)["yaxis"] | {"type": "log", "domain": [0.72, 1], "title": {"text": of}}
    layout["yaxis2"] |= _time_ticks(1e6, (1, 2, 5)) | _log_range(ends, 1e6)
    layout["legend"] |= {"y": 0.585}
    layout["legend2"] = layout["legend"] | {"y": 1.005}
    return figure


def distributions(data: SeriesData) -> Figure:
    """One row per phase: a histogram on a shared log axis of time, with marks at median, p99 and maximum."""
    rows = [row for row in data.report.rows if row.histogram]
    figure: Figure = {"data": [], "layout": base_layout(90 + 46 * len(rows))}
    marks: dict[str, tuple[str, str, list[Any]]] = {
        "median": ("p50", "line-ns-open", []),
        "p99": ("p99", "diamond-open", []),
        "maximum": ("max", "triangle-left", []),
    }
    for index, one in enumerate(reversed(rows)):
        row, found, counts = one.name, one.histogram, one.distribution.n
        assert found is not None
        most = max(found.counts)
        x: list[float] = [max(found.edges[0], 0.7)]
        y, text = [float(index)], [""]
        for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
            label = (
                f"<b>{row}</b> {time_text(low)} to {time_text(high)}<br>{count:,} of {counts:,} ({count / counts:.2%})"
            )
            x += [max(low, 0.7), high]
            y += [index + 0.82 * count / most] * 2
            text += [label, label]
        x, y, text = [*x, x[-1]], [*y, float(index)], [*text, ""]
        colour = PHASE_COLOURS.get(row) or _ROW[row]
        figure["data"].append(
            {
                "type": "scatter",
                "name": row,
                "mode": "lines",
                "x": x,
                "y": y,
                "fill": "toself",
                "fillcolor": colour,
                "line": {"color": colour, "width": 1},
                "text": text,
                "hovertemplate": "%{text}<extra></extra>",
                "hoveron": "points",
                "showlegend": False,
            }
        )
        for field, _symbol, points in marks.values():
            value = getattr(one.distribution, field)
            if value:
                points.append((value, index, f"{row}: {time_text(value)}<br>{value:,} ns"))
    for name, (_field, symbol, points) in marks.items():
        if points:
            figure["data"].append(
                {
                    "type": "scatter",
                    "name": name,
                    "mode": "markers",
                    "x": [p[0] for p in points],
                    "y": [p[1] - 0.02 for p in points],
                    "meta": "ink",
                    "marker": {
                        "symbol": symbol,
                        "size": 9,
                        "color": LIGHT.text,
                        "line": {"width": 2, "color": LIGHT.text},
                    },
                    "text": [p[2] for p in points],
                    "hovertemplate": f"<b>{name}</b> %{{text}}<extra></extra>",
                }
            )
    layout = figure["layout"]
    layout["xaxis"] |= {"type": "log", "title": {"text": "time (logarithmic)"}, **_time_ticks(1)}
    layout["xaxis"] |= _log_range(_ends(rows))
    labels = {"tickvals": list(range(len(rows))), "ticktext": [f"<b>{row.name}</b>" for row in reversed(rows)]}
    layout["yaxis"] |= {**labels, "range": [-0.3, len(rows)], "fixedrange": True}
    layout["legend"] |= {"y": 1.0}
    return figure


def _x(ns: int, wall: bool) -> str | float:
    """A moment on the axis: a date, or seconds of a clock that knows no date."""
    return time_of_day(ns) if wall else ns / 1e9


def time_of_day(ns: int) -> str:
    """A wall-clock time as plotly takes it: UTC, to the microsecond."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)).strftime("%Y-%m-%d %H:%M:%S.%f")


def _widths(bins: Sequence[Bin]) -> list[float]:
    """How wide each bar is, in ms of the axis: up to the next, but no wider than its own checkpoints say."""
    gaps = sorted(b.begin_ns - a.begin_ns for a, b in pairwise(bins))
    usual = gaps[len(gaps) // 2] if gaps else 1_000_000_000
    widths = []
    for one, after in zip(bins, [*bins[1:], None], strict=True):
        own = (one.end_ns - one.begin_ns) * one.n // (one.n - 1) if one.n > 1 else 2 * usual
        widths.append(min(own, after.begin_ns - one.begin_ns if after else usual if one.n == 1 else own) / 1e6)
    return widths


def _breaks(bins: Sequence[Bin]) -> list[Figure]:
    """Stretches without checkpoints that would take a quarter of the axis: left out of it."""
    span = bins[-1].end_ns - bins[0].begin_ns
    return [
        {
            "bounds": [
                time_of_day(a.end_ns + (b.begin_ns - a.end_ns) // 20),
                time_of_day(b.begin_ns - (b.begin_ns - a.end_ns) // 50),
            ]
        }
        for a, b in pairwise(bins)
        if b.begin_ns - a.end_ns > span / 4
    ]


def _counted(one: Bin, wall: bool) -> str:
    """When, and how many."""
    begin, end = (time_of_day(ns)[:-3] if wall else f"{ns / 1e9:,.3f}" for ns in (one.begin_ns, one.end_ns))
    unit = "UTC" if wall else "s"
    return f"{begin} {unit}" if one.n == 1 else f"{begin} to {end} {unit}<br>{one.n:,} checkpoints"


def _ends(rows: Sequence[Row]) -> list[int]:
    return [end for row in rows if row.histogram for end in (max(1, row.histogram.edges[0]), row.histogram.edges[-1])]


def _time_ticks(unit: float, steps: Sequence[int] = (1,)) -> Figure:
    """Ticks at these steps of each power of ten, with their unit; `unit` is the axis's in nanoseconds."""
    each = [step * ten for ten in (1, 10, 100) for step in steps]
    values = [factor * number for factor, _ in _UNITS for number in each]
    return {
        "tickvals": [v / unit for v in values],
        "ticktext": [f"{number} {unit_name}" for _, unit_name in _UNITS for number in each],
    }


def _log_range(values: list[int], unit: float = 1) -> Figure:
    """An axis's range with some air at both ends."""
    if not values:
        return {}
    low, high = log10(min(values) / unit), log10(max(values) / unit)
    air = max(0.15, 0.05 * (high - low))
    return {"range": [low - air, high + air]}
