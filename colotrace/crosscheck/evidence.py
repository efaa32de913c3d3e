"""All that a run has brought together, for the rules that look for defects in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from colotrace.checkpoint import CheckpointTotals
from colotrace.crosscheck.compare import FieldCheck, Verdict
from colotrace.crosscheck.fields import FIELDS, Kind
from colotrace.crosscheck.reading import Reading
from colotrace.crosscheck.windows import Held, KernelSum, PatchSum, Window, comparable, hold
from colotrace.phases import Role


@dataclass(frozen=True)
class Reset:
    """What reset_checkpoint has done: the answer before it, the first one after it, the kernel's totals since."""

    before: Reading
    after: Reading
    kernel: CheckpointTotals


@dataclass
class Evidence:
    """What there is to explain. `left` holds the fields that differ and that no rule has explained yet; `expected` what
    a rule has found a field to count instead of what it should."""

    role: Role
    windows: Sequence[Window]
    checks: Mapping[str, FieldCheck]
    tolerances: Mapping[str, int]
    """Per checkpoint."""
    reset: Reset | None = None
    pairs: Sequence[tuple[Reading, Reading]] = ()
    """Two answers each, to questions asked one after the other while no transaction was in flight."""
    left: set[str] = field(init=False)
    expected: dict[str, KernelSum] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.left = {name for name, check in self.checks.items() if check.verdict is Verdict.DIFFERS}

    @property
    def even(self) -> list[Window]:
        """The windows whose sums can be compared."""
        return comparable(self.windows)

    @property
    def last(self) -> Reading:
        """The newest answer."""
        return self.windows[-1].after

    def unexplained(self) -> list[str]:
        """The fields in `left`, in the seed's order."""
        return [name for name in FIELDS if name in self.left]

    def take(self, *names: str) -> None:
        """These fields are explained."""
        self.left -= set(names)

    def doubtful(self) -> Iterator[str]:
        """The times that differ, and those whose agreement says nothing: disturbed, too short, or a constant 0."""
        for name, check in self.checks.items():
            unclear = check.verdict in (Verdict.DISTURBED, Verdict.TOO_SHORT) or self.is_never_filled(name)
            if FIELDS[name].is_time and (name in self.left or unclear):
                yield name

    def is_zero(self, name: str) -> bool:
        """Whether the patch has answered 0 each time."""
        return all(w.before.values.get(name) == 0 == w.after.values.get(name) for w in self.windows)

    def is_never_filled(self, name: str) -> bool:
        """Whether it is 0 each time, and the kernel has more than truncation can have taken away.

        No tolerance for probes here: whatever a clock is read around takes time.
        """
        check = self.checks[name]
        return self.is_zero(name) and check.patch is not None and (check.kernel or 0) > check.patch.error

    def hold(self, name: str, patch: PatchSum, kernel: KernelSum | None = None, tolerance: int = 0) -> Held | None:
        """A field's sums compared as if it, or what it counts, were another; `tolerance` comes on top of its own."""
        return hold(self.even, patch, kernel or FIELDS[name].kernel_total, self.tolerances.get(name, 0) + tolerance)

    def hold_once(self, name: str, factor: int, divisor: int) -> Held | None:
        """What happens once, as if it were in another unit: a tenth is tolerated, for one sample shows no pattern."""
        check = self.checks[name]
        if check.patch is None or check.kernel is None or FIELDS[name].kind is not Kind.ONCE:
            return None
        patch, kernel = check.patch.times(factor), check.kernel * divisor
        side = 0 if abs(patch.distance(kernel)) <= kernel // 10 + factor else 1
        return Held(patch, kernel, check.tolerance, side, (side,))
