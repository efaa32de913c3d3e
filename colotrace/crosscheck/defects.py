"""From fields that differ to the defects that explain them: each rule takes what it explains from what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from colotrace.checkpoint import CheckpointTotals
from colotrace.crosscheck import plausible
from colotrace.crosscheck.compare import FieldCheck, Verdict
from colotrace.crosscheck.fields import FIELDS, Kind, is_of_role
from colotrace.crosscheck.findings import Code, Finding, finding, grouped, negative
from colotrace.crosscheck.reading import Reading
from colotrace.crosscheck.windows import Held, KernelSum, PatchSum, Window, comparable, hold, taken_as
from colotrace.phases import Phase, Role

_UNITS = {1_000: "microseconds", 1_000_000: "milliseconds"}


@dataclass(frozen=True)
class Reset:
    """What reset_checkpoint has done: the answer before it, the first one after it, the kernel's totals since."""

    before: Reading
    after: Reading
    kernel: CheckpointTotals


@dataclass
class Evidence:
    """All that a run has brought together. `left` holds the fields that differ and that no rule has explained yet."""

    role: Role
    windows: Sequence[Window]
    checks: Mapping[str, FieldCheck]
    tolerances: Mapping[str, int]
    """Per checkpoint."""
    reset: Reset | None = None
    pairs: Sequence[tuple[Reading, Reading]] = ()
    """Two answers each, to questions asked one after the other while no transaction was in flight."""
    left: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.left = {name for name, check in self.checks.items() if check.verdict is Verdict.DIFFERS}

    @property
    def even(self) -> list[Window]:
        """The windows whose sums can be compared."""
        return comparable(self.windows)

    def is_zero(self, name: str) -> bool:
        """Whether the patch has answered 0 each time."""
        return all(w.before.values.get(name) == 0 == w.after.values.get(name) for w in self.even)

    def hold(self, name: str, patch: PatchSum, kernel: KernelSum | None = None, tolerance: int = 0) -> Held | None:
        """A field's sums compared as if it, or what it counts, were another; `tolerance` comes on top of its own."""
        return hold(self.even, patch, kernel or FIELDS[name].kernel_total, self.tolerances.get(name, 0) + tolerance)


def explain(evidence: Evidence) -> list[Finding]:
    """The findings of a run; none if all agree."""
    found = [one for rule in _RULES for one in rule(evidence)]
    if evidence.windows and not found:
        last = evidence.windows[-1].after
        found += [*plausible.check_parts(last)]  # what was added since agrees: this is older
    return found


def _shape(evidence: Evidence) -> Iterator[Finding]:
    if evidence.windows:
        yield from plausible.check_shape(evidence.windows[-1].after, evidence.role)
        yield from plausible.check_average(evidence.windows[-1].after)


def _torn(evidence: Evidence) -> Iterator[Finding]:
    for pair in evidence.pairs:
        torn = [*plausible.check_torn(pair)]
        yield from torn
        if torn:
            return


def _counts(evidence: Evidence) -> Iterator[Finding]:
    """Checkpoints that only the patch has counted: failed ones, if the kernel saw as many fail."""
    uneven = [window for window in evidence.windows if window.num is not None and not window.is_even]
    if "tot_num" not in evidence.left or not uneven:
        return
    evidence.left.discard("tot_num")
    extra = sum((window.num or 0) - window.kernel.checkpoints for window in uneven)
    aborted = sum(window.kernel.aborted for window in uneven)
    incomplete = sum(window.kernel.incomplete for window in uneven)
    told = f"tot_num grew by {extra} more than the kernel's count of completed checkpoints"
    if 0 < extra <= aborted and not incomplete:
        yield finding(
            Code.FAILED_COUNTED,
            ("tot_num",),
            "a checkpoint that failed is counted as if it had succeeded",
            f"{told}, which saw {aborted} aborted",
            extra=extra,
            aborted=aborted,
        )
    elif extra != incomplete + aborted:
        yield finding(
            Code.COUNT_DIFFERS,
            ("tot_num",),
            "tot_num counts other checkpoints than the kernel",
            f"{told}, which saw {aborted} aborted and {incomplete} in part",
            extra=extra,
            aborted=aborted,
            incomplete=incomplete,
        )


