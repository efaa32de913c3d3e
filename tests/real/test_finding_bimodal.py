"""Two modes, provoked on real pairs and held against the lab's own settings; of plain pairs see test_finding_drift."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.trouble_modes import Dirty, Switch
from colo_lab.trouble_rate import pace, without_nagle
from recorded import by_setting, recorded

MIB = 1 << 20


def test_two_amounts_of_data_are_two_modes_with_the_ram(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(dirty_mib=48, delay_ms=150, adjustable=True)
    chance = random.Random(1)
    with Switch(pair, Dirty(pair).set_mib, "STOP", lambda _: chance.choice((4, 48))) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", 80)
    one = found["bimodal ram"]
    small, large = (by_setting(rows, switch, "ram_ns")[mib] for mib in (4, 48))
    assert one.numbers["fast_median_ns"] == pytest.approx(small, rel=0.1)
    assert one.numbers["slow_median_ns"] == pytest.approx(large, rel=0.1)
    part = sum(switch.setting_at(row["begin_ns"]) == 48 for row in rows) / len(rows)
    assert one.numbers["slow_part"] == pytest.approx(part, abs=0.1)
    strength = one.numbers["divided_by_ram"]
    assert strength is not None and strength >= 0.9 and one.title.endswith("with the RAM")


def test_two_rates_of_the_stream_are_two_modes_with_nothing(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """The rate is the network's: no record tells of it, and the finding says so."""
    pair = make_pair(dirty_mib=8, delay_ms=140, transport="tcp")
    without_nagle(pair)
    chance = random.Random(2)
    with Switch(pair, lambda rate: pace(pair, rate * MIB), "RESUME", lambda _: chance.choice((150, 1000))) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", 70)
    one = found["bimodal ram"]
    fast, slow = (by_setting(rows, switch, "ram_ns")[rate] for rate in (1000, 150))
    assert one.numbers["fast_median_ns"] == pytest.approx(fast, rel=0.2)
    assert one.numbers["slow_median_ns"] == pytest.approx(slow, rel=0.2)
    assert any("nothing that was recorded goes with it" in line for line in one.evidence)
