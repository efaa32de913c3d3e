"""The pause changes over the run, by a steady drift or by one step: which phase carries it, and what changes along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from colotrace.analysis.findings.changes import LEAST_CHECKPOINTS, Change, Course, change_of
from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import SLICE_NS
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.sample import Sample
from colotrace.analysis.trend import HOUR_NS
from colotrace.clocks import iso_text
from colotrace.recording.schema import PARTS
from colotrace.units import size_text, time_text

LEAST_ALONG = 0.05
"""By how much a figure must change, of its level before, to be told as changing along."""
EXPLAINS = 0.5
"""The amount of data explains a phase's change if, relatively, it changes by so much of that."""
_FIGURES = {
    "ram_bytes": ("RAM sent", size_text),
    "device_bytes": ("device state", size_text),
    "wait_ns": ("wait", time_text),
}


@dataclass(frozen=True)
class _Story:
    """A change with what goes along: `carrier` is the column that changes most with it, by `carried`; `data` and `wait`
    what the amount of RAM and the wait before do (None: unknown), `by_data` whether the former explains it."""

    change: Change
    carrier: str
    carried: Course
    data: Course | None
    wait: Course | None

    @property
    def same_data(self) -> bool:
        """Whether as much RAM is sent as before."""
        return self.data is not None and not _is_along(self.data)

    @property
    def by_wait(self) -> bool:
        """Whether the data are more, or less, because checkpoints are farther apart, or closer."""
        if self.data is None or self.wait is None or not (self.by_data and _is_along(self.wait)):
            return False
        same_way = self.wait.change * self.data.change > 0
        return same_way and abs(self.wait.relative) >= EXPLAINS * abs(self.data.relative)

    @property
    def by_data(self) -> bool:
        if self.data is None or not self.data.clear:
            return False
        same_way = self.data.change * self.change.course.change > 0
        return same_way and abs(self.data.relative) >= max(LEAST_ALONG, EXPLAINS * abs(self.carried.relative))


def _is_along(course: Course) -> bool:
    return course.clear and abs(course.relative) >= LEAST_ALONG


