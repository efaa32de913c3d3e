"""Which checkpoint of the secondary is which of the primary: both count them, each from where its tracer came in.

Both sequences count every transaction, recorded or not, so that one whole number, the shift, is all that is unknown.
Under a wrong shift the messages' times contradict each other, as no two waits between checkpoints are equally long to
within a message's way; the intervals between checkpoints tell which shifts are worth a look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from colotrace.analysis.merge_clock import Bounds, Floats, Numbers, Piece, fit, fit_pieces, longest_run
from colotrace.errors import InputError
from colotrace.phases import SENDERS, Mark, Role

LEAST_MATCHED = 5
LEAST_RUN = 8
"""Checkpoints a line must hold for, on average, if it takes several: a wrong shift's lines hold for two or three."""
_CANDIDATES = 128
_OUTLIER = 4.0
_BLOCK = 4
_GLANCE = 64
_LONGEST = 1 << 21
"""Checkpoints; they take some 450 bytes each."""
UNRELATED = "Name the primary's and the secondary's recording of one pair, made at the same time."


@dataclass(frozen=True)
class Times:
    """One side's recording as matching needs it: the completed checkpoints' sequence numbers and begins; for each
    message its checkpoints' numbers and its times, those without left out. On the clock of its host, in order."""

    sequence: Numbers
    begin_ns: Numbers
    marks: Mapping[Mark, tuple[Numbers, Numbers]]

    def within(self, begin: int, end: int) -> Times:
        """Those of the checkpoints begin..end-1."""

        def cut(sequence: Numbers, times: Numbers) -> tuple[Numbers, Numbers]:
            chosen = slice(*np.searchsorted(sequence, (begin, end)))
            return sequence[chosen], times[chosen]

        return Times(*cut(self.sequence, self.begin_ns), {mark: cut(*found) for mark, found in self.marks.items()})


@dataclass(frozen=True)
class Match:
    """secondary's sequence = primary's + shift, for the checkpoints `sequence` (the primary's numbers) that both have;
    the clocks' lines are `pieces`, their `first` and `last` places in `sequence`. `bounds` are how many there are."""

    shift: int
    sequence: Numbers
    pieces: tuple[Piece, ...]
    bounds: int

    @property
    def run(self) -> float:
        """Checkpoints per line: what speaks for the shift."""
        return len(self.sequence) / len(self.pieces)


def match(primary: Times, secondary: Times, one_clock: bool = False) -> Match:
    """Raises InputError if no shift makes sense of both, or several do. With `one_clock` both have the same."""
    for times, role in ((primary, Role.PRIMARY), (secondary, Role.SECONDARY)):
        if times.sequence.size < LEAST_MATCHED:
            raise InputError(
                f"the {role.value}'s recording has {times.sequence.size} completed checkpoints with their times; "
                f"to find the clocks' offset takes {LEAST_MATCHED}",
                "Record for longer.",
            )
    shifts = _candidates(primary, secondary)
    found = [m for m in (_attempt(primary, secondary, s) for s in shifts) if m]
    if one_clock:  # under a wrong shift the clocks would be apart by the time between two checkpoints
        found = [m for m in found if all(_may_be_zero(piece) for piece in m.pieces)]
    if not found:
        raise InputError(
            f"the recordings have no {LEAST_MATCHED} checkpoints in common: whichever checkpoint of the one is taken "
            "for which of the other, messages arrive before they were sent. They are of different pairs, of different "
            "times, or a clock was set again and again",
            UNRELATED,
        )
    best = max(found, key=lambda m: m.run)
    if not one_clock:
        _check_no_chance(primary, secondary, best, [m for m in found if m is not best], shifts)
    return best


def _may_be_zero(piece: Piece) -> bool:
    return bool(np.all(np.abs(piece.offset(piece.knots_ns)) <= piece.error(piece.knots_ns)))


def _check_no_chance(primary: Times, secondary: Times, best: Match, others: list[Match], shifts: list[int]) -> None:
    """Raises InputError unless the best shift holds for more than twice as long as any other one does anywhere."""
    rivals = [m for m in others if m.run * 2 >= best.run]
    if rivals:
        told = ", ".join(f"{m.shift:+} ({len(m.sequence)} checkpoints)" for m in (best, *rivals)[:4])
        why = f"shifts of {told} are all free of contradictions"
    else:
        least = math.ceil(best.run / 2)
        longest = max((_run(primary, secondary, s, least) for s in shifts if s != best.shift), default=0)
        if not longest:
            return
        why = (
            f"a shift of {best.shift:+} is free of contradictions for the {len(best.sequence)} checkpoints that would "
            f"be common, but wrong ones are for up to {longest} in a row"
        )
    raise InputError(
        f"it cannot be told which checkpoint of the secondary is which of the primary: {why}, as the checkpoints come "
        "too regularly for so few in common. Or there are none: the recordings are of different pairs or times",
        "Record both for longer, or name recordings of one pair that have more of their time in common.",
    )


def _run(primary: Times, secondary: Times, shift: int, least: int) -> int:
    """How many checkpoints in a row are free of contradictions under a shift, of those at a glance; 0 for fewer than
    `least`."""
    begin = max(int(primary.sequence[0]), int(secondary.sequence[0]) - shift)
    ours = primary.within(begin, begin + 2 * _GLANCE)
    theirs = secondary.within(begin + shift, begin + shift + 2 * _GLANCE)
    common = np.intersect1d(ours.sequence, theirs.sequence - shift, assume_unique=True)
    return longest_run(*bounds(ours, theirs, shift, common), common.size, least)


