"""Findings in words, the same for the terminal and every format of a report that people read."""

from __future__ import annotations

from collections.abc import Iterator

from colotrace.analysis.findings.finding import Finding, Findings
from colotrace.units import time_text


def head(finding: Finding) -> str:
    """A finding on one line."""
    cost = "" if not finding.cost_ns else f", {time_text(finding.cost_ns)} a checkpoint"
    return f"{finding.title} ({finding.confidence.value} confidence{cost})"


def details(finding: Finding) -> tuple[str, ...]:
    """What speaks for it, how far that goes, and what to do."""
    why = f"{finding.confidence.value} confidence: {finding.confidence_reason}"
    return (*finding.evidence, why, f"advice: {finding.advice}")


def none(findings: Findings) -> str:
    """What stands where findings would, if there are none: nothing found is not the same as nothing looked for."""
    return "none" if findings.not_found else "none was looked for"


def rest(findings: Findings) -> Iterator[str]:
    """What was looked for in vain, at what, and what could not be looked for."""
    if findings.not_found:
        yield f"looked for at {findings.looked_at} and not found: {', '.join(findings.not_found)}"
    by_reason: dict[str, list[str]] = {}
    for name, reason in findings.unknown.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        yield f"could not be looked for: {', '.join(names)}: {reason}"
