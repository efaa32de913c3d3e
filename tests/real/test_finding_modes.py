"""Two modes and changes in a run, provoked on real pairs and held against the lab's own settings."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from colo_lab.trouble_modes import Dirty, Switch, pace, without_nagle
from support import colotrace

from colotrace.analysis.findings.find import findings_of
from colotrace.analysis.findings.finding import Finding
from colotrace.analysis.findings.rule import all_rules
from colotrace.analysis.findings.sample import sample_of
from colotrace.recording import open_recording

Rows = list[dict[str, Any]]
RULES = [rule for rule in all_rules() if rule.name in ("bimodal", "drift")]


def recorded(pair: ColoPair, path: Path, n: int) -> tuple[dict[str, Finding], Rows]:
    """What both rules find in the next checkpoints of the primary, by rule and phase; and the checkpoints."""
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", n, "--output", path)
    assert run.returncode == 0, run.stderr
    assert pair.trouble() == []
    (series,) = open_recording(path).series()
    findings = findings_of(sample_of(series), RULES)
    rows = [row for line in path.read_text("ascii").splitlines() if (row := json.loads(line))["type"] == "checkpoint"]
    return {f"{one.rule} {one.phase}": one for one in findings.found}, [r for r in rows if r["outcome"] == "completed"]


def by_setting(rows: Rows, switch: Switch, column: str) -> dict[int, float]:
    """The median of a column under each of the lab's settings."""
    settings = {switch.setting_at(row["begin_ns"]) for row in rows} - {None}
    return {
        one: statistics.median(row[column] for row in rows if switch.setting_at(row["begin_ns"]) == one)
        for one in settings
        if one is not None
    }


def test_two_amounts_of_data_are_two_modes_with_the_ram(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(dirty_mib=24, delay_ms=120, adjustable=True)
    chance = random.Random(1)
    with Switch(pair, Dirty(pair).set_mib, "STOP", lambda _: chance.choice((4, 24))) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", 100)
    one = found["bimodal ram"]
    small, large = (by_setting(rows, switch, "ram_ns")[mib] for mib in (4, 24))
    assert one.numbers["fast_median_ns"] == pytest.approx(small, rel=0.1)
    assert one.numbers["slow_median_ns"] == pytest.approx(large, rel=0.1)
    part = sum(switch.setting_at(row["begin_ns"]) == 24 for row in rows) / len(rows)
    assert one.numbers["slow_part"] == pytest.approx(part, abs=0.1)
    strength = one.numbers["divided_by_ram"]
    assert strength is not None and strength >= 0.9 and one.title.endswith("with the RAM")


def test_two_rates_of_the_stream_are_two_modes_with_nothing(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """The rate is the network's: no record tells of it, and the finding says so."""
    pair = make_pair(dirty_mib=8, delay_ms=160, transport="tcp")
    without_nagle(pair)
    chance = random.Random(2)
    with Switch(pair, lambda rate: pace(pair, rate), "RESUME", lambda _: chance.choice((150, 1000))) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", 90)
    one = found["bimodal ram"]
    fast, slow = (by_setting(rows, switch, "ram_ns")[rate] for rate in (1000, 150))
    assert one.numbers["fast_median_ns"] == pytest.approx(fast, rel=0.2)
    assert one.numbers["slow_median_ns"] == pytest.approx(slow, rel=0.2)
    assert any("nothing that was recorded goes with it" in line for line in one.evidence)


def test_more_and_more_data_is_a_drift_of_the_guest(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    n, first, last = 220, 4, 28
    pair = make_pair(dirty_mib=last, delay_ms=70, adjustable=True)
    dirty = Dirty(pair)
    dirty.set_mib(first)
    with Switch(pair, dirty.set_mib, "STOP", lambda k: min(last, first + k * (last - first) // n)) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", n)
    one = found.get("drift pause") or found["drift ram"]  # where unrest hides it in the pause, the phase tells
    assert "drifts up" in one.title and one.title.endswith("the guest writes more")
    before, after = one.numbers["ram_bytes_before"], one.numbers["ram_bytes_after"]
    began, ended = (switch.setting_at(row["begin_ns"]) or first for row in (rows[0], rows[-1]))
    assert before is not None and before == pytest.approx(began << 20, abs=3 << 20)
    assert after is not None and after == pytest.approx(ended << 20, abs=3 << 20)


def test_a_slower_stream_from_one_moment_on_is_a_step(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    n, at = 290, 150
    pair = make_pair(dirty_mib=4, delay_ms=70, transport="tcp")
    without_nagle(pair)
    with Switch(pair, lambda rate: pace(pair, rate), "RESUME", lambda k: 1000 if k < at else 100) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", n)
    one = found["drift pause"]
    assert "steps up" in one.title and "for the same amount of RAM" in one.title
    pauses = by_setting(rows, switch, "pause_ns")
    assert one.numbers["before_ns"] == pytest.approx(pauses[1000], rel=0.1)
    assert one.numbers["after_ns"] == pytest.approx(pauses[100], rel=0.1)
    changed = next(when for when, rate in switch.changes if rate == 100)
    first = next(row["begin_ns"] for row in rows if row["begin_ns"] > changed)
    assert one.numbers["step_monotonic_ns"] == pytest.approx(first, abs=500_000_000)
    assert not any(key.startswith("bimodal") for key in found)


def test_a_plain_pair_has_none_of_it(pair: ColoPair, tmp_path: Path) -> None:
    assert recorded(pair, tmp_path / "run.jsonl", 150)[0] == {}
