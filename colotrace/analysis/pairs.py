"""Which recordings, among many, are both sides of a pair: found by merging them, as the messages' times tell.

Nothing else can tell it: names and UUIDs need not agree, and the hosts' clocks may be minutes apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.merge import Merged, merge
from colotrace.errors import InputError
from colotrace.phases import Role

if TYPE_CHECKING:
    from colotrace.recording import Series

STRETCH = 200_000
"""Of a longer recording, so many checkpoints are merged: those in the middle of what both have of their time."""
APART_NS = 3600 * 10**9
"""Two hosts' clocks are thought to be no further apart than this."""
SLACK_NS = 600 * 10**9
"""By how much of its time more of the secondary is taken on either side of a stretch."""
MOST_TRIES = 200
_MOST_TOLD = 5
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where one side's checkpoints are in a report: in which of its series, from which completed checkpoint on."""

    series: int
    row: int


@dataclass(frozen=True)
class Pair:
    """Two sides on one timeline, and where each is in the report. `stretch` tells what of long recordings was taken."""

    merged: Merged
    primary: Place
    secondary: Place
    stretch: str | None = None

    @property
    def label(self) -> str:
        """Both sides' names; they come from outside, so escape them where they are shown."""
        return f"{self.merged.primary.label} and {self.merged.secondary.label}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before believing a figure."""
        return ((self.stretch,) if self.stretch else ()) + self.merged.notes


@dataclass(frozen=True)
class Pairs:
    """The pairs that were found; `problems` are sentences on recordings of both roles that are on no timeline."""

    found: tuple[Pair, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Side:
    """A run of a series."""

    series: Series
    place: Place
    first_ns: int
    last_ns: int

    @property
    def realtime_ns(self) -> int | None:
        return self.series.header.realtime_minus_monotonic_ns

    def apart_ns(self, other: _Side) -> int | None:
        """What to add to its times to have, roughly, the other's; None if not known."""
        mine, theirs = self.series.header.boot_id, other.series.header.boot_id
        if mine and mine == theirs:
            return 0
        if self.realtime_ns is None or other.realtime_ns is None:
            return None
        return self.realtime_ns - other.realtime_ns


def pairs_of(series: Sequence[Series], progress: Progress = lambda step: None) -> Pairs:
    """The pairs among some series of a recording, each run by itself."""
    if {one.role for one in series} != set(Role):
        return Pairs()
    progress("looking for both sides of a pair")
    sides = [side for at, one in enumerate(series) for side in _sides(at, one)]
    ours, theirs = ([side for side in sides if side.series.role is role] for role in (Role.PRIMARY, Role.SECONDARY))
    found: list[Pair] = []
    problems: list[str] = []
    tries = 0
    for one in ours:
        taken = {pair.secondary for pair in found}
        there = [other for other in theirs if other.place not in taken and _may_fit(one, other)]
        refused = []
        for other in sorted(there, key=lambda side: _unlike(one, side)):
            tries += 1
            if tries > MOST_TRIES:
                break
            progress(f"{one.series.label} with {other.series.label}")
            try:
                found.append(_pair(one, other))
                break
            except InputError as error:
                refused.append((other, error))
        else:
            problems.append(_refusal(one, refused))
    if tries > MOST_TRIES:
        problems.append(f"there are more ways to put two sides together than the {MOST_TRIES} that were tried")
    if len(problems) > _MOST_TOLD:
        problems[_MOST_TOLD:] = [f"and {len(problems) - _MOST_TOLD:,} more"]
    return Pairs(tuple(found), tuple(problems))


def _sides(at: int, series: Series) -> Iterator[_Side]:
    row = 0
    for run in series.by_run():
        begins = run.values("begin_ns")
        if begins.size:
            yield _Side(run, Place(at, row), int(begins.min()), int(begins.max()))
        row += run.counts.completed


def _may_fit(one: _Side, other: _Side) -> bool:
    """Whether two sides are of different processes, and of one time."""
    same_file = one.series.runs[0].path == other.series.runs[0].path
    if same_file and one.series.header.pid == other.series.header.pid:
        return False
    apart = one.apart_ns(other)
    if apart is None:
        return True
    room = 0 if one.series.header.boot_id == other.series.header.boot_id else APART_NS
    return one.first_ns + apart <= other.last_ns + room and other.first_ns - room <= one.last_ns + apart


def _unlike(one: _Side, other: _Side) -> tuple[bool, ...]:
    """What sets two sides apart; the more of it, the later they are tried."""
    mine, theirs = one.series.header, other.series.header
    return (
        not mine.vm_uuid or mine.vm_uuid != theirs.vm_uuid,
        not mine.vm or mine.vm != theirs.vm,
        one.series.runs[0].path != other.series.runs[0].path,
    )


def _refusal(one: _Side, refused: Sequence[tuple[_Side, InputError]]) -> str:
    if not refused:
        return f"{one.series.label}: no recording of a secondary that is left is of its time"
    (other, error), more = refused[0], len(refused) - 1
    others = f" (nor with {more:,} more)" if more else ""
    return f"{one.series.label} and {other.series.label}{others} cannot be put on one timeline: {error.message}"


def _pair(one: _Side, other: _Side) -> Pair:
    """Raises InputError if they are none."""
    ours, theirs = one.series.counts.completed, other.series.counts.completed
    if max(ours, theirs) <= STRETCH:
        return Pair(merge(one.series, other.series), one.place, other.place)
    (begin, end), (their_begin, their_end) = _stretch(one, other)
    merged = merge(one.series.part(begin, end), other.series.part(their_begin, their_end))
    numbers = merged.match.sequence
    return Pair(
        merged,
        Place(one.place.series, one.place.row + begin),
        Place(other.place.series, other.place.row + their_begin),
        f"a stretch of two long recordings: of {ours:,} and {theirs:,} checkpoints, the primary's {numbers[0]:,} to "
        f"{numbers[-1]:,}; `colotrace merge` takes whole ones of up to 2 million",
    )


def _stretch(one: _Side, other: _Side) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows of both sides, of one time as far as the clocks tell; the last ones of both where they do not."""
    ours, theirs = one.series.values("begin_ns"), other.series.values("begin_ns")
    apart = one.apart_ns(other)
    if apart is None:
        return (max(0, ours.size - STRETCH), ours.size), (max(0, theirs.size - STRETCH), theirs.size)
    begin, end = np.searchsorted(ours, (other.first_ns - apart, other.last_ns - apart))
    middle = int(begin + end) // 2
    begin, end = max(0, middle - STRETCH // 2), min(int(ours.size), middle + STRETCH // 2)
    slack = 0 if apart == 0 else SLACK_NS
    times = (int(ours[begin]) + apart - slack, int(ours[end - 1]) + apart + slack)
    first, last = (int(at) for at in np.searchsorted(theirs, times))
    over = max(0, last - first - 3 * STRETCH) // 2  # where checkpoints come so fast that the slack alone has too many
    return (begin, end), (first + over, last - over)
