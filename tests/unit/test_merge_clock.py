"""The line between two clocks: against the definition by brute force, and on messages with delays of all kinds."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from colotrace.analysis.merge_clock import GRAIN_NS, MOST_DRIFT, Bounds, fit, fit_pieces

DELAYS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=12)
OFFSETS = st.integers(-(10**16), 10**16)
DRIFTS = st.floats(-MOST_DRIFT / 2, MOST_DRIFT / 2)
STEP = 200_000_000


def exchanged(delays: list[tuple[int, int]], offset: int, drift: float, start: int = 0) -> tuple[Bounds, Bounds]:
    """Bounds from a message each way a checkpoint, with these delays beyond the true offset."""
    of = np.arange(len(delays))
    at = start + of * STEP
    true = offset + np.rint(drift * (at - start)).astype(np.int64)
    there, back = np.array(delays, np.int64).T
    return Bounds(of, at, true + there), Bounds(of, at + 1000, true + np.rint(drift * 1000).astype(np.int64) - back)


@given(DELAYS, OFFSETS, DRIFTS, st.integers(0, 10**15))
@settings(max_examples=200, deadline=None)
def test_the_truth_is_within_the_error(delays: list[tuple[int, int]], offset: int, drift: float, start: int) -> None:
    upper, lower = exchanged(delays, offset, drift, start)
    (piece,) = fit_pieces(upper, lower, len(delays), 1) or ()
    true = offset + np.rint(drift * (upper.at_ns - start)).astype(np.int64)
    assert np.all(np.abs(piece.offset(upper.at_ns) - true) <= piece.error(upper.at_ns))
    assert abs(piece.drift - drift) <= piece.drift_error + 1e-12
    back = piece.to_primary(upper.at_ns + piece.offset(upper.at_ns))
    assert np.all(np.abs(back - upper.at_ns) <= 1)


@given(DELAYS, DRIFTS)
@settings(max_examples=100, deadline=None)
def test_the_corners_are_those_of_the_definition(delays: list[tuple[int, int]], drift: float) -> None:
    upper, lower = exchanged(delays, 0, drift)
    piece = fit(upper, lower, 0, len(delays))
    assert piece
    half = len(delays) * STEP / 2
    planes = [(1.0, (x - piece.at_ns) / half, y + GRAIN_NS) for x, y in zip(upper.at_ns, upper.offset_ns, strict=True)]
    planes += [
        (-1.0, -(x - piece.at_ns) / half, GRAIN_NS - y) for x, y in zip(lower.at_ns, lower.offset_ns, strict=True)
    ]
    planes += [(0.0, 1.0, MOST_DRIFT * half), (0.0, -1.0, MOST_DRIFT * half)]
    corners = []
    for (a, b, c), (d, e, f) in itertools.combinations(planes, 2):
        if abs(det := a * e - b * d) > 1e-12:
            corner = (c * e - b * f) / det, (a * f - c * d) / det
            if all(p * corner[0] + q * corner[1] <= r + 1e-3 for p, q, r in planes):
                corners.append(corner)
    for x in (-half, 0.0, half):
        there = [piece.offset_ns + beyond + slope * x for beyond, slope in piece.corners]
        right = [a + b * x / half for a, b in corners]
        assert abs(max(there) - max(right)) < 1 and abs(min(there) - min(right)) < 1


def test_a_stall_one_way_moves_nothing() -> None:
    """40 ms on every message back but one: no mean or median of both ways would see through that."""
    delays = [(15_000, 40_000_000)] * 20
    delays[7] = (15_000, 20_000)
    upper, lower = exchanged(delays, 5 * 10**9, 0)
    (piece,) = fit_pieces(upper, lower, 20, 1) or ()
    assert np.all(np.abs(piece.offset(upper.at_ns) - 5 * 10**9) <= piece.error(upper.at_ns))
    assert abs(int(piece.offset(upper.at_ns[7:8])[0]) - 5 * 10**9) < 40_000


def test_many_messages_take_little_time_and_lose_nothing() -> None:
    """A million: by the hull of all as by that of every piece of them."""
    chance = np.random.default_rng(1)
    delays = chance.exponential(50_000, (1_000_000, 2)).astype(np.int64) + 10_000
    upper, lower = _many(delays, 50e-6)
    (piece,) = fit_pieces(upper, lower, len(delays), 1) or ()
    true = np.rint(50e-6 * upper.at_ns).astype(np.int64)
    assert np.all(np.abs(piece.offset(upper.at_ns) - true) <= piece.error(upper.at_ns))
    assert piece.error(upper.at_ns[len(delays) // 2 :][:1])[0] < 40_000


def _many(delays: NDArray[np.int64], drift: float) -> tuple[Bounds, Bounds]:
    of = np.arange(len(delays))
    at = of * STEP
    true = np.rint(drift * at).astype(np.int64)
    return Bounds(of, at, true + delays[:, 0]), Bounds(of, at, true - delays[:, 1])


def test_what_no_line_fits_is_cut() -> None:
    chance = np.random.default_rng(2)
    upper, lower = _many(chance.integers(10_000, 60_000, (60, 2)), 0)
    jump = np.where(upper.of >= 25, 3_000_000, 0)
    upper, lower = (Bounds(b.of, b.at_ns, b.offset_ns + jump) for b in (upper, lower))
    assert fit(upper, lower, 0, 60) is None
    pieces = fit_pieces(upper, lower, 60, 5)
    assert pieces and [(p.first, p.last) for p in pieces] == [(0, 24), (25, 59)]
    assert fit_pieces(upper, lower, 60, 1) is None


def test_a_rate_that_wanders_stays_within_the_error() -> None:
    """Ten hours of a quartz whose rate swings by 1 ppm each hour: lines alone claim a hundredth of their error."""
    chance = np.random.default_rng(3)
    of = np.arange(180_000)
    at = of * STEP
    per_ns = 2 * np.pi / 3600e9
    true = 351 * 10**9 + np.rint(20e-6 * at + 1e-6 / per_ns * np.sin(per_ns * at)).astype(np.int64)
    there, back = (chance.exponential(40_000, of.size).astype(np.int64) + 20_000 for _ in range(2))
    pieces = fit_pieces(Bounds(of, at, true + there), Bounds(of, at, true - back), of.size, of.size // 8)
    assert pieces and len(pieces) > 1
    for piece in pieces:
        here = slice(piece.first, piece.last + 1)
        assert np.all(np.abs(piece.offset(at[here]) - true[here]) <= piece.error(at[here]))
        assert piece.error(at[here]).mean() < 60_000
        took = at[piece.last] - at[piece.first]
        assert abs((true[piece.last] - true[piece.first]) / took - piece.drift) <= piece.drift_error + 2 / took
