"""Stretches of a run, and how the sums of both sides compare over them.

A defect of the patch is there in every stretch; a thread kept off its processor between two clock readings spoils one.
So sums differ only if they do so over the whole run and, to the same side, in most of its windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from colotrace.checkpoint import CheckpointTotals
from colotrace.crosscheck.fields import Kind
from colotrace.crosscheck.interval import Interval
from colotrace.crosscheck.reading import Reading

PatchSum = Callable[[Reading], Interval | None]
"""The sum behind an answer, of one field taken in one way."""
KernelSum = Callable[[CheckpointTotals], int | None]
"""The kernel's sum of the same thing."""

_SHARP = 10
"""How many times larger than what is tolerated is large."""


@dataclass(frozen=True)
class Window:
    """Two readings of the patch, and what the kernel counted between them."""

    before: Reading
    after: Reading
    kernel: CheckpointTotals

    @property
    def num(self) -> int | None:
        """How many checkpoints the patch has counted; None if it does not say."""
        before, after = self.before.values.get("tot_num"), self.after.values.get("tot_num")
        return after - before if before is not None and after is not None else None

    @property
    def is_even(self) -> bool:
        """Whether both have counted the same checkpoints, so that their sums can be compared."""
        return self.num == self.kernel.checkpoints


@dataclass(frozen=True)
class Held:
    """Two sums held against each other. `side` is 1 if the patch has more than the tolerance allows, -1 if less, 0 if
    they agree; `sides` the same for each window."""

    patch: Interval
    kernel: int
    tolerance: int
    side: int
    sides: tuple[int, ...]

    @property
    def is_sharp(self) -> bool:
        """Whether the kernel's sum is large beside what is tolerated, so that agreement cannot be chance."""
        return (self.patch.error + self.tolerance) * _SHARP < self.kernel

    @property
    def differs(self) -> bool:
        """Whether they do so over the whole and, to the same side, in most windows."""
        return self.side != 0 and 2 * self.sides.count(self.side) > len(self.sides)

    @property
    def agrees(self) -> bool:
        """Whether they do so over the whole, or but for a disturbance in a minority of the windows."""
        return self.side == 0 or 2 * self.sides.count(0) > len(self.sides)


def comparable(windows: Iterable[Window]) -> list[Window]:
    """Those that are even and not empty."""
    return [window for window in windows if window.is_even and window.kernel.checkpoints]


def taken_as(name: str, kind: Kind | None = None, factor: int = 1) -> PatchSum:
    """The sum behind a field; or what it would be, were the field of another kind, or in a unit so much larger."""

    def total(reading: Reading) -> Interval | None:
        found = reading.total(name, kind)
        return found.times(factor) if found else None

    return total


def hold(windows: Sequence[Window], patch: PatchSum, kernel: KernelSum, tolerance: int) -> Held | None:
    """Compares over windows that are even; `tolerance` is per checkpoint. None if one side has no figure."""
    patched, counted = patch_over(windows, patch), kernel_over(windows, kernel)
    if patched is None or counted is None:
        return None
    checkpoints = sum(window.kernel.checkpoints for window in windows)
    sides = []
    for window in windows:
        one, other = patch_over([window], patch), kernel(window.kernel)
        assert one and other is not None, "the whole is known, and so is each part"
        sides.append(_side(one, other, tolerance * window.kernel.checkpoints))
    whole = tolerance * checkpoints
    return Held(patched, counted, whole, _side(patched, counted, whole), tuple(sides))


def patch_over(windows: Sequence[Window], patch: PatchSum) -> Interval | None:
    """What the patch has added in some windows; None if an answer does not say."""
    readings = [reading for window in windows for reading in (window.before, window.after)]
    if any(patch(reading) is None for reading in readings):
        return None
    total = Interval.exact(0)
    for first, last in _runs(windows):
        before, after = patch(first.before), patch(last.after)
        assert before and after
        total += after - before
    return total


def kernel_over(windows: Iterable[Window], kernel: KernelSum) -> int | None:
    """What the kernel has counted in some windows; None if it has not seen it in each checkpoint."""
    sums = [kernel(window.kernel) for window in windows]
    known = [one for one in sums if one is not None]
    return sum(known) if len(known) == len(sums) else None


def _runs(windows: Sequence[Window]) -> list[tuple[Window, Window]]:
    """The first and last window of each stretch in which one begins with the reading that the one before ended with:
    they share that reading's error."""
    runs: list[tuple[Window, Window]] = []
    for window in windows:
        if runs and runs[-1][1].after is window.before:
            runs[-1] = (runs[-1][0], window)
        else:
            runs.append((window, window))
    return runs


def _side(patch: Interval, kernel: int, tolerance: int) -> int:
    away = -patch.distance(kernel)
    return 0 if abs(away) <= tolerance else 1 if away > 0 else -1
