"""Two series of checkpoints, or a series and an answer of info_checkpoint -> what got better, what worse. Pure.

Compared are medians, or means. The mean is what the guest pays, checkpoint for checkpoint; but on a busy host a few
checkpoints in which a thread was kept off its processor decide it, and its interval becomes too wide to tell anything.
The median is blind to stalls in less than half of the checkpoints, and jumps when they become more.

All figures of a comparison are held at one level together (Bonferroni). An interval knows only what varies within a
run. Two runs of one setting differ by more than that; so a verdict needs the whole interval beyond a margin, and a
phase must move the checkpoint as a whole by that much.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from colotrace.analysis.bootstrap import Estimate, Interval, estimate, ratio_interval
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Role

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95
MARGIN = 0.05
"""Of the figure itself, and for a phase of A's total as well: what changes by less changes no checkpoint."""
WHOLES = ("total", "pause")
_SUBJECT_PHASES = ("stat", "dev", "ram", "put", "recv", "load", "resume")


class Verdict(enum.Enum):
    """What can be said of B beside A."""

    BETTER = "better"
    """B is faster, by more than the margin and beyond chance."""
    WORSE = "worse"
    """B is slower, by more than the margin and beyond chance."""
    NO_EVIDENCE = "no evidence"
    """Neither can be told."""
    NOT_COMPARED = "not compared"
    """The figures do not mean the same, or one side has none; `reason` says why."""


class SeriesLike(Protocol):
    """What is needed of a colotrace.recording Series."""

    role: Role
    qemu_version: str | None
    build_id: str | None
    header: Any

    @property
    def label(self) -> str:
        """For people; to be escaped."""

    @property
    def counts(self) -> Any:
        """completed, incomplete, aborted, lost, lost_from."""

    def values(self, column: str) -> NDArray[np.int64]:
        """A column's values of completed checkpoints, without nulls, in order."""

    def missing(self, column: str) -> str | None:
        """Why the column is null throughout."""


