"""A comparison as plain text and as Markdown."""

from __future__ import annotations

from colotrace.analysis.compare import Comparison
from colotrace.report.compare_cells import cells, counts_text, differs_text, headings, method, reasons
from colotrace.text import printable

_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]()#!|~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def as_text(comparison: Comparison, problems: tuple[str, ...] = ()) -> str:
    """For a terminal or a mail; names cannot steer the terminal."""
    rows = [headings(comparison), *(cells(row) for row in comparison.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = [
        "  ".join(f"{cell:{'<' if at in (0, 5) else '>'}{widths[at]}}" for at, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    lines = [
        *(f"problem: {problem}" for problem in problems),
        counts_text("A", comparison.a),
        counts_text("B", comparison.b),
        *differs_text(comparison),
        *table,
        comparison.summary,
        *(f"note: {note}" for note in (*reasons(comparison), *comparison.notes)),
        method(comparison),
    ]
    return "\n".join(map(printable, lines)) + "\n"


def as_markdown(comparison: Comparison, problems: tuple[str, ...] = ()) -> str:
    """For an issue or a pull request; names are text, never markup."""
    lines = [f"**{_quoted(comparison.summary)}**", ""]
    about = [*problems, counts_text("A", comparison.a), counts_text("B", comparison.b), *differs_text(comparison)]
    lines += [f"- {_quoted(line)}" for line in about]
    lines += ["", f"| {' | '.join(headings(comparison))} |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    lines += [f"| {' | '.join(map(_quoted, cells(row)))} |" for row in comparison.rows]
    lines += ["", *(f"- {_quoted(note)}" for note in (*reasons(comparison), *comparison.notes)), "", method(comparison)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return printable(text).translate(_MARKDOWN)
