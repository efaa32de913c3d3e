"""Findings about what stopping a VM waits for, and of what disturbs it periodically, each provoked by the lab."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from colo_lab.pair import ColoPair
from colo_lab.trouble_stat import LockHog, slow_disk, start_backup
from support import colotrace, json_lines, of_type

LATENCY_MS = 30
MS = 1_000_000
RULES = {"bql-wait", "vm-stop-wait", "periodic-outliers"}


def findings(pair: ColoPair, count: int) -> dict[str, dict[str, Any]]:
    """Role -> what the summary of `count` checkpoints of both says."""
    run = colotrace("attach", "--pid", pair.primary.pid, "--pid", pair.secondary.pid, "-n", count, "--json")
    assert run.returncode == 0, run.stderr
    found: dict[str, dict[str, Any]] = {}
    for summary in of_type(json_lines(run.stdout), "summary"):
        found |= summary["findings"]
    assert set(found) == {"primary", "secondary"}
    return found


def of_rule(found: dict[str, Any], rule: str) -> list[dict[str, Any]]:
    return [one for one in found["found"] if one["rule"] == rule]


def test_a_plain_pair_has_none_of_them(pair: ColoPair) -> None:
    for found in findings(pair, 60).values():
        assert not RULES & {one["rule"] for one in found["found"]}
        assert set(found["not_found"]) >= RULES


def test_a_monitor_command_that_holds_the_lock(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100, qemu_options=slow_disk(LATENCY_MS))
    with LockHog(pair.primary, every_s=0.04) as hog:
        found = findings(pair, 45)
    held = statistics.median(hog.held_ns)
    (one,) = of_rule(found["primary"], "bql-wait")
    numbers = one["numbers"]
    assert held >= LATENCY_MS * MS
    assert 0.3 * held < numbers["wait_ns"] < 1.15 * held  # what is left of a command when the lock is asked for
    assert 0.7 * held < numbers["wait_p95_ns"] < 2.3 * held  # another one may come first
    assert numbers["part_of_checkpoints"] > 0.15 and one["cost_ns"] == numbers["resume_mean_ns"] > 0
    assert of_rule(found["primary"], "vm-stop-wait") == []
    assert of_rule(found["secondary"], "bql-wait") == []
    assert pair.trouble() == []


def test_a_block_job_on_a_slow_disk(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100, qemu_options=slow_disk(LATENCY_MS))
    start_backup(pair.primary)
    found = findings(pair, 30)
    (one,) = of_rule(found["primary"], "vm-stop-wait")
    numbers = one["numbers"]
    assert numbers["part_of_checkpoints"] > 0.9
    assert LATENCY_MS * MS <= numbers["wait_ns"] < 2.2 * LATENCY_MS * MS
    assert 0.95 * numbers["part_of_checkpoints"] * numbers["wait_min_ns"] < one["cost_ns"]
    assert of_rule(found["primary"], "bql-wait") == []
    assert of_rule(found["secondary"], "vm-stop-wait") == []
    assert pair.trouble() == []


def test_a_lock_held_now_and_then(make_pair: Callable[..., ColoPair]) -> None:
    """On the secondary, and longer than the delay: each time it is in the way of a checkpoint."""
    every_s, held_ms = 0.7, 150
    pair = make_pair(dirty_mib=4, delay_ms=100, qemu_options=slow_disk(held_ms))
    with LockHog(pair.secondary, every_s) as hog:
        found = findings(pair, 160)
    assert statistics.median(hog.held_ns) < every_s * 1e9 / 2
    assert len(of_rule(found["secondary"], "periodic-outliers")) == 1
    on_primary = of_rule(found["primary"], "periodic-outliers")  # not always: what else disturbs both adds up there
    for one in (*of_rule(found["secondary"], "periodic-outliers"), *on_primary):
        numbers = one["numbers"]
        assert abs(numbers["period_ns"] / (every_s * 1e9) - 1) < 0.02
        assert 6 <= numbers["on_beat"] <= len(hog.held_ns)
        assert 0.2 * held_ms * MS < numbers["excess_ns"] < 1.3 * held_ms * MS
        assert one["phase"] in ("stat", "ram", "load")  # where the secondary takes the lock
    assert pair.trouble() == []
