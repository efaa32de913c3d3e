"""What a report says besides figures: counts, problems, where the recording comes from, notes, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from colotrace.analysis.summary import Fact, NoteCount, Outcomes

if TYPE_CHECKING:
    from colotrace.recording import Header, Series

_TITLES = {
    "host": "host",
    "vm": "VM",
    "vm_uuid": "VM's UUID",
    "pid": "pid",
    "qemu_version": "QEMU",
    "build_id": "build-id",
    "kernel": "kernel",
    "clock": "clock",
    "started": "started",
    "checkpoint_delay_ms": "checkpoint delay (ms)",
    "probe_cost": "a probe's hit",
}


def outcomes_of(series: Series) -> Outcomes:
    """The counts of a series."""
    counts = series.counts
    return Outcomes(counts.completed, counts.incomplete, counts.aborted, counts.lost, counts.lost_from)


def headers_of(series: Series) -> list[Header]:
    """The headers of the series' targets, in order of start: those of its VM under its QEMU."""
    mine = (series.host, series.vm, series.qemu_version, series.build_id)
    found = [
        header
        for run in series.runs
        for header in run.headers.values()
        if (header.host, header.vm, header.qemu_version, header.build_id) == mine
    ]
    return found or [series.header]


def facts_of(series: Series) -> tuple[Fact, ...]:
    """What the runs' headers say, each different value once."""
    headers = headers_of(series)
    facts = []
    for name, title in _TITLES.items():
        values: list[Any] = []
        for header in headers:
            value = getattr(header, name)
            value = dict(value) if isinstance(value, Mapping) else value
            if value is not None and value not in values:
                values.append(value)
        reason = None if values else headers[0].missing.get(name, "the recording does not tell")
        facts.append(Fact(name, title, tuple(values), reason))
    return tuple(facts)


def meanings_of(series: Series) -> dict[str, str]:
    """Which phase does what in this binary, for what versions differ in."""
    return dict(series.header.meanings.get(series.role.value, {}))


def problems_of(series: Series) -> tuple[str, ...]:
    """What to know before believing a figure of this series."""
    counts = series.counts
    found = []
    if counts.lost:
        found.append(f"{counts.lost:,} records were lost (by the {counts.lost_from}): no figure below has them")
    without_end = sum(not run.ended for run in series.runs)
    if without_end:
        found.append(f"{without_end:,} of {len(series.runs):,} runs have no end: the tracer was killed, or still runs")
    if counts.completed == 0:
        found.append("no checkpoint was completed, so there are no times")
    quality = series.header.roles.get(series.role.value, {})
    partial = [phase for phase, word in quality.items() if word == "partial"]
    if partial:
        found.append(f"only in part within their own phase in this binary: {', '.join(partial)}")
    found += [
        f"runs differ in {fact.title}: {', '.join(str(value) for value in fact.values)}"
        for fact in facts_of(series)
        if fact.name in ("kernel", "checkpoint_delay_ms") and len(fact.values) > 1
    ]
    return tuple(found)


def notes_of(series: Series) -> tuple[NoteCount, ...]:
    """Notes by kind, in the order in which the kinds first came."""
    counted: dict[str, list[str]] = {}
    for note in series.notes:
        counted.setdefault(str(note.get("event", "note")), []).append(str(note.get("message", "")))
    return tuple(NoteCount(event, len(messages), messages[0]) for event, messages in counted.items())


def differences(series: Sequence[Series]) -> tuple[str, ...]:
    """Why figures of two series cannot be held against each other: phases that mean different things."""
    found = []
    for number, one in enumerate(series):
        for other in series[number + 1 :]:
            if one.role is not other.role:
                continue
            mine, theirs = meanings_of(one), meanings_of(other)
            unlike = [
                f"{subject} ({mine.get(subject, 'unknown')} / {theirs.get(subject, 'unknown')})"
                for subject in sorted({*mine, *theirs})
                if mine.get(subject) != theirs.get(subject)
            ]
            if unlike:
                names = " and ".join(f"{each.label} (QEMU {each.qemu_version})" for each in (one, other))
                found.append(f"{names} do not do the same in the same phases: {', '.join(unlike)}")
    return tuple(found)
