"""Checkpoints as the page carries them: a list per column, times relative, so that they stay exact in JavaScript."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from colotrace.analysis.waterfall import stretches
from colotrace.phases import MARKS, Role
from colotrace.report.pagedata import SeriesData

_PLAIN = ("wait_ns", "total_ns", "pause_ns", "other_ns", "device_bytes", "ram_bytes", "ram_pages")


def identifiers(data: SeriesData) -> list[str]:
    """What the records are called: their sequence; where that is not unique (several runs), with the row before it."""
    sequences = [record["sequence"] for record in data.records]
    times = Counter(sequences)
    return [
        str(sequence) if times[sequence] == 1 else f"{row + 1}.{sequence}"
        for row, sequence in zip(data.rows, sequences, strict=True)
    ]


def columns(data: SeriesData) -> dict[str, Any]:
    """The records by column. `begin` counts from the first record's; a mark from its checkpoint's begin.

    `gap` is what lies between a phase's begin and the end of the last one before it whose place is known; null if the
    phase's own place is not.
    """
    records, role = data.records, data.report.role
    found: dict[str, Any] = {"id": identifiers(data), "row": list(data.rows)}
    origin = next((r["begin_ns"] for r in records if r["begin_ns"] is not None), 0)
    found["begin"] = [None if r["begin_ns"] is None else r["begin_ns"] - origin for r in records]
    found |= {name: [r.get(name) for r in records] for name in _PLAIN}
    gaps: dict[str, list[int | None]] = {part: [] for part in data.parts if part != "other"}
    lengths: dict[str, list[int | None]] = {part: [] for part in gaps}
    for record in records:
        _place(role, record, gaps, lengths)
    found |= {"gap": gaps, "length": lengths}
    found["mark"] = {mark.value: _relative(records, mark.value) for mark in MARKS}
    found["mark"] = {name: values for name, values in found["mark"].items() if any(v is not None for v in values)}
    found["missing"] = {str(i): dict(r["missing"]) for i, r in enumerate(records) if r.get("missing")}
    _share_reasons(found)
    return found


def _place(
    role: Role, record: Mapping[str, Any], gaps: dict[str, list[int | None]], lengths: dict[str, list[int | None]]
) -> None:
    cursor = 0
    for one in stretches(role, record):
        known = one.begin_ns is not None and one.length_ns is not None
        gaps[one.phase.value].append(one.begin_ns - cursor if known and one.begin_ns is not None else None)
        lengths[one.phase.value].append(one.length_ns)
        if one.begin_ns is not None and one.length_ns is not None:
            cursor = one.begin_ns + one.length_ns


def _relative(records: Sequence[Mapping[str, Any]], mark: str) -> list[int | None]:
    found = []
    for record in records:
        when, begin = record["marks_ns"].get(mark), record["begin_ns"]
        found.append(None if when is None or begin is None else when - begin)
    return found


def _share_reasons(found: dict[str, Any]) -> None:
    """Reasons that all records share are kept once, under `*`."""
    reasons = list(found["missing"].values())
    if reasons and len(reasons) == len(found["id"]) and all(one == reasons[0] for one in reasons):
        found["missing"] = {"*": reasons[0]}
