"""From fields that differ to the defects that explain them: each rule takes what it explains from what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from colotrace.checkpoint import CheckpointTotals
from colotrace.crosscheck import plausible
from colotrace.crosscheck.compare import Verdict
from colotrace.crosscheck.evidence import Evidence
from colotrace.crosscheck.fields import FIELDS, PARTS, Kind, is_of_role
from colotrace.crosscheck.findings import Code, Finding, finding, grouped, negative
from colotrace.crosscheck.windows import Held, KernelSum, taken_as
from colotrace.phases import Phase

_UNITS = {(1_000, 1): "microseconds", (1_000_000, 1): "milliseconds", (1, 1_000): "picoseconds"}
"""What the patch's figure, and the kernel's, are to be multiplied by to agree."""


def explain(evidence: Evidence) -> list[Finding]:
    """The findings of a run; none if all agree."""
    found = [one for rule in _RULES for one in rule(evidence)]
    if evidence.windows and not found:
        found += plausible.check_parts(evidence.last)  # what was added since agrees: this is older
    return found


def _shape(evidence: Evidence) -> Iterator[Finding]:
    if evidence.windows:
        yield from plausible.check_shape(evidence.last, evidence.role)
        yield from plausible.check_average(evidence.last)


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
    evidence.take("tot_num")
    extras = [(window.num or 0) - window.kernel.checkpoints for window in uneven]
    others = [window.kernel.aborted + window.kernel.incomplete for window in uneven]
    aborted = sum(window.kernel.aborted for window in uneven)
    incomplete = sum(window.kernel.incomplete for window in uneven)
    numbers = {"extra": sum(extras), "aborted": aborted, "incomplete": incomplete}
    told = f"tot_num grew by {sum(extras)} more than the kernel's count of completed checkpoints"
    if any(extra < 0 or extra > most for extra, most in zip(extras, others, strict=True)):
        yield finding(
            Code.COUNT_DIFFERS,
            ("tot_num",),
            "tot_num counts other checkpoints than the kernel, or counts them at another moment",
            f"{told}, which saw {aborted} aborted and {incomplete} in part; by stretches: {extras}",
            **numbers,
        )
    elif not incomplete:  # with a checkpoint seen in part nothing can be said
        yield finding(
            Code.FAILED_COUNTED,
            ("tot_num",),
            "a checkpoint that failed is counted as if it had succeeded",
            f"{told}, which saw {aborted} aborted",
            **numbers,
        )


def _negative(evidence: Evidence) -> Iterator[Finding]:
    for name, value in evidence.last.values.items() if evidence.windows else ():
        if value >= 0:
            continue
        evidence.take(name)
        check, arithmetic = evidence.checks[name], f"{name} = {grouped(value)}; end minus begin is never below 0"
        is_mirrored = True
        if check.patch and check.kernel is not None:
            over = f"in {check.checkpoints} checkpoints" if FIELDS[name].kind is not Kind.ONCE else "once"
            away = -check.patch.middle - check.kernel
            is_mirrored = abs(away) <= max(check.bound or 0, check.kernel // 2)
            arithmetic = (
                f"the patch adds {grouped(check.patch.middle)} {over}, the kernel {grouped(check.kernel)}: without the "
                f"sign they differ by {grouped(away)} (bound {grouped(check.bound or 0)})"
            )
        if is_mirrored:
            evidence.expected[name] = _minus(name)
        yield negative(name, FIELDS[name].stem, value, arithmetic, is_mirrored=is_mirrored)


def _moved(evidence: Evidence) -> Iterator[Finding]:
    """A phase whose time another has as well; the first may stay 0, or be right and counted twice."""
    phases = [field.name for field in PARTS if is_of_role(field, evidence.role)]
    sources = sorted(phases, key=lambda name: not evidence.is_never_filled(name))
    for target in [name for name in evidence.unexplained() if name in phases]:
        for source in sources:
            held = _held_together(evidence, target, source)
            if held is None:
                continue
            evidence.take(source, target)
            stays_zero = evidence.is_never_filled(source)
            evidence.expected[target] = _sum_of(target, source)
            if stays_zero:
                evidence.expected[source] = lambda _totals: 0
            is_known = (FIELDS[source].phase, FIELDS[target].phase) == (Phase.RECV, Phase.PUT)
            mine, theirs = evidence.checks[target].kernel or 0, evidence.checks[source].kernel or 0
            yield finding(
                Code.RECV_IN_PUT if is_known else Code.PHASE_IN_ANOTHER,
                (source, target),
                f"the time of {source} is added to {target}{'' if stays_zero else ' as well'}",
                f"{source} {'stays 0' if stays_zero else 'agrees'}; {target} grew by {grouped(held.patch.middle)}, the "
                f"kernel's {_stem(target)} + {_stem(source)} is {grouped(mine)} + {grouped(theirs)} = "
                f"{grouped(held.kernel)}",
                patch=held.patch.middle,
                kernel=held.kernel,
            )
            break


def _held_together(evidence: Evidence, target: str, source: str) -> Held | None:
    """The target against the sum of both, if they agree and the source is zero or right."""
    if source == target or not evidence.checks[source].kernel:
        return None
    right = evidence.checks[source].verdict in (Verdict.AGREES, Verdict.DISTURBED)
    if not right and not evidence.is_never_filled(source):
        return None
    held = evidence.hold(target, taken_as(target), _sum_of(target, source), evidence.tolerances[source])
    return held if held and held.agrees else None


def _mixed(evidence: Evidence) -> Iterator[Finding]:
    """Sums where averages are promised, and the average where the sum is; at least one must show it beyond chance."""
    found, sharp = [], False
    for name in evidence.unexplained():
        kind = FIELDS[name].kind
        if kind in (Kind.MEAN, Kind.SUM):
            held = evidence.hold(name, taken_as(name, Kind.SUM if kind is Kind.MEAN else Kind.MEAN))
            if held and held.agrees:
                found.append((name, held.patch.middle))
                sharp |= held.is_sharp
    if sharp:
        evidence.take(*(name for name, _ in found))
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
    for (factor, divisor), unit in _UNITS.items():
        fits: list[str] = []
        sharp: list[str] = []
        for name in evidence.doubtful():
            held = evidence.hold_once(name, factor, divisor) or evidence.hold(
                name, taken_as(name, factor=factor), _times(name, divisor), evidence.tolerances.get(name, 0) * divisor
            )
            if held and held.agrees:
                fits.append(name)
                sharp += [name] if held.is_sharp and name in evidence.left else []
        if not sharp:
            continue
        evidence.take(*fits)
        evidence.expected.update(dict.fromkeys(fits, lambda _totals: None))
        check = evidence.checks[sharp[0]]
        assert check.patch and check.kernel is not None
        yield finding(
            Code.WRONG_UNIT,
            tuple(fits),
            f"{', '.join(fits)}: in {unit} instead of nanoseconds",
            f"{sharp[0]} grew by {grouped(check.patch.middle)}; times {grouped(factor)} that is "
            f"{grouped(check.patch.middle * factor)}, the kernel's {grouped(check.kernel)} times {grouped(divisor)} is "
            f"{grouped(check.kernel * divisor)}",
            factor=factor,
            divisor=divisor,
        )
        return


def _zeros(evidence: Evidence) -> Iterator[Finding]:
    for name in [name for name in evidence.checks if evidence.is_never_filled(name) and name not in evidence.expected]:
        evidence.take(name)
        check = evidence.checks[name]
        num = f"in {check.checkpoints} checkpoints" if FIELDS[name].kind is not Kind.ONCE else "once"
        arithmetic = f"0 in each answer; the kernel has {grouped(check.kernel or 0)} {num}"
        yield finding(Code.ALWAYS_ZERO, (name,), f"{name} is always 0", arithmetic)
    for one in plausible.check_zeros(evidence.last, evidence.role) if evidence.even else ():
        name = one.fields[0]  # the kernel could not see it, and yet 0 cannot be right
        if evidence.checks[name].kernel is None and evidence.is_zero(name):
            yield one


def _stale(evidence: Evidence) -> Iterator[Finding]:
    """After a reset each sum must be what the kernel has seen since; a stale one still has what it had before."""
    reset = evidence.reset
    if reset is None:
        return
    stale = []
    for name, one in FIELDS.items():
        fresh = evidence.expected.get(name, one.kernel_total)(reset.kernel)
        was, now = reset.before.total(name), reset.after.total(name)
        if was is None or now is None or fresh is None or one.kind is Kind.ONCE or not is_of_role(one, evidence.role):
            continue
        if 2 * abs(now.middle - fresh - was.middle) < abs(was.middle):  # nearer to what was there than to nothing
            stale.append((name, was.middle, now.middle, fresh))
    if stale:
        name, before, after, fresh = stale[0]
        yield finding(
            Code.STALE_AFTER_RESET,
            tuple(name for name, *_ in stale),
            f"reset_checkpoint does not clear {', '.join(name for name, *_ in stale)}",
            f"before it {name} summed to {grouped(before)}; after it and {reset.after.num} more checkpoints to "
            f"{grouped(after)}, of which {grouped(fresh)} came since",
            before=before,
            after=after,
        )


def _unexplained(evidence: Evidence) -> Iterator[Finding]:
    for name in evidence.unexplained():
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


def _sum_of(*names: str) -> KernelSum:
    """The kernel's sum of several fields."""

    def both(totals: CheckpointTotals) -> int | None:
        sums = [FIELDS[name].kernel_total(totals) for name in names]
        return sum(one or 0 for one in sums) if None not in sums else None

    return both


def _times(name: str, factor: int) -> KernelSum:
    """The kernel's sum, so many times."""

    def scaled(totals: CheckpointTotals) -> int | None:
        total = FIELDS[name].kernel_total(totals)
        return None if total is None else total * factor

    return scaled


def _minus(name: str) -> KernelSum:
    return _times(name, -1)


def _stem(name: str) -> str:
    return name.removesuffix("_time")


_RULES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _shape, _torn, _counts, _negative, _moved, _mixed, _units, _zeros, _stale, _unexplained,
)  # fmt: skip
"""In this order: the surest first, and what nothing explains last."""
