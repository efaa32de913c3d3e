"""The patch's figures against the kernel's, field by field, over the same checkpoints.

A run gives several windows: two readings each, with the kernel's totals of the checkpoints between. A defect of the
patch is there in every window; a thread kept off its processor between two clock readings spoils one. So a field
differs only if it does so over the whole run and, to the same side, in most of its windows.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from colotrace.checkpoint import CheckpointTotals
from colotrace.crosscheck.fields import FIELDS, Field, Kind, is_of_role
from colotrace.crosscheck.interval import Interval
from colotrace.crosscheck.reading import Reading
from colotrace.phases import Role


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
        return self.num == self.kernel.checkpoints > 0

    def patch_total(self, name: str) -> Interval | None:
        """What the patch has added to a field's sum."""
        before, after = self.before.total(name), self.after.total(name)
        return after - before if before and after else None


class Verdict(enum.Enum):
    """What the comparison of a field says."""

    AGREES = "agrees"
    """The difference is within the bound."""
    DISTURBED = "disturbed"
    """It is not, but most windows agree: something came between two clock readings once."""
    DIFFERS = "differs"
    """It is not, and most windows say so."""
    NOT_COMPARED = "not compared"
    """One side does not know the figure; `reason` says why."""


@dataclass(frozen=True)
class FieldCheck:
    """One field's verdict. Sums over `checkpoints`, in nanoseconds or bytes; None where a side has no figure.

    `patch` is what the patch's truncated averages leave possible; `tolerance` what probes and clocks explain, over all
    checkpoints; `bound` the two together.
    """

    field: Field
    verdict: Verdict
    checkpoints: int
    patch: Interval | None = None
    kernel: int | None = None
    tolerance: int = 0
    reason: str | None = None

    @property
    def difference(self) -> int | None:
        """Patch less kernel, from the middle of what is possible."""
        return None if self.patch is None or self.kernel is None else self.patch.middle - self.kernel

    @property
    def bound(self) -> int | None:
        """The largest difference that is none."""
        return None if self.patch is None else self.patch.error + self.tolerance

    @property
    def percent(self) -> float | None:
        """The difference in per cent of the kernel's figure."""
        return None if self.difference is None or not self.kernel else 100 * self.difference / self.kernel

    def as_json(self) -> dict[str, object]:
        """An object of JSON types; `patch`, `kernel`, `difference` and `bound` are sums over `checkpoints`."""
        return {
            "field": self.field.name,
            "unit": self.field.unit,
            "verdict": self.verdict.value,
            "checkpoints": self.checkpoints,
            "patch": self.patch.middle if self.patch else None,
            "kernel": self.kernel,
            "difference": self.difference,
            "percent": self.percent,
            "bound": self.bound,
            "reason": self.reason,
        }


def compare(windows: Sequence[Window], role: Role, tolerances: Mapping[str, int]) -> dict[str, FieldCheck]:
    """A verdict for each field; `tolerances` are per checkpoint, and only even windows count."""
    even = [window for window in windows if window.is_even]
    checks = {}
    for field in FIELDS.values():
        if field.kind is Kind.COUNT:
            checks[field.name] = _compare_counts(field, windows)
        elif field.kind is Kind.ONCE:
            checks[field.name] = FieldCheck(
                field, Verdict.NOT_COMPARED, 0, reason="it was over before the probes were armed"
            )
        elif not is_of_role(field, role):
            checks[field.name] = FieldCheck(field, Verdict.NOT_COMPARED, 0, reason=f"the {role.value} has none")
        else:
            checks[field.name] = _compare_sums(field, even, tolerances[field.name])
    return checks


def compare_once(field: Field, reading: Reading, kernel: int, tolerance: int) -> FieldCheck:
    """The verdict on something that happens once, and that the kernel has seen.

    One pair of clock readings shows no pattern, so that a disturbance cannot be told from a defect: it only differs if
    it is off by more than half.
    """
    value = reading.values.get(field.name)
    if value is None:
        return FieldCheck(field, Verdict.NOT_COMPARED, 1, kernel=kernel, reason="the answer has no such number")
    away = abs(value - kernel)
    verdict = Verdict.AGREES if away <= tolerance else Verdict.DISTURBED if 2 * away <= kernel else Verdict.DIFFERS
    return FieldCheck(field, verdict, 1, Interval.exact(value), kernel, tolerance)


def _compare_counts(field: Field, windows: Sequence[Window]) -> FieldCheck:
    kernel = sum(window.kernel.checkpoints for window in windows)
    if not windows or any(window.num is None for window in windows):
        return FieldCheck(field, Verdict.NOT_COMPARED, kernel, kernel=kernel, reason="the answer has no such number")
    patch = sum(window.num or 0 for window in windows)
    verdict = Verdict.AGREES if all(window.is_even for window in windows) else Verdict.DIFFERS
    return FieldCheck(field, verdict, kernel, Interval.exact(patch), kernel)


def _compare_sums(field: Field, even: Sequence[Window], tolerance: int) -> FieldCheck:
    checkpoints = sum(window.kernel.checkpoints for window in even)
    if not even:
        return FieldCheck(field, Verdict.NOT_COMPARED, 0, reason="no stretch in which both count the same checkpoints")
    kernel = _sum(field.kernel_total(window.kernel) for window in even)
    patch = total_over(even, field.name)
    if patch is None:
        reason = "the answer has no such number"
        return FieldCheck(field, Verdict.NOT_COMPARED, checkpoints, kernel=kernel, reason=reason)
    if kernel is None:
        reason = "the kernel has not seen it in each checkpoint"
        return FieldCheck(field, Verdict.NOT_COMPARED, checkpoints, patch, reason=reason)
    side = _side(patch, kernel, tolerance * checkpoints)
    verdict = Verdict.AGREES
    if side:
        sides = [_window_side(field, window, tolerance) for window in even]
        verdict = Verdict.DIFFERS if 2 * sides.count(side) > len(sides) else Verdict.DISTURBED
    return FieldCheck(field, verdict, checkpoints, patch, kernel, tolerance * checkpoints)


def total_over(windows: Sequence[Window], name: str, kind: Kind | None = None) -> Interval | None:
    """What the patch has added to a field's sum in some windows; neighbours share a reading and its error.

    `kind` takes the field for one of another kind than it should be.
    """
    total = Interval.exact(0)
    for first, last in _runs(windows):
        before, after = first.before.total(name, kind), last.after.total(name, kind)
        if before is None or after is None:
            return None
        total += after - before
    return total


def _runs(windows: Sequence[Window]) -> list[tuple[Window, Window]]:
    """The first and last window of each stretch in which one begins with the reading that the one before ended with."""
    runs: list[tuple[Window, Window]] = []
    for window in windows:
        if runs and runs[-1][1].after is window.before:
            runs[-1] = (runs[-1][0], window)
        else:
            runs.append((window, window))
    return runs


def _window_side(field: Field, window: Window, tolerance: int) -> int:
    patch, kernel = window.patch_total(field.name), field.kernel_total(window.kernel)
    return 0 if patch is None or kernel is None else _side(patch, kernel, tolerance * window.kernel.checkpoints)


def _side(patch: Interval, kernel: int, tolerance: int) -> int:
    """1 if the patch has more than the bound allows, -1 if less, 0 if they agree."""
    away = -patch.distance(kernel)
    return 0 if abs(away) <= tolerance else 1 if away > 0 else -1


def _sum(values: Iterable[int | None]) -> int | None:
    given = list(values)
    known = [value for value in given if value is not None]
    return sum(known) if len(known) == len(given) else None
