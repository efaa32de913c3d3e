"""When the flush is most of the secondary's load, and when it is not, or does not matter."""

from __future__ import annotations

import math

import pytest

from colotrace.analysis.findings.find import findings_of
from colotrace.analysis.findings.finding import Finding
from colotrace.phases import Role

from .samples import PERIOD_NS, look, sample_of_columns

MS = 1_000_000
N = 50


def found(flush_ms: float, load_ms: float, total_ms: float = 20) -> list[Finding]:
    begin = [i * PERIOD_NS for i in range(N)]
    load = [b + (total_ms - load_ms) * MS for b in begin]
    sample = sample_of_columns(
        Role.SECONDARY, N, load_ns=load_ms * MS, total_ns=total_ms * MS, begin_ns=begin,
        mark_cache_flush_ns=[b + 2000 for b in load],
        mark_cache_flushed_ns=[b + 2000 + flush_ms * MS for b in load],
        mark_vm_start_ns=[b + 2000 + flush_ms * MS + 500_000 for b in load],
    )  # fmt: skip
    return look("cache-flush", sample)


def test_its_parts_are_told() -> None:
    (one,) = found(6, 8)
    assert one.numbers == {
        "flush_ns": 6 * MS, "flush_p10_ns": 6 * MS, "flush_p90_ns": 6 * MS, "part_of_load": 0.75,
        "part_of_total": 0.3, "before_flush_ns": 2000, "device_state_ns": 500_000,
    }  # fmt: skip
    assert one.cost_ns == 6 * MS and "75%" in one.title and "6.00 ms" in one.title


@pytest.mark.parametrize(
    ("flush_ms", "load_ms", "total_ms", "speaks"),
    [(5.1, 10, 20, True), (4.9, 10, 20, False), (2.1, 3, 20, True), (1.9, 3, 20, False), (0.1, 10, 20, False)],
)
def test_it_must_be_most_of_load_and_matter(flush_ms: float, load_ms: float, total_ms: float, speaks: bool) -> None:
    assert bool(found(flush_ms, load_ms, total_ms)) is speaks


def test_without_its_marks_it_says_that_it_cannot_tell() -> None:
    sample = sample_of_columns(Role.SECONDARY, N, load_ns=8 * MS, total_ns=20 * MS, mark_cache_flush_ns=math.nan)
    assert findings_of(sample).unknown["cache-flush"] == "mark_cache_flush_ns is known of 0 of 50 checkpoints"