@dataclass(frozen=True)
class Side:
    """One side: what it is called, its counts (None where it does not say), its settings by name, and its means in
    nanoseconds where it has no more than these."""

    label: str
    role: Role
    completed: int | None
    incomplete: int | None
    aborted: int | None
    lost: int | None
    lost_from: str | None
    settings: Mapping[str, str | None]
    meanings: Mapping[str, str]
    is_capture: bool = False
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "label": self.label, "role": self.role.value, "completed": self.completed, "incomplete": self.incomplete,
            "aborted": self.aborted, "lost": self.lost, "lost_from": self.lost_from, "settings": dict(self.settings),
            "is_capture": self.is_capture, "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One figure: both statistics in nanoseconds, B over A with its interval; `reason` says why there is no more."""

    name: str
    a: float | None
    b: float | None
    ratio: Interval
    verdict: Verdict
    reason: str | None = None

    @property
    def change_ns(self) -> float | None:
        """B less A."""
        return None if self.a is None or self.b is None else self.b - self.a

    def as_json(self) -> dict[str, object]:
        """An object of JSON types: an end that is infinite is null."""
        low, high = (None if end in (None, float("inf")) else end for end in (self.ratio.low, self.ratio.high))
        return {
            "name": self.name, "a_ns": self.a, "b_ns": self.b, "ratio": self.ratio.value, "low": low,
            "high": high, "level": self.ratio.level, "verdict": self.verdict.value, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """All of it. `differs` are settings that are not the same: (name, A's, B's)."""

    a: Side
    b: Side
    rows: tuple[Row, ...]
    differs: tuple[tuple[str, str | None, str | None], ...]
    notes: tuple[str, ...]
    margin: float
    level: float
    statistic: str = "mean"

    def row(self, name: str) -> Row:
        """A figure by its name; KeyError if it is none of the role's."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def named(self, verdict: Verdict) -> tuple[str, ...]:
        """The figures with that verdict."""
        return tuple(row.name for row in self.rows if row.verdict is verdict)

    @property
    def summary(self) -> str:
        """One sentence: what got worse, what better."""
        parts = [
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {verdict.value}"
            for verdict in (Verdict.WORSE, Verdict.BETTER)
            if (names := self.named(verdict))
        ]
        return "B beside A: " + ("; ".join(parts) if parts else "no evidence of a difference")

    def is_slower(self, name: str, limit: float) -> bool:
        """Whether a figure is slower by more than `limit` (0.05: 5%) beyond chance: the whole interval lies there."""
        low = self.row(name).ratio.low
        return low is not None and low > 1 + limit

    def as_json(self) -> dict[str, object]:
        """An object of JSON types; `statistic` says of what `a_ns`, `b_ns` and the ratios (B over A) are."""
        return {
            "type": "compare", "summary": self.summary, "a": self.a.as_json(), "b": self.b.as_json(),
            "statistic": self.statistic, "margin": self.margin, "family_level": self.level,
            "rows": [row.as_json() for row in self.rows],
            "differs": [{"name": name, "a": a, "b": b} for name, a, b in self.differs], "notes": list(self.notes),
        }  # fmt: skip


def figures(role: Role) -> tuple[str, ...]:
    """The figures of a role, in the order of a checkpoint. Not wait: the guest runs in it, and longer is not worse."""
    inside = [phase.value for phase in ROLE_PHASES[role] if phase not in OUTSIDE_TOTAL]
    return (*inside, "other", *WHOLES)


def side_of(series: SeriesLike) -> Side:
    """What a series says of itself."""
    counts, header = series.counts, series.header
    cost = header.probe_cost
    names = ("kernel", "checkpoint_delay_ms", "clock", "host", "vm")
    settings = {name: _text(getattr(header, name, None)) for name in names}
    settings |= {"qemu_version": series.qemu_version, "build_id": series.build_id}
    settings["probes"] = _text(getattr(header, "probes", None))
    settings["probe_cost_known"] = "yes" if cost else "no"
    return Side(
        series.label, series.role, counts.completed, counts.incomplete, counts.aborted, counts.lost, counts.lost_from,
        settings, dict(header.meanings.get(series.role.value, {})),
    )  # fmt: skip


def compare_series(
    a: SeriesLike, b: SeriesLike, margin: float = MARGIN, level: float = LEVEL, statistic: str = "median"
) -> Comparison:
    """Two recordings' series of one role, by "mean" or "median". Raises ValueError if the roles differ."""
    if a.role is not b.role:
        raise ValueError(f"a {a.role.value} and a {b.role.value} have different phases")
    sides = side_of(a), side_of(b)
    unlike, notes = unlike_phases(sides[0], sides[1])
    names = figures(a.role)
    quantile = 0.5 if statistic == "median" else None
    total = _mean(a, "total_ns")
    rows = []
    for number, name in enumerate(names):
        column = f"{name}_ns"
        if name in unlike:
            rows.append(_not_compared(name, _mean(a, column), _mean(b, column), unlike[name]))
            continue
        one, other = (estimate(side.values(column), quantile, seed=2 * number + k) for k, side in enumerate((a, b)))
        why = next((side.missing(column) for side, e in ((a, one), (b, other)) if e.value is None), None)
        rows.append(_judged(name, one, other, len(names), total, margin, level, why))
    return Comparison(*sides, tuple(rows), _differing(*sides), tuple(notes), margin, level, statistic)


def compare_with_means(
    series: SeriesLike, capture: Side, means: Mapping[str, float], *, capture_first: bool,
    margin: float = MARGIN, level: float = LEVEL,
) -> Comparison:  # fmt: skip
    """A series against means whose own uncertainty nobody has recorded: intervals hold the series' alone."""
    side = side_of(series)
    a, b = (capture, side) if capture_first else (side, capture)
    names = figures(series.role)
    first_total = means.get("total") if capture_first else _mean(series, "total_ns")
    rows = []
    for number, name in enumerate(names):
        mine = estimate(series.values(f"{name}_ns"), seed=number)
        if name not in means:
            first, second = (None, mine.value) if capture_first else (mine.value, None)
            rows.append(_not_compared(name, first, second, "the capture does not have it, or not rightly"))
            continue
        fixed = Estimate(1, means[name])
        one, other = (fixed, mine) if capture_first else (mine, fixed)
        rows.append(_judged(name, one, other, len(names), first_total, margin, level, None, known=fixed))
    notes = (
        "the capture has means only: its own uncertainty is unknown; the intervals hold the recording's alone",
        "whether the capture's QEMU does the same in each phase is unknown",
    )
    return Comparison(a, b, tuple(rows), _differing(a, b), notes + capture.notes, margin, level)


def unlike_phases(a: Side, b: Side) -> tuple[dict[str, str], list[str]]:
    """The phases that mean different things on the two sides, each with the reason; and what could not be told."""
    unlike: dict[str, list[str]] = {}
    notes = []
    if not a.meanings or not b.meanings:
        notes.append("what each phase contains is not recorded on both sides: taken to be the same")
        return {}, notes
    for subject in sorted(a.meanings.keys() | b.meanings.keys()):
        here, there = a.meanings.get(subject, "unknown"), b.meanings.get(subject, "unknown")
        if here != there:
            for phase in (*_SUBJECT_PHASES, "other"):
                if phase in here.split(" and ") or phase in there.split(" and "):
                    unlike.setdefault(phase, []).append(f"{subject}: {here} in A, {there} in B")
    return {phase: "; ".join(reasons) for phase, reasons in unlike.items()}, notes


def _judged(
    name: str, a: Estimate, b: Estimate, family: int, total: float | None, margin: float, level: float,
    why: str | None, known: Estimate | None = None,
) -> Row:  # fmt: skip
    each = 1 - (1 - level) / family
    if a.value is None or b.value is None:
        return _not_compared(name, a.value, b.value, why or a.reason or b.reason or "not seen")
    if known is a:
        turned = ratio_interval(b, a.value, each)
        ratio = Interval(b.value / a.value if a.value else None, *_inverted(turned), each, turned.reason)
    else:
        ratio = ratio_interval(a, b.value if known is b else b, each)
    if ratio.low is None or ratio.high is None:
        return Row(name, a.value, b.value, ratio, Verdict.NO_EVIDENCE, ratio.reason)
    verdict = (
        Verdict.WORSE if ratio.low > 1 + margin else Verdict.BETTER if ratio.high < 1 - margin else Verdict.NO_EVIDENCE
    )
    is_small = name not in WHOLES and total is not None and abs(b.value - a.value) < margin * total
    if verdict is not Verdict.NO_EVIDENCE and is_small:
        reason = f"it differs, but by less than {100 * margin:g}% of the checkpoint"
        return Row(name, a.value, b.value, ratio, Verdict.NO_EVIDENCE, reason)
    return Row(name, a.value, b.value, ratio, verdict)


def _not_compared(name: str, a: float | None, b: float | None, reason: str) -> Row:
    return Row(name, a, b, Interval(None, None, None, 0.0, reason), Verdict.NOT_COMPARED, reason)


def _inverted(one: Interval) -> tuple[float | None, float | None]:
    if one.low is None or one.high is None:
        return None, None
    return (1 / one.high if one.high else float("inf"), 1 / one.low if one.low else float("inf"))


def _mean(series: SeriesLike, column: str) -> float | None:
    values = series.values(column)
    return float(values.mean()) if len(values) else None


def _differing(a: Side, b: Side) -> tuple[tuple[str, str | None, str | None], ...]:
    names: Sequence[str] = list(dict.fromkeys([*a.settings, *b.settings]))
    pairs = ((name, a.settings.get(name), b.settings.get(name)) for name in names)
    return tuple(pair for pair in pairs if pair[1] != pair[2])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