def _look(sample: Sample) -> Iterator[Finding]:
    change = change_of(sample.spread)
    if change is None:
        return
    course = change.course
    parts = {part: along for part in PARTS if (along := change.along(part)) is not None}
    carrier = change.of
    if change.of == change.pause:
        carrier = max(parts, key=lambda part: parts[part].change * course.change, default=change.of)
    story = _Story(change, carrier, parts.get(carrier, course), change.along("ram_bytes"), change.along("wait_ns"))
    if not story.by_data and abs(course.change) < SLICE_NS:
        return
    drift, step_ns = course.drift, change.step_ns
    shift_ns = sample.header.realtime_minus_monotonic_ns
    step = None if step_ns is None else tuple(round(when) + sample.spread.base_ns for when in step_ns)
    confidence, reason = _confidence(story)
    yield Finding(
        rule=RULE.name,
        phase=change.of.removesuffix("_ns"),
        title=_title(story),
        numbers={
            "before_ns": round(course.before),
            "after_ns": round(course.after),
            "change_of_pause": round(course.change / change.pause_ns, 4) if change.pause_ns else None,
            "over_ns": round(change.bins.span_ns),
            "step_monotonic_ns": step[1] if step else None,
            "per_hour_ns": round(drift.per_hour_ns) if drift else None,
            "per_hour_low_ns": _rounded(drift.low_ns if drift else None),
            "per_hour_high_ns": _rounded(drift.high_ns if drift else None),
            "carried_part": round(story.carried.change / course.change, 4),
            "ram_bytes_before": _rounded(story.data.before if story.data else None),
            "ram_bytes_after": _rounded(story.data.after if story.data else None),
        },
        evidence=(*_when(change, step, shift_ns), *_what(story)),
        confidence=confidence,
        confidence_reason=reason,
        advice=_advice(story),
        cost_ns=round(change.cost_ns),
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _title(story: _Story) -> str:
    change, course = story.change, story.change.course
    does = ("steps " if change.at is not None else "drifts ") + ("up" if course.change > 0 else "down")
    text = f"{_name(change.of)} {does} in the run, from {time_text(course.before)} to {time_text(course.after)}"
    if story.carrier != change.of:
        text += f", most of all {_name(story.carrier)}"
    more = course.change > 0
    if story.by_wait:
        return f"{text}: {'more is written in a longer wait' if more else 'less is written in a shorter wait'}"
    if story.by_data:
        return f"{text}: the guest writes {'more' if more else 'less'}"
    return f"{text}, for the same amount of RAM" if story.same_data else text


def _name(column: str) -> str:
    name = column.removesuffix("_ns")
    return f"the {name}" if name in ("pause", "total") else name


def _when(change: Change, step_ns: tuple[int, ...] | None, shift_ns: int | None) -> Iterator[str]:
    course, span_ns = change.course, change.bins.span_ns
    if step_ns is not None:
        yield f"between the checkpoints of {' and '.join(_moment(when, shift_ns) for when in step_ns)}"
    drift = course.drift
    if drift is not None and drift.low_ns is not None and drift.high_ns is not None:
        hours = span_ns / HOUR_NS
        yield (
            f"by {time_text(course.change)} over {time_text(span_ns)} (between {time_text(drift.low_ns * hours)} and "
            f"{time_text(drift.high_ns * hours)}, {drift.confidence:.0%}), or {time_text(drift.per_hour_ns)} an hour"
        )


def _moment(monotonic_ns: int, shift_ns: int | None) -> str:
    if shift_ns is not None:
        try:
            return iso_text(monotonic_ns + shift_ns)[:23] + "Z"
        except (OverflowError, ValueError, OSError):  # a year that no calendar has: a foreign file's
            pass
    return f"{monotonic_ns / 1e9:,.3f} s of CLOCK_MONOTONIC"


def _what(story: _Story) -> Iterator[str]:
    change, carried = story.change, story.carried
    if story.carrier != change.of:
        levels = f"{time_text(carried.before)} to {time_text(carried.after)}"
        yield f"{_name(story.carrier)} makes {carried.change / change.course.change:.0%} of that: {levels}"
    pause = change.along(change.pause) if change.of != change.pause else None
    if pause is not None:
        yield f"{_name(change.pause)} goes along: {time_text(pause.before)} to {time_text(pause.after)}"
    for column, (name, words) in _FIGURES.items():
        along = change.along(column)
        if along is not None and _is_along(along):
            yield f"{name} changes along: {words(along.before)} to {words(along.after)} ({along.relative:+.0%})"
        elif along is not None and column == "ram_bytes":
            yield f"{name} does not change along: {words(along.before)} to {words(along.after)}"


def _confidence(story: _Story) -> tuple[Confidence, str]:
    if story.by_data:
        return Confidence.HIGH, "the amount of data changes with it, and by as much"
    if story.data is None:
        return Confidence.LOW, "that it changes is certain; how much RAM was sent is not known here, the primary knows"
    if story.same_data:
        return Confidence.MEDIUM, "that the same work takes another time is certain; why is not to be seen from here"
    return Confidence.MEDIUM, "that it changes is certain; the amount of RAM changes too, but does not explain it"


def _advice(story: _Story) -> str:
    when = "at that moment" if story.change.at is not None else "in the course of the run"
    if story.by_wait:
        return (
            f"checkpoints come at another distance since: look what has set x-checkpoint-delay {when}, or has changed "
            "how often packets differ"
        )
    if story.by_data:
        return (
            f"look what the guest has begun or ended {when}; a shorter x-checkpoint-delay bounds what it writes in "
            "between (colotrace remedy delay)"
        )
    return (
        f"look what has changed {when} on both hosts and the network; of recv and load, colotrace merge of both sides' "
        "recordings tells which side or the network takes longer"
    )


RULE = Rule(
    "drift",
    "a pause that changes over the run, steadily or in one step, and what changes along",
    _look,
    least=LEAST_CHECKPOINTS,
)
