"""The report as text: rich tables on a console that the caller gives."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from colotrace.analysis.summary import Report
from colotrace.report.outline import Section, Table, outline
from colotrace.text import printable

WIDTH = 128
"""For what goes to a file or a pipe; the phases' table takes 100."""


def print_text(report: Report, console: Console) -> None:
    """Prints the report."""
    for number, chapter in enumerate(outline(report)):
        if number:
            console.print()
        console.print(Text(printable(chapter.title), style="bold underline"))
        for section in chapter.sections:
            console.print(_section(section))


def _section(section: Section) -> RenderableType:
    parts: list[RenderableType] = []
    if section.heading:
        parts.append(Text(f"\n{printable(section.heading)}", style="bold"))
    style = "bold red" if section.warning else ""
    parts += [Text(printable(line), style=style) for line in section.lines]
    for point, belonging in section.points:
        parts.append(Text(printable(point), style="bold yellow"))
        parts += [Padding(Text(printable(line)), (0, 0, 0, 2)) for line in belonging]
    if section.table:
        parts.append(_table(section.table))
    parts += [Text(printable(line), style="dim") for line in section.below]
    return Group(*parts)


def _table(table: Table) -> RichTable:
    found = RichTable(box=None, pad_edge=False, header_style="bold")
    for position, name in enumerate(table.columns):
        left = name in table.left
        wraps = left and position == len(table.columns) - 1
        found.add_column(name, justify="left" if left else "right", no_wrap=not wraps, overflow="fold")
    for number, row in enumerate(table.rows):
        cells = [Text(printable(cell)) for cell in row]
        found.add_row(*cells, style="bold yellow" if number in table.strong else "")
    return found
