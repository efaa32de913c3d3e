"""The flush of the secondary's cache: most of load where much was dirtied, and not where little was."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

COUNT = 25


def secondary(pair: ColoPair) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Its findings, and its completed checkpoints."""
    run = colotrace("attach", "--pid", pair.secondary.pid, "-n", COUNT, "--json")
    assert run.returncode == 0, run.stderr
    lines = json_lines(run.stdout)
    (summary,) = of_type(lines, "summary")
    return summary["findings"]["secondary"], [r for r in of_type(lines, "checkpoint") if r["outcome"] == "completed"]


def test_with_much_to_flush_it_is_found_with_its_part(make_pair: Callable[..., ColoPair]) -> None:
    findings, records = secondary(make_pair(dirty_mib=96, memory_mib=256, delay_ms=300))
    (found,) = [one for one in findings["found"] if one["rule"] == "cache-flush"]
    flushes = [r["marks_ns"]["cache-flushed"] - r["marks_ns"]["cache-flush"] for r in records]
    assert found["numbers"]["flush_ns"] == statistics.median_low(flushes)
    parts = [flush / r["load_ns"] for flush, r in zip(flushes, records, strict=True)]
    assert found["numbers"]["part_of_load"] == round(statistics.median_low(parts), 4) >= 0.5
    assert found["confidence"] == "high"


def test_with_little_to_flush_it_is_not(make_pair: Callable[..., ColoPair]) -> None:
    findings, _ = secondary(make_pair(dirty_mib=1, delay_ms=100))
    assert "cache-flush" in findings["not_found"]