def _negative(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.windows:
        return
    for name, value in evidence.windows[-1].after.values.items():
        if value >= 0:
            continue
        evidence.left.discard(name)
        check = evidence.checks[name]
        if check.patch and check.kernel is not None:
            over = f"in {check.checkpoints} checkpoints" if FIELDS[name].kind is not Kind.ONCE else "once"
            arithmetic = (
                f"the patch adds {grouped(check.patch.middle)} {over}, the kernel "
                f"{grouped(check.kernel)}: without the sign they differ by "
                f"{grouped(-check.patch.middle - check.kernel)} (bound {grouped(check.bound or 0)})"
            )
        else:
            arithmetic = f"{name} = {grouped(value)}; end minus begin is never below 0"
        yield negative(name, FIELDS[name].stem, value, arithmetic)


def _mixed(evidence: Evidence) -> Iterator[Finding]:
    """Sums where averages are promised, and the average where the sum is; at least one must show it beyond chance."""
    found, sharp = [], False
    for name in _in_order(evidence.left):
        check, kind = evidence.checks[name], FIELDS[name].kind
        if kind in (Kind.MEAN, Kind.SUM):
            taken = Kind.SUM if kind is Kind.MEAN else Kind.MEAN
            held = evidence.hold(name, taken_as(name, taken))
            if held and held.agrees:
                found.append((name, held.patch.middle))
                sharp |= held.is_sharp
    if sharp:
        evidence.left -= {name for name, _ in found}
        name, value = found[0]
        check = evidence.checks[name]
        yield finding(
            Code.MIXED,
            tuple(name for name, _ in found),
            "sums are reported where averages are promised, or the other way round",
            f"{name} taken as what it is not promised to be grew by {grouped(value)}, the kernel's sum by "
            f"{grouped(check.kernel or 0)} (bound {grouped(check.tolerance)})",
        )


def _units(evidence: Evidence) -> Iterator[Finding]:
    """A factor that makes all that differ agree; what is too coarse to show it only has to fit."""
    times = [name for name in _in_order(evidence.left) if FIELDS[name].is_time]
    for factor, unit in _UNITS.items():
        fits, sure = [], []
        for name in times:
            held = evidence.hold(name, taken_as(name, factor=factor))
            if held and held.agrees:
                fits.append(name)
                sure += [name] if held.is_sharp else []
        if not sure:
            continue
        evidence.left -= set(fits)
        check = evidence.checks[sure[0]]
        assert check.patch and check.kernel is not None
        yield finding(
            Code.WRONG_UNIT,
            tuple(fits),
            f"{', '.join(fits)}: in {unit} instead of nanoseconds",
            f"{sure[0]} grew by {grouped(check.patch.middle)}; times {grouped(factor)} that is "
            f"{grouped(check.patch.middle * factor)}, the kernel's {grouped(check.kernel)}",
            factor=factor,
        )
        return


def _moved(evidence: Evidence) -> Iterator[Finding]:
    """A phase that stays 0 while another grows by just as much."""
    for source in _in_order(evidence.left):
        if not evidence.is_zero(source) or FIELDS[source].phase is None:
            continue
        for target in _in_order(evidence.left - {source}):
            check, lost = evidence.checks[target], evidence.checks[source].kernel
            both = _sum_of(source, target)
            held = evidence.hold(target, taken_as(target), both, evidence.tolerances[source])
            if FIELDS[target].phase is None or held is None or not held.agrees or not check.kernel or not lost:
                continue
            evidence.left -= {source, target}
            is_known = (FIELDS[source].phase, FIELDS[target].phase) == (Phase.RECV, Phase.PUT)
            yield finding(
                Code.RECV_IN_PUT if is_known else Code.PHASE_IN_ANOTHER,
                (source, target),
                f"the time of {source} is added to {target}",
                f"{source} stays 0; {target} grew by {grouped(held.patch.middle)}, the kernel's "
                f"{_stem(target)} + {_stem(source)} is {grouped(check.kernel)} + {grouped(lost)} = "
                f"{grouped(held.kernel)}",
                patch=held.patch.middle,
                kernel=held.kernel,
            )
            break


def _sum_of(*names: str) -> KernelSum:
    """The kernel's sum of several fields."""

    def both(totals: CheckpointTotals) -> int | None:
        sums = [FIELDS[name].kernel_total(totals) for name in names]
        return sum(one or 0 for one in sums) if None not in sums else None

    return both


def _zeros(evidence: Evidence) -> Iterator[Finding]:
    for name in _in_order(evidence.left):
        if evidence.is_zero(name):
            evidence.left.discard(name)
            check = evidence.checks[name]
            arithmetic = (
                f"0 in each answer; the kernel has {grouped(check.kernel or 0)} in {check.checkpoints} checkpoints"
            )
            yield finding(Code.ALWAYS_ZERO, (name,), f"{name} is always 0", arithmetic)
    for one in plausible.check_zeros(evidence.windows[-1].after, evidence.role) if evidence.even else ():
        name = one.fields[0]  # the kernel could not see it, and yet 0 cannot be right; init_time may have been reset
        if evidence.checks[name].kernel is None and FIELDS[name].kind is not Kind.ONCE and evidence.is_zero(name):
            yield one


def _stale(evidence: Evidence) -> Iterator[Finding]:
    """After a reset each sum must be what the kernel has seen since; a stale one still has what it had before."""
    reset = evidence.reset
    if reset is None:
        return
    stale = []
    for name, one in FIELDS.items():
        was, now, fresh = reset.before.total(name), reset.after.total(name), one.kernel_total(reset.kernel)
        if was is None or now is None or fresh is None or one.kind is Kind.ONCE or not is_of_role(one, evidence.role):
            continue
        too_much = now.middle - fresh
        if abs(too_much - was.middle) * 2 < abs(was.middle):  # nearer to what was there than to nothing
            stale.append(name)
    if stale:
        name = stale[0]
        was, now = reset.before.total(name), reset.after.total(name)
        assert was and now
        num = reset.after.num or 0
        yield finding(
            Code.STALE_AFTER_RESET,
            tuple(stale),
            f"reset_checkpoint does not clear {', '.join(stale)}",
            f"before it {name} summed to {grouped(was.middle)}; after it and {num} more checkpoints to "
            f"{grouped(now.middle)}, and the kernel has seen {grouped(FIELDS[name].kernel_total(reset.kernel) or 0)}",
            before=was.middle,
            after=now.middle,
        )


def _unexplained(evidence: Evidence) -> Iterator[Finding]:
    for name in _in_order(evidence.left):
        check = evidence.checks[name]
        yield finding(
            Code.UNEXPLAINED,
            (name,),
            f"{name} differs, and no known defect explains it",
            f"the patch has {grouped(check.patch.middle if check.patch else 0)}, the kernel "
            f"{grouped(check.kernel or 0)}, the difference {grouped(check.difference or 0)} is more than "
            f"{grouped(check.bound or 0)}",
        )
    evidence.left.clear()


def _in_order(names: set[str]) -> list[str]:
    return [name for name in FIELDS if name in names]


def _stem(name: str) -> str:
    return name.removesuffix("_time")


_RULES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _shape, _torn, _counts, _negative, _stale, _moved, _mixed, _units, _zeros, _unexplained,
)  # fmt: skip
"""In this order: the surest first, and what nothing explains last."""
