"""Whole numbers known to lie between two bounds: what is left of a sum once it has been divided and truncated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """All whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    @classmethod
    def exact(cls, value: int) -> Interval:
        """One number."""
        return cls(value, value)

    @classmethod
    def of_average(cls, average: int, num: int) -> Interval:
        """The sums over `num` > 0 that C's division, which truncates towards zero, turns into `average`."""
        spread = num - 1
        return cls(
            average * num - (spread if average <= 0 else 0),
            average * num + (spread if average >= 0 else 0),
        )

    @property
    def middle(self) -> int:
        """The number in the middle, rounded down."""
        return (self.low + self.high) // 2

    @property
    def error(self) -> int:
        """How far a number of the interval can be from the middle."""
        return self.high - self.middle

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def times(self, factor: int) -> Interval:
        """Each number times a positive factor: the error grows with it."""
        return Interval(self.low * factor, self.high * factor)

    def distance(self, value: int) -> int:
        """How far `value` lies above (positive) or below (negative) the interval; 0 within."""
        return value - self.high if value > self.high else value - self.low if value < self.low else 0
