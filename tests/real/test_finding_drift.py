"""Changes in a run, provoked on real pairs and held against the lab's own settings; and plain pairs without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.trouble_modes import Dirty, Switch
from colo_lab.trouble_rate import pace, without_nagle
from recorded import by_setting, recorded

MIB = 1 << 20


def test_more_and_more_data_is_a_drift_of_the_guest(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    n, first, last = 170, 4, 28
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
    n, at = 270, 130
    pair = make_pair(dirty_mib=8, delay_ms=80, transport="tcp")
    without_nagle(pair)
    with Switch(pair, lambda rate: pace(pair, rate * MIB), "RESUME", lambda k: 800 if k < at else 200) as switch:
        found, rows = recorded(pair, tmp_path / "run.jsonl", n)
    one = found["drift pause"]
    assert "steps up" in one.title and "for the same amount of RAM" in one.title
    pauses = by_setting(rows, switch, "pause_ns")
    assert one.numbers["before_ns"] == pytest.approx(pauses[800], rel=0.1)
    assert one.numbers["after_ns"] == pytest.approx(pauses[200], rel=0.1)
    changed = next(when for when, rate in switch.changes if rate == 200)
    first = next(row["begin_ns"] for row in rows if row["begin_ns"] > changed)
    assert one.numbers["step_monotonic_ns"] == pytest.approx(first, abs=500_000_000)


def test_a_plain_pair_has_none_of_it(pair: ColoPair, tmp_path: Path) -> None:
    assert recorded(pair, tmp_path / "run.jsonl", 150)[0] == {}
