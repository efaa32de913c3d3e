"""Pieces of the page that several of its sections are made of; every text from outside goes through text()."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from colotrace.text import printable
from colotrace.units import time_text

_LEFT = ' class="left"'


def text(value: object) -> str:
    """Any text as the page shows it: no markup, no control characters."""
    return escape(printable(str(value)))


def problems(heading: str, found: Sequence[str]) -> str:
    """What is wrong with the recording: the first thing on the page, and in its series."""
    if not found:
        return ""
    items = "".join(f"<li>{text(one)}</li>" for one in found)
    return f'<div class="problems" role="note"><strong>{heading}</strong><ul>{items}</ul></div>'


def table(
    kind: str, label: str, heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str | None = None,
    left: Collection[str] = (),
) -> str:  # fmt: skip
    """A table that scrolls by itself where the screen is narrow; cells are markup, heads are text, some flush left."""
    head = "".join(f'<th scope="col"{_LEFT if name in left else ""}>{text(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll {kind}-scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f'<table class="{kind}">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def time_cell(ns: float | None, reason: str | None = None) -> str:
    """A cell with a time; what it is to the nanosecond, or why it is not known, is its title."""
    title = f"{round(ns):,} ns" if ns is not None else reason or "not known"
    return f'<td title="{text(title)}">{time_text(ns)}</td>'
