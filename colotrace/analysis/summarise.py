"""From the series of a recording to its report, a column at a time: 10 million checkpoints within 1 GiB."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from colotrace.analysis import ramcost
from colotrace.analysis.facts import differences, facts_of, meanings_of, notes_of, outcomes_of, problems_of
from colotrace.analysis.findings.find import findings_of
from colotrace.analysis.findings.sample import sample_of
from colotrace.analysis.pairs import pairs_of
from colotrace.analysis.slowest import Slow, slow_ones, slowest_indices
from colotrace.analysis.statistics import Distribution, Integers, distribution, exact_sum, histogram
from colotrace.analysis.summary import Report, Row, SeriesReport, Trigger
from colotrace.analysis.timeline import Timeline
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Phase

if TYPE_CHECKING:
    from colotrace.recording import Series

SLOWEST = 10
SIZES = {"device_bytes": "bytes", "ram_bytes": "bytes", "ram_pages": "pages"}
TRIGGER = "trigger"
"""The column that tells why a checkpoint began; only recordings of later versions have it."""
NEVER_SEEN = "no completed checkpoint has it"
Progress = Callable[[str], None]


def report_of(
    sources: Sequence[str],
    problems: Sequence[str],
    series: Sequence[Series],
    *,
    slowest: int = SLOWEST,
    sample: int = 0,
    progress: Progress = lambda step: None,
) -> Report:
    """The report of some series of a recording; `progress` is told in a few words what is being worked on."""
    reports = tuple(summarise(one, slowest=slowest, sample=sample, progress=progress) for one in series)
    pairs = pairs_of(series, progress)
    return Report(tuple(sources), tuple(problems), reports, differences(series), tuple(series), pairs)


def summarise(
    series: Series, *, slowest: int = SLOWEST, sample: int = 0, progress: Progress = lambda step: None
) -> SeriesReport:
    """What a report says of one series: its `slowest` slowest checkpoints, and `sample` records spread over it."""
    label = series.label
    missing: dict[str, str] = {}
    parts = (*(p.value for p in ROLE_PHASES[series.role] if p not in OUTSIDE_TOTAL), "other")
    completed = series.counts.completed
    by = "pause" if completed and series.values("pause_ns").size == completed else "total"
    timeline = Timeline(series, by, missing)
    total = series.values("total_ns")
    total_sum, total_n = exact_sum(total), int(total.size)
    del total
    rows = []
    slow_indices: list[int] = []
    for name in (Phase.WAIT.value, *parts, "total", "pause"):
        progress(f"{label}: {name}")
        column = f"{name}_ns"
        values = series.values(column)
        share = None
        if name in parts and values.size:
            share = _share(series, column, values, total_sum, total_n)
        rows.append(_row(series, name, "ns", values, share))
        timeline.add(name, values)
        if name == by:
            slow_indices = slowest_indices(values, slowest)
        del values
    sizes = tuple(_row(series, name, unit, series.values(name)) for name, unit in SIZES.items())
    progress(f"{label}: cost of a page")
    cost = _ram_cost(series)
    if isinstance(cost, str):
        missing["ram_cost"] = cost
    progress(f"{label}: findings")
    findings = findings_of(sample_of(series))
    progress(f"{label}: the slowest")
    medians = {row.name: row.distribution.p50 for row in rows if row.name in parts}
    return SeriesReport(
        label=label,
        role=series.role,
        outcomes=outcomes_of(series),
        problems=problems_of(series),
        runs=len(series.runs),
        ended=sum(run.ended for run in series.runs),
        facts=facts_of(series),
        meanings=meanings_of(series),
        rows=tuple(rows),
        sizes=sizes,
        slowest_by=by,
        slowest=_slowest(series, slow_indices, f"{by}_ns", medians, timeline),
        trend=timeline.trend(),
        ram_cost=None if isinstance(cost, str) else cost,
        triggers=_triggers(series),
        failovers=tuple(series.failovers),
        notes=notes_of(series),
        findings=findings,
        sampled=tuple(series.records(_spread(completed, sample))) if sample else (),
        missing=missing,
    )


def _row(series: Series, name: str, unit: str, values: Integers, share: float | None = None) -> Row:
    column = f"{name}_ns" if unit == "ns" else name
    quality = series.header.roles.get(series.role.value, {}).get(name)
    reason = None if values.size else series.missing(column) or NEVER_SEEN
    return Row(name, column, unit, distribution(values), share, quality, histogram(values), reason)


def _share(series: Series, column: str, values: Integers, total_sum: int, total_n: int) -> float | None:
    """The part of the total, over the checkpoints in which both were seen."""
    if values.size == total_n:
        return exact_sum(values) / total_sum if total_sum else None
    both = series.columns(column, "total_ns")
    whole = exact_sum(both["total_ns"])
    return exact_sum(both[column]) / whole if whole else None


def _ram_cost(series: Series) -> ramcost.RamCost | str:
    both = series.columns("ram_pages", "ram_ns")
    if not both["ram_ns"].size:
        return series.missing("ram_pages") or series.missing("ram_ns") or NEVER_SEEN
    return ramcost.fit(both["ram_pages"], both["ram_ns"])


def _slowest(
    series: Series, indices: Sequence[int], column: str, medians: Mapping[str, int | None], timeline: Timeline
) -> tuple[Slow, ...]:
    records = series.records(indices) if indices else []
    return slow_ones(indices, records, column, medians, [timeline.when_ns(index) for index in indices])


def _triggers(series: Series) -> tuple[Trigger, ...]:
    """Waits and pauses by what began the checkpoint, the most frequent first."""
    try:
        words = series.texts(TRIGGER)
    except KeyError:
        return ()
    known = [word for word in dict.fromkeys(words) if word is not None]
    found = []
    for word in known:
        those = words == word
        found.append(Trigger(word, int(those.sum()), *(_part(series, name, those) for name in ("wait_ns", "pause_ns"))))
    return tuple(sorted(found, key=lambda one: -one.n))


def _part(series: Series, column: str, those: Any) -> Distribution:
    """A column of some of the checkpoints; of none if it has nulls, whose places are not known."""
    values = series.values(column)
    return distribution(values[those] if values.size == those.size else values[:0])


def _spread(rows: int, count: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, rows - 1, min(rows, count))}) if rows else []
