"""Verdicts and findings as text: the table of `check`, and findings as `check` and `audit` print them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from colotrace.checkpoint import ProbeCost
from colotrace.crosscheck.audit import Audit
from colotrace.crosscheck.compare import FieldCheck, Verdict
from colotrace.crosscheck.findings import Finding
from colotrace.text import printable
from colotrace.units import time_text

_STYLES = {
    Verdict.DIFFERS: "bold red",
    Verdict.DISTURBED: "yellow",
    Verdict.TOO_SHORT: "dim",
    Verdict.NOT_COMPARED: "dim",
}


def check_table(checks: Sequence[FieldCheck]) -> Table:
    """A row a field: means per checkpoint of both sides, their difference, what is allowed, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("field", no_wrap=True)
    for name in ("patch", "kernel", "difference", "", "bound"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for check in checks:
        difference = _mean(check, check.difference)
        table.add_row(
            check.field.name,
            _mean(check, check.patch.middle if check.patch else None),
            _mean(check, check.kernel),
            f"+{difference}" if (check.difference or 0) > 0 else difference,
            _percent(check.percent),
            _mean(check, check.bound),
            check.verdict.value,
            style=_STYLES.get(check.verdict, ""),
        )
    return table


def _percent(percent: float | None) -> str:
    return "" if percent is None else f"{percent:+.2f} %" if abs(percent) < 10 else f"{percent:+,.0f} %"


def _mean(check: FieldCheck, total: int | None) -> str:
    """A sum as a mean per checkpoint; a count as it is."""
    if total is None:
        return "-"
    if not check.field.unit:
        return f"{total:,}"
    mean = total / max(1, check.checkpoints)
    return time_text(mean) if check.field.is_time else f"{mean:,.0f} B"


def findings_view(findings: Iterable[Finding], indent: str = "") -> list[Text]:
    """Each finding: its code and sentence, the arithmetic, the fix."""
    parts = []
    for one in findings:
        parts.append(Text.assemble(indent, (one.code, "bold red"), f": {printable(one.message)}"))
        parts.append(Text(f"{indent}  {printable(one.arithmetic)}\n{indent}  fix: {printable(one.fix)}"))
    return parts


def reasons(checks: Sequence[FieldCheck]) -> list[str]:
    """Why some fields are not compared: a line for each reason."""
    why: dict[str, list[str]] = {}
    for check in checks:
        if check.reason:
            why.setdefault(check.reason, []).append(check.field.name)
    return [f"{', '.join(names)} not compared: {reason}" for reason, names in why.items()]


def cost_line(cost: ProbeCost) -> str:
    """What the tolerance was derived from."""
    return (
        f"a probe's hit costs {cost.emulated.warm_ns:,} ns warm and {cost.emulated.cold_ns:,} ns cold (p90), a "
        f"single-stepped one {cost.stepped.warm_ns:,} and {cost.stepped.cold_ns:,} ns; a clock reading "
        f"{cost.clock_ns:,} ns"
    )


def audit_view(audit: Audit) -> RenderableType:
    """Each answer with its findings, then what holds over all of them."""
    parts: list[RenderableType] = []
    for one in audit.judged:
        reading, about = one.capture.reading, one.capture.about or {}
        words = [f"{key} {value}" for key, value in about.items()]
        known = f", {one.capture.vcpus} vCPUs" if one.capture.vcpus and "vcpus" not in about else ""
        heading = (
            f"{one.capture.label}: {one.role.value}, {reading.values.get('tot_num', 'unknown')} checkpoints{known}"
        )
        parts.append(Text(printable(", ".join([heading, *words])), style="bold"))
        if one.capture.garbage:
            parts.append(Text(f"  ignored, no JSON: {printable('; '.join(one.capture.garbage))}", style="yellow"))
        if one.capture.reading.unknown:
            names = ", ".join(one.capture.reading.unknown)
            parts.append(Text(f"  members that are not the seed's: {printable(names)}", style="yellow"))
        parts += findings_view(one.findings, "  ")
    if audit.across:
        parts += [Text("across the answers", style="bold"), *findings_view(audit.across, "  ")]
    holding = sum(one.average_holds is True for one in audit.judged)
    parts.append(Text(f"avg_time = tot_time / tot_num in {holding} of {len(audit.judged)}"))
    if audit.slope:
        line = audit.slope
        parts.append(
            Text(
                f"device state: {line.bytes_at_zero:,.0f} bytes + {line.bytes_per_vcpu:,.1f} a vCPU, over "
                f"{len(line.points)} points none further off than {line.residual:,.1f} bytes"
            )
        )
    return Group(*parts)
