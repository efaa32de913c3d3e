"""The live view: a table per process and role, redrawn in place; notes below it."""

from __future__ import annotations

from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from colotrace.checkpoint import Note
from colotrace.cli import printable
from colotrace.cli.series import RoleSeries
from colotrace.cli.tables import counts_line, phase_table, title
from colotrace.phases import Role
from colotrace.session import Session

_REFRESH_PER_SECOND = 4
_NOTES_KEPT = 4


class LiveView:
    """Draws what a session has so far. Use as a context manager; the last picture is wiped for the summary."""

    def __init__(self, console: Console, session: Session, series: dict[tuple[int, Role], RoleSeries]) -> None:
        self._session, self._series = session, series
        self._notes: deque[Note] = deque(maxlen=_NOTES_KEPT)
        self._live = Live(
            get_renderable=self.render, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=True,
            auto_refresh=False,
        )  # fmt: skip

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def note(self, note: Note) -> None:
        """Shows a note below the tables."""
        self._notes.append(note)

    def refresh(self) -> None:
        """Draws the current state."""
        self._live.refresh()

    def render(self) -> RenderableType:
        """The picture: from the kernel's totals and the recent series."""
        parts: list[RenderableType] = []
        for target in self._session.targets:
            totals = self._session.totals(target.pid)
            heading = Text(title(target.name, target.pid), style="bold")
            heading.append(f"  QEMU {printable(target.plan.qemu_version)}", style="dim")
            parts.append(heading)
            if not totals:
                parts.append(Text("  no COLO boundary passed yet", style="dim"))
            for role, sums in totals.items():
                series = self._series.setdefault((target.pid, role), RoleSeries(target.pid, role))
                parts += [Text(f"{role.value}: ", end=""), counts_line(sums), phase_table(sums, series, live=True)]
            parts.append(Text())
        parts += [Text(f"note: {printable(note.message)}", style="yellow") for note in self._notes]
        parts.append(Text("Ctrl-C ends with a summary", style="dim"))
        return Group(*parts)
