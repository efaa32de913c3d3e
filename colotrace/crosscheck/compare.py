"""The patch's figures against the kernel's: a verdict for each field, over the same checkpoints."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colotrace.crosscheck.fields import FIELDS, Field, Kind, is_of_role
from colotrace.crosscheck.interval import Interval
from colotrace.crosscheck.reading import Reading
from colotrace.crosscheck.windows import Window, comparable, hold, kernel_over, patch_over, taken_as
from colotrace.phases import Role


class Verdict(enum.Enum):
    """What the comparison of a field says."""

    AGREES = "agrees"
    """The difference is within the bound."""
    DISTURBED = "disturbed"
    """It is not, but most windows agree: something came between two clock readings once."""
    DIFFERS = "differs"
    """It is not, and most windows say so."""
    TOO_SHORT = "too short"
    """The difference is within the bound, but so would be an answer of 0: nothing can be told."""
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
    even = comparable(windows)
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
    held = hold(even, taken_as(field.name), field.kernel_total, tolerance)
    if held is None:
        patch, kernel = patch_over(even, taken_as(field.name)), kernel_over(even, field.kernel_total)
        reason = "the answer has no such number" if patch is None else "the kernel has not seen it in each checkpoint"
        return FieldCheck(field, Verdict.NOT_COMPARED, checkpoints, patch, kernel, reason=reason)
    verdict = Verdict.DIFFERS if held.differs else Verdict.DISTURBED if held.side else Verdict.AGREES
    if verdict is Verdict.AGREES and 0 < held.kernel <= held.tolerance + held.patch.error:
        verdict = Verdict.TOO_SHORT
    return FieldCheck(field, verdict, checkpoints, held.patch, held.kernel, held.tolerance)