def _attempt(primary: Times, secondary: Times, shift: int) -> Match | None:
    begin = max(int(primary.sequence[0]), int(secondary.sequence[0]) - shift)
    end = min(int(primary.sequence[-1]), int(secondary.sequence[-1]) - shift) + 1
    for last in (min(end, begin + 2 * _GLANCE), end):  # most shifts are wrong: do not look at all of it at once
        ours, theirs = primary.within(begin, last), secondary.within(begin + shift, last + shift)
        common = np.intersect1d(ours.sequence, theirs.sequence - shift, assume_unique=True)
        found = _fit(ours, theirs, shift, common) if common.size >= LEAST_MATCHED else None
        if last == end or (found is None and common.size >= _GLANCE):
            return found
    return None


def _fit(primary: Times, secondary: Times, shift: int, common: Numbers) -> Match | None:
    upper, lower = bounds(primary, secondary, shift, common)
    most = max(1, common.size // LEAST_RUN)
    if common.size <= 2 * _GLANCE and _breaks(upper, lower, common.size, most) >= most:
        return None
    pieces = fit_pieces(upper, lower, common.size, most)
    return Match(shift, common, pieces, upper.of.size + lower.of.size) if pieces else None


def _breaks(upper: Bounds, lower: Bounds, checkpoints: int, most: int) -> int:
    """How many blocks of a few checkpoints no line fits, up to `most`: each has a border between two lines in it."""
    found = 0
    for at in range(0, checkpoints - _BLOCK + 1, _BLOCK):
        above, below = (side.within(at, at + _BLOCK) for side in (upper, lower))
        found += bool(above.of.size and below.of.size) and fit(above, below, at, at + _BLOCK) is None
        if found == most:
            break
    return found


def bounds(primary: Times, secondary: Times, shift: int, common: Numbers) -> tuple[Bounds, Bounds]:
    """Upper and lower bounds of secondary - primary, from the messages of the primary's checkpoints `common`."""
    found = {}
    for sender in Role:
        pieces = []
        for mark in (m for m, role in SENDERS.items() if role is sender):
            ours, theirs = primary.marks.get(mark), secondary.marks.get(mark)
            if ours is None or theirs is None:
                continue
            both, at, there = np.intersect1d(ours[0], theirs[0] - shift, assume_unique=True, return_indices=True)
            of = np.searchsorted(common, both)
            ok = (of < common.size) & (common[np.minimum(of, common.size - 1)] == both)
            when = ours[1][at[ok]]
            pieces.append((of[ok], when, theirs[1][there[ok]] - when))
        columns = [np.concatenate(c) for c in zip(*pieces, strict=True)] if pieces else [np.zeros(0, np.int64)] * 3
        order = np.argsort(columns[0], kind="stable")
        found[sender] = Bounds(*(column[order] for column in columns))
    return found[Role.PRIMARY], found[Role.SECONDARY]


def _candidates(primary: Times, secondary: Times) -> list[int]:
    """Shifts, those first under which the intervals between checkpoints differ least (in the mean square)."""
    ours, theirs = _intervals(primary), _intervals(secondary)
    every = np.concatenate([intervals[known] for intervals, known in (ours, theirs)])
    if not every.size:
        raise InputError("no two checkpoints in a row are in the recordings", "Record for longer.")
    typical = np.median(every)
    spread = max(float(np.median(np.abs(every - typical))), 1000.0)

    def bounded(intervals: Floats, known: NDArray[np.bool_]) -> Floats:
        """In units of their spread; a step of one clock must not count for more than any large interval does."""
        return np.where(known, np.clip((intervals - typical) / spread, -_OUTLIER, _OUTLIER), 0.0)

    a, b = bounded(*ours), bounded(*theirs)
    m, n = ours[1].astype(np.float64), theirs[1].astype(np.float64)
    size = 1 << int(a.size + b.size - 1).bit_length()

    def correlate(x: Floats, y: Floats) -> Floats:
        product = np.fft.irfft(np.conj(np.fft.rfft(x, size)) * np.fft.rfft(y, size), size)
        return np.concatenate((product[size - a.size + 1 :], product[: b.size]))  # lags 1-a.size .. b.size-1

    pairs = np.rint(correlate(m, n))
    squares = correlate(a * a, n) - 2 * correlate(a, b) + correlate(m, b * b)
    # By how much less than by chance, in standard errors: two or three pairs alone are easily near each other.
    chance = (np.sum(a * a) + np.sum(b * b)) / max(np.sum(m) + np.sum(n), 1) * 2
    some = np.maximum(pairs, 1)
    score = np.where(pairs >= 2, (np.maximum(squares, 0) / some - chance) * np.sqrt(some), np.inf)
    best = np.argsort(score, kind="stable")[:_CANDIDATES]
    lags = best[np.isfinite(score[best])] - (a.size - 1)
    return [int(lag + secondary.sequence[0] - primary.sequence[0]) for lag in lags]


def _intervals(times: Times) -> tuple[Floats, NDArray[np.bool_]]:
    """From each sequence number's begin to the next one's, and which of these are known."""
    first, last = int(times.sequence[0]), int(times.sequence[-1])
    if last - first >= _LONGEST:
        raise InputError(f"{last - first:,} checkpoints are too many to merge", f"Up to {_LONGEST:,} can be.")
    begins = np.zeros(last - first + 1, np.int64)
    there = np.zeros(last - first + 1, np.bool_)
    begins[times.sequence - first], there[times.sequence - first] = times.begin_ns, True
    return np.diff(begins).astype(np.float64), there[1:] & there[:-1]
