"""What truncated averages leave possible: C's division undone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colotrace.crosscheck.interval import Interval

from .patchmodel import truncated

TOTALS = st.integers(-(1 << 63), (1 << 63) - 1)
NUMS = st.integers(1, 1 << 40)


@given(TOTALS, NUMS)
def test_the_sum_lies_within(total: int, num: int) -> None:
    interval = Interval.of_average(truncated(total, num), num)
    assert interval.low <= total <= interval.high and interval.distance(total) == 0
    assert abs(total - interval.middle) <= interval.error


@given(st.integers(-(1 << 50), 1 << 50), NUMS)
def test_no_wider_than_it_must_be(average: int, num: int) -> None:
    interval = Interval.of_average(average, num)
    assert truncated(interval.low, num) == truncated(interval.high, num) == average
    assert truncated(interval.high + 1, num) != average and truncated(interval.low - 1, num) != average


@given(TOTALS, TOTALS, NUMS, NUMS)
def test_differences_and_sums_keep_what_is_possible(a: int, b: int, n: int, m: int) -> None:
    first, second = Interval.of_average(truncated(a, n), n), Interval.of_average(truncated(b, m), m)
    assert (first - second).distance(a - b) == 0 and (first + second).distance(a + b) == 0
    assert first.times(1000).distance(a * 1000) == 0


@pytest.mark.parametrize(("value", "distance"), [(9, -1), (10, 0), (12, 0), (15, 3)])
def test_distance_has_a_side(value: int, distance: int) -> None:
    assert Interval(10, 12).distance(value) == distance


def test_one_number() -> None:
    assert Interval.exact(7) == Interval(7, 7) and Interval.exact(7).error == 0
    assert Interval.of_average(7, 1) == Interval.exact(7)
