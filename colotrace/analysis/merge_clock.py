"""The secondary's clock over the primary's, from nothing but causality: a message arrives after it was sent.

The difference secondary - primary of a message's two marks is at least the clocks' offset if the primary sent it, at
most the offset if the secondary did (both at the primary's time). Nothing is assumed of how long a message travels, nor
that both ways take equally long: where one stalled for 40 ms, that bound is 40 ms too wide, and others are tighter.

First a line: the lines (offset, drift) that keep to all bounds are a convex polygon (Duda, Harrus, Haddad, Bernard:
Estimating global time in distributed systems, ICDCS 1987), and its centroid is taken. No clock keeps to a line, though:
over hours, bounds would leave less room than the clocks wander, and a far too small error. So the line only carries a
band: a rate may differ from the line's by WANDER, by which each bound widens with its distance in time. What all bounds
leave at a time is the offset then, give or take half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Corner = tuple[float, float]

MOST_DRIFT = 1e-3
"""Two kernels' clocks, each slewed by NTP at its limit of 500 ppm (MAXFREQ in Linux' timex.h), differ no faster."""
WANDER = 10e-6
"""How far a rate strays from its line: a quartz's by some 1e-6 with temperature, by a few more if NTP corrects it."""
GRAIN_NS = 1
"""What rounding to whole nanoseconds may do to a bound."""
_CHAIN = 4096


@dataclass(frozen=True)
class Bounds:
    """Bounds of offset: at the primary's times `at_ns`, of matched checkpoints `of` (ascending), `offset_ns`."""

    of: Numbers
    at_ns: Numbers
    offset_ns: Numbers

    def within(self, begin: int, end: int) -> Bounds:
        """Those of the matched checkpoints begin..end-1."""
        chosen = slice(*np.searchsorted(self.of, (begin, end)))
        return Bounds(self.of[chosen], self.at_ns[chosen], self.offset_ns[chosen])


@dataclass(frozen=True)
class Line:
    """secondary - primary = offset_ns + drift * (t - at_ns) at the primary's time t, for the matched checkpoints
    first..last. `corners` are the extreme lines, as (offset beyond offset_ns, drift)."""

    first: int
    last: int
    at_ns: int
    offset_ns: int
    drift: float
    corners: tuple[Corner, ...]

    def offset(self, primary_ns: Numbers) -> Numbers:
        """Secondary - primary at the primary's times, in nanoseconds."""
        drifted: Numbers = np.rint(self.drift * (primary_ns - self.at_ns)).astype(np.int64)
        return self.offset_ns + drifted

    def to_primary(self, secondary_ns: Numbers) -> Numbers:
        """The secondary's times on the primary's clock."""
        since = secondary_ns - (self.at_ns + self.offset_ns)
        drifted: Numbers = np.rint(since * (self.drift / (1 + self.drift))).astype(np.int64)
        return self.at_ns + since - drifted

    @property
    def drift_error(self) -> float:
        """How far the drift of a clock that keeps to a line can be from this one's (1e-6 is one ppm)."""
        return max(abs(drift - self.drift) for _, drift in self.corners)


