"""Both sides of a running pair: on one host's clock, where the true offset is 0, and a copy on a clock 351 s away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from merge_shifts import OtherClock, read_lines, write_lines
from support import colotrace, colotrace_running

CHECKPOINTS = 40


def merged(primary: object, secondary: object, *options: object) -> Any:
    run = colotrace("merge", primary, secondary, "--json", *options)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def holds(told: Any, ahead: Callable[[int], int], drift_ppm: float) -> None:
    """That the one line between the clocks is within its error of the true one."""
    (clock,) = told["clocks"]
    assert abs(clock["offset_ns"] - ahead(clock["at_ns"])) <= clock["offset_error_ns"], clock
    assert abs(clock["drift_ppm"] - drift_ppm) <= clock["drift_error_ppm"], clock
    assert clock["greatest_offset_error_ns"] < 1_000_000, clock


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_fresh_pair_and_a_copy_on_another_clock(
    tmp_path: Path, make_pair: Callable[..., ColoPair], transport: str
) -> None:
    pair = make_pair(transport=transport, dirty_mib=8, delay_ms=120)
    sides = {"primary": pair.primary, "secondary": pair.secondary}
    paths = {role: tmp_path / f"{role}.jsonl" for role in sides}
    command = ("attach", "--checkpoints", CHECKPOINTS, "--json", "--output")
    with colotrace_running(*command, paths["primary"], "--pid", pair.primary.pid) as other:
        run = colotrace(*command, paths["secondary"], "--pid", pair.secondary.pid)
        assert run.returncode == 0, run.stderr
        other.communicate()
        assert other.returncode == 0
    told = merged(*paths.values())
    assert told["matched"] > CHECKPOINTS / 2
    holds(told, lambda _at: 0, 0.0)
    for wait in told["waits"].values():
        assert sum(part["sum_ns"] for part in wait["parts"].values()) == wait["total"]["sum_ns"]
    load = told["waits"]["load"]
    work, back = (load["parts"][name]["sum_ns"] / load["checkpoints"] for name in ("secondary_load", "network_back"))
    assert work <= load["secondary_own"]["mean_ns"] + 2 * load["greatest_error_ns"]
    assert (back > 10_000_000) is (transport == "tcp"), "Nagle against delayed ACK"
    lines = read_lines(paths["secondary"])
    clock = OtherClock(351_000_000_000, 50e-6, next(x["begin_ns"] for x in lines if x.get("begin_ns")))
    there = write_lines(tmp_path / "other.jsonl", map(clock.line, lines))
    again = merged(paths["primary"], there, "--output", tmp_path / "both.pftrace")
    holds(again, clock.ahead, 50.0)
    assert again["sequence_shift"] == told["sequence_shift"]
    assert (tmp_path / "both.pftrace").stat().st_size > 10_000
