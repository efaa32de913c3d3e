"""The flush of the secondary's cache, between its two marks: within load, and as long as what was dirtied makes it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

CHECKPOINTS = 20


def flushes(records: list[dict[str, Any]]) -> list[int]:
    """Nanoseconds of each completed checkpoint's flush; AssertionError where it does not lie within load."""
    found = []
    for record in records:
        end = record["begin_ns"] + record["total_ns"]
        marks = record["marks_ns"]
        begun, ended = marks["cache-flush"], marks["cache-flushed"]
        assert end - record["load_ns"] <= begun < ended <= marks["vm-start"] <= end, record
        found.append(ended - begun)
    return found


def test_it_lies_within_load_and_grows_with_what_was_dirtied(make_pair: Callable[..., ColoPair]) -> None:
    medians = {}
    for dirty_mib in (1, 32):
        pair = make_pair(dirty_mib=dirty_mib, delay_ms=150)
        run = colotrace("attach", "--pid", pair.primary.pid, pair.secondary.pid, "-n", CHECKPOINTS, "--json")
        assert run.returncode == 0, run.stderr
        records = [one for one in of_type(json_lines(run.stdout), "checkpoint") if one["outcome"] == "completed"]
        secondary = [one for one in records if one["role"] == "secondary"]
        assert len(secondary) >= CHECKPOINTS
        medians[dirty_mib] = statistics.median(flushes(secondary))
        primary = [one for one in records if one["role"] == "primary"]
        assert primary and not any({"cache-flush", "cache-flushed"} & one["marks_ns"].keys() for one in primary)
        pair.close()
    assert medians[32] > 4 * medians[1], medians
