"""All that a report says of a recording, as data: every format (text, markdown, HTML, JSON, PNG) renders this.

colotrace.analysis.summarise makes it. Times are integer nanoseconds, moments wall-clock nanoseconds since 1970 (UTC).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from colotrace.analysis.findings.finding import Findings
from colotrace.analysis.merge_report import as_json as merge_json
from colotrace.analysis.pairs import Pairs
from colotrace.analysis.ramcost import RamCost
from colotrace.analysis.slowest import Slow
from colotrace.analysis.statistics import Distribution, Histogram
from colotrace.analysis.trend import Trend

if TYPE_CHECKING:
    from colotrace.phases import Role
    from colotrace.recording import Series

SCHEMA_VERSION = 1
"""Of the JSON report. Members may be added without a new number; what is there keeps its meaning."""


@dataclass(frozen=True)
class Row:
    """A column of the recording: a phase, `other`, `total`, `pause`, `wait` (unit ns), or a size (bytes or pages).

    `share` is its part of the total, for what is a part of it. `quality` is the plan's word: `exact`, `partial` (some
    of it lies in neighbouring phases), or None where it says nothing. `missing` is why there are no values.
    """

    name: str
    column: str
    unit: str
    distribution: Distribution
    share: float | None = None
    quality: str | None = None
    histogram: Histogram | None = None
    missing: str | None = None

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "name": self.name,
            **self.distribution.as_json(self.unit),
            "share": self.share,
            "quality": self.quality,
            "histogram": self.histogram.as_json(self.unit) if self.histogram else None,
            "missing_reason": self.missing,
        }


@dataclass(frozen=True)
class Trigger:
    """Checkpoints that began for one reason: how long they were waited for, and what they took."""

    name: str
    n: int
    wait: Distribution
    pause: Distribution


@dataclass(frozen=True)
class Fact:
    """Something that runs say of themselves: `values` holds each different one, in order; empty with a `reason`."""

    name: str
    title: str
    values: tuple[Any, ...]
    reason: str | None = None


@dataclass(frozen=True)
class NoteCount:
    """Notes of one kind: how many, and the first one's message."""

    event: str
    count: int
    message: str


@dataclass(frozen=True)
class Outcomes:
    """How many records there are of each outcome, and how many were lost.

    `lost` is by `lost_from`: the kernel's totals, or gaps in the sequence.
    """

    completed: int
    incomplete: int
    aborted: int
    lost: int | None
    lost_from: str | None


@dataclass(frozen=True)
class SeriesReport:
    """One host's VM in one role under one QEMU.

    `label` and all texts come from outside: escape them as the medium needs (colotrace.text.printable, html.escape).
    `problems` are sentences on what to know before believing a figure: losses, runs without an end, runs that differ.
    `rows` are times in order: wait, the role's phases, other, total, pause; `sizes` are device_bytes, ram_bytes,
    ram_pages. `slowest_by` is the row that `slowest` is sorted by. `ram_cost` is None with a reason in
    `missing["ram_cost"]`. `triggers` is empty where recordings do not tell why a checkpoint began.
    """

    label: str
    role: Role
    outcomes: Outcomes
    problems: tuple[str, ...]
    runs: int
    ended: int
    facts: tuple[Fact, ...]
    meanings: Mapping[str, str]
    rows: tuple[Row, ...]
    sizes: tuple[Row, ...]
    slowest_by: str
    slowest: tuple[Slow, ...]
    trend: Trend
    ram_cost: RamCost | None
    triggers: tuple[Trigger, ...]
    failovers: tuple[Mapping[str, Any], ...]
    notes: tuple[NoteCount, ...]
    findings: Findings = field(default_factory=Findings)
    sampled: tuple[Mapping[str, Any], ...] = ()
    """Whole records evenly spread over the series (all if they are few), where asked for; not in JSON."""
    missing: Mapping[str, str] = field(default_factory=dict)

    def row(self, name: str) -> Row | None:
        """The row of this name, among times and sizes."""
        return next((row for row in (*self.rows, *self.sizes) if row.name == name), None)

    def as_json(self) -> dict[str, object]:
        """An object of JSON types; nulls have their reasons beside them, and nothing is NaN."""
        return {
            "label": self.label,
            "role": self.role.value,
            "outcomes": dataclasses.asdict(self.outcomes),
            "problems": list(self.problems),
            "runs": self.runs,
            "runs_ended": self.ended,
            "facts": {one.name: {"values": list(one.values), "missing_reason": one.reason} for one in self.facts},
            "meanings": dict(self.meanings),
            "rows": [row.as_json() for row in self.rows],
            "sizes": [row.as_json() for row in self.sizes],
            "slowest_by": self.slowest_by,
            "slowest": [one.as_json() for one in self.slowest],
            "trend": dataclasses.asdict(self.trend),
            "ram_cost": self.ram_cost.as_json() if self.ram_cost else None,
            "triggers": [
                {"name": one.name, "n": one.n, "wait": one.wait.as_json("ns"), "pause": one.pause.as_json("ns")}
                for one in self.triggers
            ],
            "failovers": [dict(one) for one in self.failovers],
            "notes": [dataclasses.asdict(one) for one in self.notes],
            "findings": self.findings.as_json(),
            "missing": dict(self.missing),
        }


@dataclass(frozen=True)
class Report:
    """A report: `problems` of the files themselves, then a SeriesReport each, then what keeps them from being compared.

    `sources` are the names that the recordings were opened by; `series` and `source` run in parallel so that a renderer
    that needs more than the report has can ask the recording. `pairs` are those of them that are both sides of a pair.
    """

    sources: tuple[str, ...]
    problems: tuple[str, ...]
    series: tuple[SeriesReport, ...]
    differences: tuple[str, ...] = ()
    source: tuple[Series, ...] = field(default=(), repr=False, compare=False)
    pairs: Pairs = field(default_factory=Pairs)

    def as_json(self) -> dict[str, object]:
        """The JSON report. What a foreign recording says in NaN or infinities, which JSON has not, is null."""
        found: dict[str, object] = _finite(
            {
                "type": "report",
                "schema_version": SCHEMA_VERSION,
                "sources": list(self.sources),
                "problems": list(self.problems),
                "differences": list(self.differences),
                "series": [one.as_json() for one in self.series],
                "pairs": [merge_json(one.merged) | {"notes": list(one.notes)} for one in self.pairs.found],
                "not_paired": list(self.pairs.problems),
            }
        )
        return found


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
