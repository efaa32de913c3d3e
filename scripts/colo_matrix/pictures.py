"""Small multiples, drawn by plotly: a picture per axis of the grid and role, a panel per phase, on log axes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colotrace.phases import Role
from colotrace.report.palette import FONT, LIGHT, SERIES_COLOURS
from colotrace.units import size_text, time_text

from .results import Measured, column_of
from .seed import SeedResult, seed_results

WIDTH, HEIGHT, COLUMNS = 920, 480, 4
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
DECIMALS = tuple(step * 10.0**decade for decade in range(12) for step in (1, 2, 3, 5))
POWERS_OF_TWO = tuple(2.0**power for power in range(40))
CHROMIUM = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class Panel:
    """One figure of one role; `field` is the seed's name for it. `first`: the first checkpoint's, no median."""

    role: Role
    title: str
    field: str
    first: bool = False

    def points(self, one: Measured) -> list[float]:
        """A value per run of the cell."""
        side = one.sides[self.role]
        column = column_of(self.field)
        return [float(value) for value in side.first(column)] if self.first else side.medians(column)


@dataclass(frozen=True)
class View:
    """A picture: what runs along x, what a line is, and the one value at which the third axis is held."""

    file: str
    title: str
    x: str
    line: str
    held: str
    prefer: int
    name: Callable[[int], str]


def _phase(role: Role, stem: str) -> Panel:
    return Panel(role, stem, f"{stem}_time")


PANELS = (
    *(_phase(Role.PRIMARY, stem) for stem in ("stat", "dev", "ram", "put", "recv", "load", "resume")),
    Panel(Role.PRIMARY, "total", "avg_time"),
    *(_phase(Role.SECONDARY, stem) for stem in ("stat", "ram", "put", "recv", "load")),
    Panel(Role.SECONDARY, "total", "avg_time"),
    Panel(Role.SECONDARY, "load of the first checkpoint", "load_time", first=True),
    Panel(Role.SECONDARY, "size of the device state", "dev_size"),
)
VIEWS = (
    View("matrix-vcpus", "with vCPUs", "vcpus", "dirty_mib", "memory_mib", 2048, lambda v: f"{v} MiB dirtied"),
    View("matrix-memory", "with memory (MiB)", "memory_mib", "dirty_mib", "vcpus", 8, lambda v: f"{v} MiB dirtied"),
    View(
        "matrix-dirty",
        "with MiB dirtied",
        "dirty_mib",
        "vcpus",
        "memory_mib",
        2048,
        lambda v: "1 vCPU" if v == 1 else f"{v} vCPUs",
    ),
)


def draw(measured: Sequence[Measured], directory: Path) -> list[Path]:
    """Writes the pictures of all axes that have more than one value; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    if CHROMIUM.exists():
        os.environ.setdefault("BROWSER_PATH", str(CHROMIUM))
    seed = seed_results()
    drawn = []
    for view in VIEWS:
        if len({getattr(one.cell, view.x) for one in measured}) < 2:
            continue
        for role in Role:
            path = directory / f"{view.file}-{role.value}.png"
            figure(view, role, measured, seed).write_image(path, width=WIDTH, height=HEIGHT)
            drawn.append(path)
    return drawn


