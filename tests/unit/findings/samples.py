"""Samples made of columns, for tests of rules."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from colotrace.analysis.findings.finding import Finding
from colotrace.analysis.findings.recent import NUMERIC, Rows
from colotrace.analysis.findings.rule import all_rules
from colotrace.analysis.findings.sample import Sample, Table
from colotrace.phases import Role
from colotrace.recording.header import Header, parse_header

PERIOD_NS = 150_000_000
"""From one checkpoint's begin to the next one's, where a test does not say."""


def table_of(n: int, base_ns: int = 0, **columns: Any) -> Table:
    """A table of `n` checkpoints; a column is an array, or one value for all. What is not given is NaN (no trigger: 0).

    Moments are given from `base_ns` on. `begin_ns` has a default: a checkpoint every PERIOD_NS.
    """
    values = np.full((n, len(NUMERIC)), np.nan)
    values[:, NUMERIC.index("begin_ns")] = np.arange(n) * PERIOD_NS
    values[:, NUMERIC.index("trigger")] = 0
    for name, column in columns.items():
        values[:, NUMERIC.index(name)] = column
    rows = Rows()
    rows.base_ns, rows.flat = base_ns, array("d", values.ravel())
    return Table(rows)


def sample_of_columns(
    role: Role, n: int = 100, header: Mapping[str, Any] | None = None, base_ns: int = 0, **columns: Any
) -> Sample:
    """A sample whose recent and spread checkpoints are the same; `header` are members of the line `attached`."""
    table = table_of(n, base_ns, **columns)
    return Sample(role, n, header_of(header), table, table)


def header_of(members: Mapping[str, Any] | None = None) -> Header:
    """A header with these members of the line `attached`."""
    return parse_header({"type": "attached", "schema_version": 2, "pid": 4711, **(members or {})})


def look(name: str, sample: Sample) -> list[Finding]:
    """What one rule finds."""
    (rule,) = [rule for rule in all_rules() if rule.name == name]
    return list(rule.look(sample))
