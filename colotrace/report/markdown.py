"""The report as GitHub-flavoured Markdown: headings, lists, and pipe tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from colotrace.analysis.summary import Report
from colotrace.report.outline import Section, Table, outline
from colotrace.text import printable

_SPECIAL = re.compile(r"([\\`*_\[\]#!|~<>&$@])|(https?)(:)|(www)(\.)", re.IGNORECASE)
_LIST = re.compile(r"^(\s*)(?:([-+=])|(\d+)([.)]))(?=\s|$)")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}


def markdown(report: Report) -> str:
    """The report, ending with a newline."""
    return "\n".join(_lines(report)) + "\n"


def escape(text: str) -> str:
    """Text as Markdown that shows just this text: no markup, HTML, table cells, links, or mentions."""

    def one(match: re.Match[str]) -> str:
        special, scheme, colon, www, _dot = match.groups()
        if scheme or www:
            return f"{scheme}&#58;" if colon else f"{www}&#46;"
        return _ENTITIES.get(special, f"\\{special}")

    return _SPECIAL.sub(one, printable(text))


def _line(text: str) -> str:
    """A line of its own: what it begins with makes no list or rule of it."""
    text = escape(text)
    return _LIST.sub(lambda match: f"{match[1]}{match[3] or ''}\\{match[2] or match[4]}", text)


def _lines(report: Report) -> Iterator[str]:
    yield "# COLO checkpoints"
    for chapter in outline(report):
        yield f"\n## {escape(chapter.title)}"
        for section in chapter.sections:
            yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    if section.heading:
        yield f"\n### {escape(section.heading)}"
    if section.lines or section.points:
        yield ""
    for line in section.lines:
        yield f"- **{escape(line)}**" if section.warning else f"- {_line(line)}"
    for point, belonging in section.points:
        yield f"- **{escape(point)}**"
        yield from (f"  - {_line(line)}" for line in belonging)
    if section.table:
        yield ""
        yield from _table(section.table)
    if section.below:
        yield ""
    for line in section.below:
        yield f"- {_line(line)}"


def _table(table: Table) -> Iterator[str]:
    yield _row(table.columns)
    yield "| " + " | ".join("---" if name in table.left else "---:" for name in table.columns) + " |"
    for number, row in enumerate(table.rows):
        cells = [escape(cell) for cell in row]
        yield "| " + " | ".join(f"**{cell}**" if number in table.strong and cell else cell for cell in cells) + " |"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
