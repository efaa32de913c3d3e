"""Sizes follow what the lab's guest is told to do: pages dirtied, vCPUs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

PAGE = 4096
BYTES_PER_PAGE_ON_THE_WIRE = 4096 + 8
"""A page and its header, in a block named before (ram.c, save_page_header())."""


def completed(pair: ColoPair, count: int) -> list[dict[str, Any]]:
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", count, "--json")
    assert run.returncode == 0, run.stderr
    return [r for r in of_type(json_lines(run.stdout), "checkpoint") if r["outcome"] == "completed"]


@pytest.mark.parametrize("dirty_mib", [8, 32, 63])
def test_ram_bytes_follow_the_dirty_memory(make_pair: Callable[..., ColoPair], dirty_mib: int) -> None:
    pair = make_pair(dirty_mib=dirty_mib, delay_ms=1000)
    assert pair.sweep_ms < 1000 / 2, "the delay must be longer than a sweep"
    records = completed(pair, 4)
    for record in records:
        assert record["ram_bytes"] == record["ram_pages"] * BYTES_PER_PAGE_ON_THE_WIRE
    pages = [record["ram_pages"] for record in records]
    assert statistics.median(pages) == pytest.approx(dirty_mib * (1 << 20) // PAGE, abs=16)


def test_device_bytes_grow_by_the_same_step_for_each_vcpu(make_pair: Callable[..., ColoPair]) -> None:
    sizes = {}
    for vcpus in (1, 2, 4):
        pair = make_pair(vcpus=vcpus, dirty_mib=0)
        (sizes[vcpus],) = {record["device_bytes"] for record in completed(pair, 3)}
        pair.close()
    step = sizes[2] - sizes[1]
    assert step > 1000
    assert sizes[4] - sizes[2] == 2 * step
