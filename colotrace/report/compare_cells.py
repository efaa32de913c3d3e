"""A comparison as lines and cells of plain text: what the text, Markdown and HTML renderers share. Escapes nothing."""

from __future__ import annotations

import math

from colotrace.analysis.compare import Comparison, Row, Side, Verdict
from colotrace.units import time_text

_MARKS = {Verdict.WORSE: "▲ ", Verdict.BETTER: "▼ "}


def headings(comparison: Comparison) -> tuple[str, ...]:
    """What stands over the cells."""
    return ("phase", f"A {comparison.statistic}", f"B {comparison.statistic}", "B / A", "interval", "verdict")


def counts_text(name: str, side: Side) -> str:
    """One side's counts: completed, incomplete, aborted, lost."""
    if side.is_capture:
        completed = "an unknown number of" if side.completed is None else f"{side.completed}"
        return f"{name}: {side.label}: {completed} checkpoints, whether any were lost is unknown (capture)"
    lost = "lost unknown" if side.lost is None else f"{side.lost} lost ({side.lost_from})"
    seen = f"{side.completed} completed, {side.incomplete} incomplete, {side.aborted} aborted"
    return f"{name}: {side.label}: {seen}, {lost}"


def differs_text(comparison: Comparison) -> list[str]:
    """A line per setting that is not the same, or known of one side only."""
    return [f"differs: {name}: {a or 'unknown'} / {b or 'unknown'}" for name, a, b in comparison.differs]


def cells(row: Row) -> tuple[str, ...]:
    """A row under headings()."""
    ratio = row.ratio
    value = "-" if ratio.value is None else f"{ratio.value:.3f}"
    held = "-" if ratio.low is None or ratio.high is None else f"{_end(ratio.low)} to {_end(ratio.high)}"
    verdict = _MARKS.get(row.verdict, "") + row.verdict.value
    return (row.name, time_text(row.a), time_text(row.b), value, held, verdict)


def reasons(comparison: Comparison) -> list[str]:
    """Why rows have no verdict."""
    return [f"{row.name}: {row.reason}" for row in comparison.rows if row.reason]


def method(comparison: Comparison) -> str:
    """How it was judged."""
    return (
        f"Ratios of {comparison.statistic}s with {comparison.level:.0%} intervals, all together (Bonferroni), from a "
        f"block bootstrap; a verdict needs the whole interval beyond {comparison.margin:.0%}. It knows what varies "
        "within a run, not what changed around it between two runs."
    )


def _end(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "∞"