@dataclass(frozen=True)
class Piece:
    """A line with its band: at the primary's times `knots_ns`, those of the bounds, the offset is beyond the line's by
    `low_ns` to `high_ns`, if the rate is within `wander` of the line's."""

    line: Line
    knots_ns: Numbers
    low_ns: Floats
    high_ns: Floats
    wander: float

    @property
    def first(self) -> int:
        """Its first matched checkpoint."""
        return self.line.first

    @property
    def last(self) -> int:
        """Its last matched checkpoint."""
        return self.line.last

    def offset(self, primary_ns: Numbers) -> Numbers:
        """Secondary - primary at the primary's times, in nanoseconds."""
        return self.line.offset(primary_ns) + self._beyond(primary_ns)

    def to_primary(self, secondary_ns: Numbers) -> Numbers:
        """The secondary's times on the primary's clock."""
        primary_ns = self.line.to_primary(secondary_ns)
        for _ in range(3):  # what is beyond the line changes by less than 0.2 % of the time that passes
            primary_ns = self.line.to_primary(secondary_ns - self._beyond(primary_ns))
        return primary_ns

    def error(self, primary_ns: Numbers) -> Numbers:
        """How far the true offset can be from the estimated one, in nanoseconds, rounded up."""
        half = np.interp(self._since(primary_ns), self._since(self.knots_ns), (self.high_ns - self.low_ns) / 2)
        at = np.clip(np.searchsorted(self.knots_ns, primary_ns), 1, len(self.knots_ns) - 1)
        before, after = primary_ns - self.knots_ns[at - 1], self.knots_ns[at] - primary_ns
        apart = np.maximum(before + after, 1)
        inside = 2.0 * before * after / apart  # between two knots, both of them hold
        beside = np.where((before < 0) | (after < 0), np.abs(np.minimum(before, after)), inside)
        return np.ceil(half + self.wander * beside).astype(np.int64) + GRAIN_NS

    @property
    def drift(self) -> float:
        """How fast the offset grows (1e-6 is one ppm)."""
        return self.line.drift

    @property
    def drift_error(self) -> float:
        """How far the mean rate over the piece, or the constant one if it is, can be from `drift`."""
        took = max(int(self.knots_ns[-1] - self.knots_ns[0]), 1)
        rise, fall = self.high_ns[-1] - self.low_ns[0], self.high_ns[0] - self.low_ns[-1]
        return max(self.line.drift_error, float(rise) / took, float(fall) / took)

    def _since(self, primary_ns: Numbers) -> Floats:
        return (primary_ns - self.line.at_ns).astype(np.float64)

    def _beyond(self, primary_ns: Numbers) -> Numbers:
        middle = (self.low_ns + self.high_ns) / 2
        beyond: Numbers = np.rint(np.interp(self._since(primary_ns), self._since(self.knots_ns), middle)).astype(
            np.int64
        )
        return beyond


def fit_pieces(upper: Bounds, lower: Bounds, checkpoints: int, most: int) -> tuple[Piece, ...] | None:
    """As few lines as it takes, each for as many of the checkpoints 0..checkpoints-1 as it fits; None if it takes more
    than `most`, or a single checkpoint contradicts itself. More than one: a clock was stepped or changed its rate."""
    whole = fit(upper, lower, 0, checkpoints)
    if whole is not None:
        return (_with_band(whole, upper, lower),)
    pieces: list[Piece] = []
    begin = 0
    while begin < checkpoints:
        line = _longest(upper, lower, begin, checkpoints)
        if line is None or len(pieces) == most:
            return None
        pieces.append(_with_band(line, upper, lower))
        begin = line.last + 1
    return tuple(pieces)


def fit(upper: Bounds, lower: Bounds, begin: int, end: int) -> Line | None:
    """The line through the bounds of the checkpoints begin..end-1; None if there is none."""
    upper, lower = upper.within(begin, end), lower.within(begin, end)
    if not upper.of.size or not lower.of.size:
        return None
    ends = [b.at_ns[[0, -1]] for b in (upper, lower)]
    first, last = int(np.min(ends)), int(np.max(ends))
    at, origin = (first + last) // 2, int(upper.offset_ns.min())
    half = max(last - first, 2) / 2
    above, below = _hull(upper, at, origin, half, 1), _hull(lower, at, origin, half, -1)
    slope = MOST_DRIFT * half
    low, high = float(below[1].min()) - slope - GRAIN_NS, float(above[1].max()) + slope + GRAIN_NS
    if low > high:
        return None
    corners: list[Corner] = [(low, -slope), (high, -slope), (high, slope), (low, slope)]
    for sign, (xs, ys) in ((1, above), (-1, below)):
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            corners = _clip(corners, sign, x, y)
            if not corners:
                return None
    beyond, drift = _centroid(corners)
    whole = round(beyond)
    return Line(
        begin,
        end - 1,
        at,
        origin + whole,
        drift / half,
        tuple((a - whole, b / half) for a, b in dict.fromkeys(corners)),
    )


