"""Suspensions and clock steps, with clocks that a test sets."""

from __future__ import annotations

import pytest

from colotrace.checkpoint import Note
from colotrace.clocks import LEAST_JUMP_NS, ClockReading, ClockWatch, monotonic_shift_ns, read_clocks

SECOND = 1_000_000_000


class Clocks:
    """Three clocks that go on by 200 ms with each reading, and jump when told to."""

    def __init__(self, error_ns: int = 0) -> None:
        self.monotonic_ns, self.boottime_ns, self.realtime_ns, self.error_ns = SECOND, 3 * SECOND, 10**18, error_ns

    def __call__(self) -> ClockReading:
        self.sleep(SECOND // 5)
        return ClockReading(self.monotonic_ns, self.boottime_ns, self.realtime_ns, self.error_ns)

    def sleep(self, ns: int) -> None:
        self.monotonic_ns += ns
        self.suspend(ns)

    def suspend(self, ns: int) -> None:
        self.boottime_ns += ns
        self.realtime_ns += ns


def looks(clocks: Clocks, watch: ClockWatch) -> list[Note]:
    """Two looks: a jump is told once."""
    notes = watch.look()
    assert watch.look() == []
    return notes


def test_nothing_happens() -> None:
    clocks = Clocks()
    watch = ClockWatch(clocks)
    clocks.sleep(3600 * SECOND)
    assert looks(clocks, watch) == []


def test_a_suspension_is_no_step_of_the_clock() -> None:
    clocks = Clocks()
    watch = ClockWatch(clocks)
    before = clocks.monotonic_ns
    clocks.suspend(5 * SECOND)
    (note,) = looks(clocks, watch)
    assert note.event == "suspended" and "5.000 s" in note.message
    assert note.details["suspended_ns"] == 5 * SECOND
    assert (note.details["after_ns"], note.details["before_ns"]) == (before, before + SECOND // 5)


@pytest.mark.parametrize(("step", "word"), [(3600 * SECOND, "forward by 3600.000 s"), (-2 * SECOND, "back by 2.000 s")])
def test_a_step_of_the_clock(step: int, word: str) -> None:
    clocks = Clocks()
    watch = ClockWatch(clocks)
    clocks.realtime_ns += step
    (note,) = looks(clocks, watch)
    assert note.event == "clock-stepped" and word in note.message
    assert note.details["stepped_ns"] == step
    assert note.details["realtime_minus_monotonic_ns"] == 10**18 + step - SECOND


def test_both_at_once() -> None:
    """A laptop's lid, and a time server that corrects the clock afterwards."""
    clocks = Clocks()
    watch = ClockWatch(clocks)
    clocks.suspend(60 * SECOND)
    clocks.realtime_ns -= SECOND
    assert [note.event for note in looks(clocks, watch)] == ["suspended", "clock-stepped"]


@pytest.mark.parametrize(("error_ns", "jump_ns", "told"), [(0, 0, False), (0, 1, True), (SECOND, 1, False)])
def test_what_the_readings_leave_open_is_no_jump(error_ns: int, jump_ns: int, told: bool) -> None:
    clocks = Clocks(error_ns)
    watch = ClockWatch(clocks)
    clocks.suspend(LEAST_JUMP_NS + jump_ns)
    assert bool(watch.look()) is told


def test_this_hosts_clocks() -> None:
    watch = ClockWatch()
    assert [watch.look() for _ in range(100)] == [[]] * 100
    first, second = read_clocks(), read_clocks()
    assert first.monotonic_ns <= second.monotonic_ns and first.boottime_ns >= first.monotonic_ns


@pytest.mark.parametrize(
    ("text", "shift"),
    [
        ("monotonic           0         0\nboottime            0         0\n", 0),
        ("monotonic        1000         5\nboottime            7         0\n", 1000 * SECOND + 5),
        ("monotonic         -20  500000000\nboottime            7         0\n", -20 * SECOND + SECOND // 2),
        ("", 0),
        ("boottime 7 0\nmonotonic\n", 0),
    ],
)
def test_the_shift_of_a_time_namespace(text: str, shift: int) -> None:
    assert monotonic_shift_ns(text) == shift
