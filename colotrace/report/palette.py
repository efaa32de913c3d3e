"""The colours of every picture that colotrace draws: page, PNG, and the scripts' plots. Data, no code of a library.

The hues are Okabe and Ito's ("Color Universal Design", 2008), which people with any common colour blindness can tell
apart; neighbours in a checkpoint also differ in lightness or texture. A phase is never told by its colour alone: bars
have a texture too, and rows and lines are labelled.
"""

from __future__ import annotations

from dataclasses import dataclass

PHASE_COLOURS: dict[str, str] = {
    "wait": "#d0d0d0",
    "stat": "#0072b2",
    "dev": "#56b4e9",
    "ram": "#e69f00",
    "put": "#f0e442",
    "recv": "#d55e00",
    "load": "#009e73",
    "resume": "#cc79a7",
    "other": "#8c8c8c",
}
"""By the phase's name (colotrace.phases.Phase.value, and `other`), in the order of a checkpoint."""

PHASE_TEXTURES: dict[str, str] = {
    "wait": ".",
    "stat": "",
    "dev": "/",
    "ram": "",
    "put": "x",
    "recv": "\\",
    "load": "",
    "resume": "/",
    "other": ".",
}
"""The phase's pattern of fill, by plotly's names (marker.pattern.shape): neighbours differ."""

WAIT_COLOURS: dict[str, str] = {"network there": "#56b4e9", "network back": "#cc79a7", "unexplained": "#8c8c8c"}
WAIT_TEXTURES: dict[str, str] = {"network there": "/", "network back": "|", "unexplained": "."}
"""Of the parts of a wait (colotrace.analysis.merge_split) that are no phase of the secondary."""

SERIES_COLOURS: tuple[str, ...] = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""For lines that are no phases: sizes, recordings, sides of a comparison."""


@dataclass(frozen=True)
class Theme:
    """What surrounds the data: CSS colours. `texture` is drawn over a phase's colour."""

    name: str
    paper: str
    text: str
    muted: str
    grid: str
    accent: str
    warning: str
    texture: str


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#57606a", "#d8dee4", "#0550ae", "#9a3412", "rgba(0,0,0,0.35)")
DARK = Theme("dark", "#14181d", "#e6e9ed", "#a0a8b2", "#343b44", "#79b8ff", "#ffb27a", "rgba(0,0,0,0.45)")
THEMES = (LIGHT, DARK)
"""Text on paper is at 4.5:1 or more in both (WCAG AA); a test computes it."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
