"""Both sides of a running pair: on one host's clock, where the true offset is 0, and a copy on a clock 351 s away."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from merge_shifts import OtherClock, read_lines, write_lines
from support import checkpoints_done, colotrace, colotrace_running, read_until, wait_for
from trace_processor import loader

from colotrace.errors import InputError

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


def recorded(folder: Path, pairs: dict[str, ColoPair], word: str, until: Callable[[], object]) -> dict[str, Path]:
    """Both sides of each pair, each by a tracer of its own, all at the same time."""
    with contextlib.ExitStack() as stack:
        paths, runs = {}, []
        for name, pair in pairs.items():
            for role, vm in (("primary", pair.primary), ("secondary", pair.secondary)):
                paths[f"{name} {role}"] = path = folder / f"{name}-{role}-{word}.jsonl"
                runs.append(stack.enter_context(colotrace_running("attach", "--pid", vm.pid, "-o", path)))
        for run in runs:
            read_until(run.stdout, " completed")
        until()
        for run in runs:
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=30)
    return paths


def refused(primary: object, secondary: object) -> str:
    run = colotrace("merge", primary, secondary)
    assert run.returncode == InputError.exit_code, run
    return run.stderr


def elsewhere(path: Path) -> str:
    """A copy as of another host, whose clock is 351 s ahead."""
    lines = read_lines(path)
    clock = OtherClock(351_000_000_000, 50e-6, next(x["begin_ns"] for x in lines if x.get("begin_ns")))
    return write_lines(path.with_suffix(".other.jsonl"), map(clock.line, lines))


def test_two_pairs_two_times_and_a_failover(tmp_path: Path, make_pair: Callable[..., ColoPair]) -> None:
    """Idle pairs over TCP, whose checkpoints come most regularly of all and whose messages bound the least."""
    one, other = (make_pair(transport="tcp", dirty_mib=0, delay_ms=100) for _ in range(2))

    def more(pair: ColoPair, count: int) -> None:
        goal = checkpoints_done(pair.primary) + count
        wait_for("checkpoints", lambda: checkpoints_done(pair.primary) >= goal)

    first = recorded(tmp_path, {"one": one, "other": other}, "first", lambda: more(one, 25))

    def fail_over() -> None:
        more(one, 25)
        one.secondary.execute("x-colo-lost-heartbeat")
        wait_for("the primary's end of COLO", lambda: one.primary.monitor.count("COLO_EXIT"))

    last = recorded(tmp_path, {"one": one}, "last", fail_over)
    for name in ("one", "other"):
        told = merged(first[f"{name} primary"], first[f"{name} secondary"])
        assert told["matched"] >= 20
        holds(told, lambda _at: 0, 0.0)
    foreign = refused(first["one primary"], first["other secondary"])
    assert "in common" in foreign and "one clock they overlap by" in foreign
    earlier = refused(first["one primary"], last["one secondary"])
    assert "do not overlap: the primary's ends" in earlier and "before the other begins" in earlier
    for path in (first["other secondary"], last["one secondary"]):
        assert "By the hosts' own time of day" in refused(first["one primary"], elsewhere(path))
    run = colotrace("merge", last["one primary"], last["one secondary"], "--output", tmp_path / "last.pftrace")
    assert run.returncode == 0, run.stderr
    for role in ("primary", "secondary"):
        assert f"note: the {role}'s recording has a failover ({role}, " in run.stdout
    with loader() as load:
        trace = load(tmp_path / "last.pftrace")
        assert trace.trouble() == []
        assert len(trace.query("select ts from slice where name = 'failover'")) == 2
