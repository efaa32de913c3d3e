"""Applies every rule to a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colotrace.analysis.findings.finding import Finding, Findings
from colotrace.analysis.findings.rule import Rule, Unknowable, all_rules
from colotrace.analysis.findings.sample import Sample


def findings_of(sample: Sample, rules: Sequence[Rule] | None = None) -> Findings:
    """What the rules find; those of the other role do not appear at all."""
    found: list[Finding] = []
    not_found: list[str] = []
    unknown: dict[str, str] = {}
    for rule in all_rules() if rules is None else rules:
        if sample.role not in rule.roles:
            continue
        reason = _cannot_look(rule, sample)
        if reason is None:
            try:
                with np.errstate(invalid="ignore", over="ignore"):  # what a foreign recording says may be anything
                    here = list(rule.look(sample))
            except Unknowable as error:
                reason = str(error)
            else:
                found += here
                if not here:
                    not_found.append(rule.name)
        if reason is not None:
            unknown[rule.name] = reason
    found.sort(key=lambda one: -(one.cost_ns or 0))
    return Findings(tuple(found), tuple(not_found), unknown, looked_at(sample))


def looked_at(sample: Sample) -> str:
    """At which checkpoints the rules have looked, in words."""
    n, kept = sample.completed, len(sample.recent)
    return f"all {n:,} checkpoints" if kept == n else f"the last {kept:,} of {n:,} checkpoints"


def _cannot_look(rule: Rule, sample: Sample) -> str | None:
    n = len(sample.recent)
    if n < rule.least:
        return f"it takes {rule.least:,} checkpoints; there are {n:,}"
    for name in rule.needs:
        seen = int(np.count_nonzero(~np.isnan(sample.recent[name])))
        if 2 * seen < n:
            return f"{name} is known of {seen:,} of {n:,} checkpoints"
    return None
