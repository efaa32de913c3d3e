"""The live view: a table per process and role, redrawn in place; notes below it."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from colotrace.checkpoint import Note
from colotrace.cli.series import ROWS, RoleSeries
from colotrace.cli.tables import compact_table, counts_line, phase_table, title
from colotrace.phases import Role
from colotrace.session import Session
from colotrace.text import printable

_REFRESH_S = 0.25
_NOTES_KEPT = 4


class LiveView:
    """Draws what a session has so far. Use as a context manager; the last picture is wiped for the summary."""

    def __init__(self, console: Console, session: Session, series: dict[tuple[int, Role], RoleSeries]) -> None:
        self._console, self._session, self._series = console, session, series
        self._notes: deque[Note] = deque(maxlen=_NOTES_KEPT)
        self._live = Live(get_renderable=self.render, console=console, transient=True, auto_refresh=False)
        self._next_s = 0.0

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def note(self, note: Note) -> None:
        """Shows a note below the tables."""
        self._notes.append(note)

    def refresh(self) -> None:
        """Draws the current state, if the last picture is old enough."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + _REFRESH_S
            self._live.refresh()

    def render(self) -> RenderableType:
        """The picture: from the kernel's totals and the recent series."""
        roles = [
            (target, role, totals, self._series.setdefault((target.pid, role), RoleSeries(target.pid, role)))
            for target in self._session.targets
            for role, totals in self._session.totals(target.pid).items()
        ]
        parts: list[RenderableType] = []
        for target in self._session.targets:
            heading = Text(title(target.name, target.pid), style="bold", no_wrap=True, overflow="ellipsis")
            heading.append(f"  QEMU {printable(target.plan.qemu_version)}", style="not bold dim")
            parts.append(heading)
            mine = [one for one in roles if one[0] is target]
            if not mine:
                parts.append(Text("  no COLO boundary passed yet", style="dim"))
            for _, role, totals, series in mine:
                line = Text(f"{role.value}: ", no_wrap=True)
                parts.append(line.append_text(counts_line(totals)))
                if not self._is_low(len(roles)):
                    parts += [phase_table(totals, series, live=True, width=self._console.width), Text()]
        if self._is_low(len(roles)) and roles:
            sides = [(role.value, totals, series) for _, role, totals, series in roles]
            parts.append(compact_table(sides, self._console.width))
        parts += [
            Text(f"note: {printable(note.message)}", style="yellow", no_wrap=True, overflow="ellipsis")
            for note in self._notes
        ]
        parts.append(Text("Ctrl-C ends with a summary", style="dim"))
        return Group(*parts)

    def _is_low(self, roles: int) -> bool:
        """Whether the terminal has too few lines for a table a role."""
        needed = len(self._session.targets) + roles * (len(ROWS) + 3) + len(self._notes) + 1
        return needed > self._console.height