def longest_run(upper: Bounds, lower: Bounds, checkpoints: int, least: int) -> int:
    """Of the checkpoints 0..checkpoints-1, cut into lines as fit_pieces does, how many the longest one holds for; 0 if
    for fewer than `least`."""
    half, longest, begin = max(least // 2, 1), 0, 0
    if not any(fit(upper, lower, at, at + half) for at in range(0, checkpoints - half + 1, half)):
        return 0  # at least that long, it would have one of these in it
    while begin < checkpoints:
        line = _longest(upper, lower, begin, checkpoints)
        end = line.last + 1 if line else begin + 1
        longest, begin = max(longest, end - begin), end
    return longest if longest >= least else 0


def _longest(upper: Bounds, lower: Bounds, begin: int, checkpoints: int) -> Line | None:
    """The line that holds longest from there: doubled until it fails, then halved in on."""
    best = fit(upper, lower, begin, begin + 1)
    good, step = begin + 1, 1
    while best is not None and good < checkpoints:
        end = min(good + step, checkpoints)
        found = fit(upper, lower, begin, end)
        if found is None:
            bad = end
            while bad - good > 1:
                middle = (good + bad) // 2
                found = fit(upper, lower, begin, middle)
                if found is None:
                    bad = middle
                else:
                    good, best = middle, found
            break
        good, best, step = end, found, step * 2
    return best


def _with_band(line: Line, upper: Bounds, lower: Bounds) -> Piece:
    upper, lower = (bounds.within(line.first, line.last + 1) for bounds in (upper, lower))
    knots = np.concatenate((upper.at_ns, lower.at_ns))
    order = np.argsort(knots, kind="stable")
    wander = WANDER + line.drift_error
    since = wander * (knots[order] - knots[order[0]])
    room_above, room_below = ((b.offset_ns - line.offset(b.at_ns)).astype(np.float64) for b in (upper, lower))
    none_above, none_below = (np.full(b.of.size, np.inf) for b in (lower, upper))
    high = _nearest(np.concatenate((room_above, none_above))[order], since)
    low = -_nearest(np.concatenate((none_below, -room_below))[order], since)
    return Piece(line, knots[order], low, high, wander)


def _nearest(room: Floats, since: Floats) -> Floats:
    """The least of room[j] + |since[i] - since[j]| for each i: what all bounds leave there."""
    before = np.minimum.accumulate(room - since) + since
    after = np.minimum.accumulate((room + since)[::-1])[::-1] - since
    nearest: Floats = np.minimum(before, after)
    return nearest


def _hull(bounds: Bounds, at: int, origin: int, half: float, sign: int) -> tuple[Floats, Floats]:
    """The bounds that matter: the lower hull of upper ones (sign 1), the upper hull of lower ones (-1); x in halves of
    the piece, y beyond origin."""
    x = (bounds.at_ns - at) / half
    y = (bounds.offset_ns - origin).astype(np.float64)
    order = np.lexsort((sign * y, x))
    x, y = x[order], sign * y[order]
    keep = np.concatenate(([True], np.diff(x) > 0))
    x, y = x[keep], y[keep]
    while x.size > _CHAIN:  # a point above the line between any two others is none of the hull: drop all such at once
        inside = (y[1:-1] - y[:-2]) * (x[2:] - x[:-2]) >= (y[2:] - y[:-2]) * (x[1:-1] - x[:-2])
        keep = np.concatenate(([True], ~inside, [True]))
        few = np.count_nonzero(inside) * 50 < x.size
        x, y = x[keep], y[keep]
        if few:
            break
    chain: list[Corner] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    xs, ys = np.array(chain).T
    return xs, sign * ys


def _turn(a: Corner, b: Corner, c: Corner) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _clip(corners: Sequence[Corner], sign: int, x: float, y: float) -> list[Corner]:
    """The part of a convex polygon of lines (a, b) where sign * (a + b x) <= sign * y (Sutherland, Hodgman)."""
    room = [sign * (y - a - b * x) + GRAIN_NS for a, b in corners]
    kept: list[Corner] = []
    for at, (corner, here) in enumerate(zip(corners, room, strict=True)):
        before, there = corners[at - 1], room[at - 1]
        if (here < 0) != (there < 0):
            part = there / (there - here)
            kept.append((before[0] + part * (corner[0] - before[0]), before[1] + part * (corner[1] - before[1])))
        if here >= 0:
            kept.append(corner)
    return kept


def _centroid(corners: Sequence[Corner]) -> Corner:
    mean = (sum(a for a, _ in corners) / len(corners), sum(b for _, b in corners) / len(corners))
    area = weighted_a = weighted_b = 0.0
    for at, corner in enumerate(corners):  # triangles with the mean, not the far origin: less is cancelled out
        before = corners[at - 1]
        part = abs(_turn(mean, before, corner))
        area += part
        weighted_a += part * (mean[0] + before[0] + corner[0]) / 3
        weighted_b += part * (mean[1] + before[1] + corner[1]) / 3
    return (weighted_a / area, weighted_b / area) if area > 0 else mean
