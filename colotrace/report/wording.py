"""Figures of a report as text, the same in every format that people read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from colotrace.analysis.summary import Fact, Outcomes, SeriesReport
from colotrace.analysis.trend import Drift, Trend
from colotrace.units import size_text, time_text

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 100


def number(value: int | None) -> str:
    """A count, its thousands set apart; a dash for one that is not known."""
    return "-" if value is None else f"{value:,}"


def value_text(value: int | None, unit: str) -> str:
    """A size: bytes with their unit, anything else as a count."""
    return size_text(value) if unit == "bytes" else number(value)


def when_text(when_ns: int | None, clock: str = "CLOCK_REALTIME") -> str:
    """A moment, to the second: 2026-11-25 10:00:00, or seconds of CLOCK_MONOTONIC."""
    if when_ns is None:
        return "-"
    if clock != "CLOCK_REALTIME":
        return f"{when_ns / 1e9:,.0f} s"
    try:
        moment = datetime.datetime.fromtimestamp(when_ns // 1_000_000_000, datetime.UTC)
    except (OverflowError, ValueError, OSError):  # a year that no calendar has: a foreign file's
        return f"{when_ns} ns"
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def outcomes_text(outcomes: Outcomes) -> str:
    """The counts that come before every figure."""
    known = outcomes.lost is not None and outcomes.lost_from
    lost = f"{number(outcomes.lost)} lost (by the {outcomes.lost_from})" if known else "lost: unknown"
    words = ("completed", "incomplete", "aborted")
    return ", ".join([*(f"{number(getattr(outcomes, word))} {word}" for word in words), lost])


def ram_cost_lines(series: SeriesReport) -> Iterator[str]:
    """The line through ram over pages, or why there is none."""
    cost = series.ram_cost
    if cost is None:
        yield f"unknown: {series.missing.get('ram_cost', 'not looked for')}"
        return
    fixed = f"{time_text(cost.fixed_ns)} ± {time_text(cost.fixed_error_ns)}"
    page = f"{cost.per_page_ns:,.1f} ± {cost.per_page_error_ns:,.1f} ns"
    square = "-" if cost.r_squared is None else f"{cost.r_squared:.3f}"
    yield (
        f"ram = {fixed} + pages x ({page}); R² {square}, over {cost.n:,} checkpoints of "
        f"{cost.least_pages:,} to {cost.most_pages:,} pages (± is one standard error)"
    )
    if cost.left_out:
        which = ", ".join(f"{pages:,} pages in {time_text(ns)}" for pages, ns in cost.left_out)
        yield f"left out, since each alone would have decided the slope: {which}"


def drift_lines(trend: Trend) -> Iterator[str]:
    """The drift, the step, and the rows that drift, in words."""
    if trend.drift is None:
        yield f"drift unknown: {trend.missing.get('drift', 'not looked for')}"
        return
    if trend.step:
        step, text = trend.step, when_text(trend.step.when_ns, trend.clock)
        yield f"a step at {text}: the median went from {time_text(step.before_ns)} to {time_text(step.after_ns)} (99 %)"
    elif trend.drift.evidence:
        yield f"a drift of {_drift(trend.drift)}"
    else:
        yield f"no evidence of a drift: {_drift(trend.drift)}"
    drifting = {name: drift for name, drift in trend.drift_by_row.items() if drift.evidence}
    if drifting and not trend.step:
        yield "drifting: " + "; ".join(f"{name} {_drift(drift)}" for name, drift in drifting.items())


def _drift(drift: Drift) -> str:
    slope = f"{_signed(drift.per_hour_ns)} an hour"
    if drift.low_ns is None or drift.high_ns is None:
        return f"{slope}, with no bound to its error"
    level = f"{100 * drift.confidence:.1f}".removesuffix(".0")
    return f"{slope} ({level} %: {_signed(drift.low_ns)} to {_signed(drift.high_ns)})"


def _signed(ns: float) -> str:
    return ("+" if ns > 0 else "") + time_text(ns)


def failover_text(failover: Mapping[str, Any]) -> str:
    """A failover's JSON object on one line."""
    missing = failover.get("missing") or {}
    good = failover.get("last_good")
    parts = [f"#{failover.get('number')} {failover.get('role')} {failover.get('pid')}: reason {failover.get('reason')}"]
    parts.append("last good unknown" if good is None else f"last good #{good}")
    died = failover.get("died_in")
    parts.append(f"died in {died}" if died else str(missing.get("died_in", "died in: unknown")))
    for name, words in (("exit_after_ns", "COLO exit after"), ("takeover_after_ns", "takeover after")):
        parts.append(f"{words} {time_text(failover.get(name))}")
    if failover.get("takeover_ns") is None and missing.get("takeover_ns"):
        parts.append(str(missing["takeover_ns"]))
    return ", ".join(parts)


def fact_text(fact: Fact) -> str:
    """What runs say of one thing, or why they do not."""
    if not fact.values:
        return f"- ({fact.reason})"
    shown = [
        ", ".join(f"{key} {inner}" for key, inner in value.items()) if isinstance(value, Mapping) else _plain(value)
        for value in fact.values
    ]
    return "; ".join(shown[:5]) + (f"; and {len(shown) - 5:,} more" if len(shown) > 5 else "")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def sparkline(values: Sequence[int]) -> str:
    """Values as bars from 0 to the largest; of more than 100, the largest of neighbours."""
    step = -(-len(values) // _SPARK_WIDTH) if values else 1
    shown = [max(values[i : i + step]) for i in range(0, len(values), step)]
    top = max(shown, default=0)
    return "".join(_BARS[min(len(_BARS) - 1, value * len(_BARS) // (top + 1))] for value in shown)
