"""Pictures of a pair as plotly figures (plain dictionaries): where the primary's waits go, over the run."""

from __future__ import annotations

from colotrace.report.figures import Figure, base_layout
from colotrace.report.pairdata import PairData, SplitBin
from colotrace.report.palette import PHASE_COLOURS, PHASE_TEXTURES, WAIT_COLOURS, WAIT_TEXTURES
from colotrace.units import time_text

_ROW_HEIGHT = 230


def part_look(part: str) -> tuple[str, str]:
    """A part's colour and texture: a phase of the secondary has its phase's."""
    phase = part.removeprefix("secondary ")
    if part in WAIT_COLOURS:
        return WAIT_COLOURS[part], WAIT_TEXTURES[part]
    return PHASE_COLOURS[phase], PHASE_TEXTURES[phase]


def waits_over_run(data: PairData) -> Figure:
    """The mean of each part per bin of checkpoints, stacked; one row a wait."""
    waits = list(data.bins.items())
    figure: Figure = {"data": [], "layout": base_layout(80 + _ROW_HEIGHT * len(waits))}
    layout, told = figure["layout"], set()
    height = 1 / len(waits) if waits else 1
    for row, (phase, bins) in enumerate(waits):
        axis = "y" if row == 0 else f"y{row + 1}"
        for part in bins[0].mean_ns:
            if not any(one.mean_ns[part] for one in bins):
                continue
            figure["data"].append(_bars(phase.value, part, bins, axis) | {"showlegend": part not in told})
            told.add(part)
        top = 1 - row * height
        name = "yaxis" if row == 0 else f"yaxis{row + 1}"
        layout[name] = base_layout(0)["yaxis"] | {
            "domain": [top - height + (0.06 if row + 1 < len(waits) else 0), top], "rangemode": "tozero",
            "title": {"text": f"{phase.value}, ms"},
        }  # fmt: skip
    layout["barmode"] = "stack"
    layout["xaxis"] |= {"title": {"text": "the primary's checkpoint number"}, "anchor": f"y{len(waits)}"}
    layout["xaxis"]["tickformat"] = "d"
    return figure


def _bars(wait: str, part: str, bins: tuple[SplitBin, ...], axis: str) -> Figure:
    colour, texture = part_look(part)
    pattern = {"shape": texture, "fillmode": "overlay", "fgcolor": "#000000", "fgopacity": 0.3, "size": 6}
    means = [one.mean_ns[part] for one in bins]
    return {
        "type": "bar",
        "name": part,
        "legendgroup": part,
        "x": [(one.first + one.last) / 2 for one in bins],
        "width": [one.last - one.first + 1 for one in bins],
        "y": [mean / 1e6 for mean in means],
        "yaxis": axis,
        "marker": {"color": colour, "pattern": pattern, "line": {"width": 0}},
        "customdata": [
            [one.longest, _which(one), time_text(mean), f"{mean:,} ns"] for one, mean in zip(bins, means, strict=True)
        ],
        "hovertemplate": f"<b>{wait}: {part}</b> %{{customdata[2]}} (%{{customdata[3]}})<br>%{{customdata[1]}}"
        "<extra></extra>",
    }


def _which(one: SplitBin) -> str:
    if one.n == 1:
        return f"checkpoint {one.first:,}"
    return f"mean of {one.n:,} checkpoints, {one.first:,} to {one.last:,}; the longest is {one.longest:,}"