def figure(view: View, role: Role, measured: Sequence[Measured], seed: Sequence[SeedResult]) -> Any:
    """The picture as a plotly figure."""
    from plotly.subplots import make_subplots

    held = _held(view, measured)
    cells = [one for one in measured if getattr(one.cell, view.held) == held]
    panels = [panel for panel in PANELS if panel.role is role]
    rows = math.ceil(len(panels) / COLUMNS)
    picture = make_subplots(
        rows, COLUMNS, subplot_titles=[panel.title for panel in panels], horizontal_spacing=0.06, vertical_spacing=0.14
    )
    ticks = sorted({getattr(one.cell, view.x) for one in cells})
    seeds = [it for it in seed if view.x != "dirty_mib" and getattr(it, view.held, None) == held]
    lines = sorted({getattr(one.cell, view.line) for one in cells})
    # the seed measured its primary; the size of the device state is the same on both sides
    seeded = [panel for panel in panels if seeds and (role is Role.PRIMARY or panel.field == "dev_size")]
    for number, panel in enumerate(panels):
        row, column = number // COLUMNS + 1, number % COLUMNS + 1
        everything: list[float] = []
        for index, line in enumerate(lines):
            points = [
                (getattr(one.cell, view.x), values)
                for one in cells if getattr(one.cell, view.line) == line and (values := panel.points(one))
            ]  # fmt: skip
            trace = _line([x for x, _ in points], [values for _, values in points], ticks, view)
            everything += [value for _, values in points for value in values]
            colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
            style = {"color": colour, "width": 1.5}
            marker = {"symbol": MARKERS[index % len(MARKERS)], "size": 6, "color": colour}
            picture.add_scatter(
                **trace, name=view.name(line), legendgroup=str(line), showlegend=number == 0,
                mode="lines+markers", line=style, marker=marker, row=row, col=column,
            )  # fmt: skip
        if panel in seeded:
            known = [(getattr(it, view.x), float(value)) for it in seeds if (value := it.columns[panel.field])]
            everything += [value for _, value in known]
            trace = _line([x for x, _ in known], [[value] for _, value in known], ticks, view)
            picture.add_scatter(
                **trace, name="the seed (kernel build, mean)", legendgroup="seed", showlegend=panel is seeded[0],
                mode="lines+markers", line={"color": LIGHT.muted, "width": 1.5, "dash": "dash"},
                marker={"symbol": "star", "size": 7, "color": LIGHT.muted}, row=row, col=column,
            )  # fmt: skip
        if panel.field == "dev_size":
            _scale(picture, row, column, everything, POWERS_OF_TWO, size_text)
        else:
            _scale(picture, row, column, everything, DECIMALS, time_text)
        positions = _positions(ticks, view)
        picture.update_xaxes(tickvals=positions, ticktext=[str(tick) for tick in ticks], row=row, col=column)
    fixed = {"memory_mib": f"{held} MiB of memory", "vcpus": f"{held} vCPUs"}[view.held]
    _dress(picture, f"How the {role.value}'s checkpoints grow {view.title}; {fixed}, medians, log scales")
    return picture


def _held(view: View, measured: Sequence[Measured]) -> int:
    values = {getattr(one.cell, view.held) for one in measured}
    return view.prefer if view.prefer in values else int(max(values))


def _positions(ticks: Sequence[int], view: View) -> list[float]:
    """Where a value lies along x: by its logarithm, the values of dirtied memory (0 among them) evenly."""
    return [float(i) for i in range(len(ticks))] if view.x == "dirty_mib" else [math.log2(tick) for tick in ticks]


def _line(x: Sequence[int], values: Sequence[Sequence[float]], ticks: Sequence[int], view: View) -> dict[str, Any]:
    """The middle of each cell's runs, with a bar from the least to the greatest."""
    known = sorted({*ticks, *x})  # the seed's too
    where = dict(zip(known, _positions(known, view), strict=True))
    middles = [(min(each) + max(each)) / 2 for each in values]
    bars = [(max(each) - min(each)) / 2 for each in values]
    error = {"type": "data", "array": bars, "thickness": 1, "width": 2, "visible": any(bars)}
    return {"x": [where[one] for one in x], "y": middles, "error_y": error}


def _scale(
    picture: Any, row: int, column: int, values: Sequence[float], ticks: Sequence[float], text: Callable[[float], str]
) -> None:
    """A log axis with readable ticks, fewer of them the more it spans."""
    values = [value for value in values if value > 0]
    if not values:
        return
    low, high = math.log10(min(values)) - 0.12, math.log10(max(values)) + 0.12
    within = [tick for tick in ticks if low <= math.log10(tick) <= high]
    for digits in ((1, 3), (1,)):
        if len(within) > 5 and ticks is DECIMALS:
            within = [tick for tick in within if round(tick / 10.0 ** math.floor(math.log10(tick))) in digits]
    labels = [_short(text(tick)) for tick in within]
    picture.update_yaxes(type="log", range=[low, high], tickvals=within, ticktext=labels, row=row, col=column)


def _short(label: str) -> str:
    number, _, unit = label.partition(" ")
    return f"{float(number):g} {unit}"


def _dress(picture: Any, title: str) -> None:
    picture.update_layout(
        title={"text": title, "x": 0.01, "y": 0.985, "yanchor": "top", "font": {"size": 16}},
        font={"family": FONT, "size": 11, "color": LIGHT.text}, margin={"l": 55, "r": 15, "t": 95, "b": 25},
        legend={"orientation": "h", "x": 0, "y": 1.06, "yanchor": "bottom", "font": {"size": 12}},
        paper_bgcolor=LIGHT.paper, plot_bgcolor=LIGHT.paper,
    )  # fmt: skip
    picture.update_annotations(font={"size": 12})
    picture.update_xaxes(gridcolor=LIGHT.grid, linecolor=LIGHT.grid, showline=True, zeroline=False)
    picture.update_yaxes(gridcolor=LIGHT.grid, linecolor=LIGHT.grid, showline=True, zeroline=False)
