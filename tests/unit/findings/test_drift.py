"""A pause that changes over the run: by how much, when, with what; and what is only a host's unrest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.rule import Unknowable
from colotrace.phases import Role

from .samples import PERIOD_NS, look, sample_of_columns

N = 400
MS = 1_000_000
HOUR_NS = 3_600_000_000_000
RANDOM = np.random.default_rng(5)
UP = np.arange(N) / N
STEP = (np.arange(N) >= 250).astype(float)


def noise(n: int = N, spread: float = 0.1) -> np.ndarray:
    return np.exp(spread * RANDOM.normal(size=n))


def found(ram: np.ndarray, rest_ms: float = 15, role: Role = Role.PRIMARY, **columns: Any) -> list[Finding]:
    """Of runs whose ram phase is given in milliseconds."""
    rest = rest_ms * MS * noise(len(ram))
    ram = ram * MS
    given = {"ram_ns": ram, "load_ns": rest, "pause_ns": ram + rest, **columns}
    return look("drift", sample_of_columns(role, len(ram), **given))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_drift_is_told_with_its_interval_and_its_phase(sign: int) -> None:
    (one,) = found((20 + sign * 10 * UP) * noise(), ram_bytes=8e6 * noise(spread=0.01))
    numbers = one.numbers
    assert one.phase == "pause" and one.confidence is Confidence.MEDIUM
    assert f"drifts {'up' if sign > 0 else 'down'}" in one.title and "most of all ram" in one.title
    slope = sign * 10 * MS / (N * PERIOD_NS) * HOUR_NS
    low, high = numbers["per_hour_low_ns"], numbers["per_hour_high_ns"]
    assert low is not None and high is not None and low < slope < high and low * high > 0
    assert numbers["per_hour_ns"] == pytest.approx(slope, rel=0.25)
    assert numbers["carried_part"] == pytest.approx(1, abs=0.25)
    assert numbers["step_monotonic_ns"] is None
    assert "for the same amount of RAM" in one.title and "RAM sent does not change along" in " ".join(one.evidence)


def test_a_step_is_told_with_its_moment() -> None:
    shift_ns = 1_800_000_000_000_000_000
    (one,) = found((20 + 12 * STEP) * noise(), header={"realtime_minus_monotonic_ns": shift_ns}, base_ns=5_000_000_000)
    assert "steps up" in one.title and one.numbers["per_hour_ns"] is None
    assert one.numbers["step_monotonic_ns"] == pytest.approx(5_000_000_000 + 250 * PERIOD_NS, abs=3 * PERIOD_NS)
    assert one.numbers["before_ns"] == pytest.approx(35 * MS, rel=0.05)
    assert one.numbers["after_ns"] == pytest.approx(47 * MS, rel=0.05)
    assert one.evidence[0].startswith("between the checkpoints of 2027-01-15T08:00:42.")
    assert one.cost_ns == pytest.approx(12 * MS * 150 / N, rel=0.2)


def test_without_a_wall_clock_the_moment_is_the_monotonic_clocks() -> None:
    (one,) = found((20 + 12 * STEP) * noise())
    assert "of CLOCK_MONOTONIC" in one.evidence[0]


@pytest.mark.parametrize("course", [UP, STEP])
def test_what_the_guest_writes_explains_it(course: np.ndarray) -> None:
    (one,) = found((10 + 10 * course) * noise(), ram_bytes=(8 + 8 * course) * 2.0**20)
    assert one.title.endswith("the guest writes more") and one.confidence is Confidence.HIGH
    assert "RAM sent changes along" in " ".join(one.evidence)
    assert one.numbers["ram_bytes_after"] == pytest.approx(16 * 2**20, rel=0.1)


def test_a_little_more_data_does_not_explain_a_lot_more_time() -> None:
    (one,) = found((10 + 10 * STEP) * noise(), ram_bytes=(8 + STEP) * 2.0**20)
    assert not one.title.endswith("writes more") and one.confidence is Confidence.MEDIUM
    assert "same amount" not in one.title and "same work" not in one.confidence_reason
    assert "RAM sent changes along" in " ".join(one.evidence)


@pytest.mark.parametrize("course", [UP, STEP, -0.5 * STEP])
def test_more_in_a_longer_wait_is_not_a_guest_that_writes_more(course: np.ndarray) -> None:
    ram_bytes = (8 + 8 * course) * 2.0**20
    (one,) = found((20 + 20 * course) * noise(), ram_bytes=ram_bytes, wait_ns=100 * MS * (1 + course))
    assert "the guest writes" not in one.title and "wait" in one.title and one.confidence is Confidence.HIGH
    assert "x-checkpoint-delay" in one.advice
    (one,) = found((20 + 20 * course) * noise(), ram_bytes=ram_bytes, wait_ns=100 * MS * (1 + 0.1 * course))
    assert "the guest writes" in one.title


def test_on_the_secondary_the_amount_is_unknown() -> None:
    (one,) = found((10 + 10 * STEP) * noise(), role=Role.SECONDARY)
    assert one.confidence is Confidence.LOW and one.numbers["ram_bytes_before"] is None


@pytest.mark.parametrize(("change_ms", "expected"), [(3, 0), (4.4, 0), (6, 1)])
@pytest.mark.parametrize("course", [UP, STEP])
def test_less_than_a_slice_of_the_scheduler_needs_a_cause(change_ms: float, expected: int, course: np.ndarray) -> None:
    assert len(found((10 + change_ms * course) * noise(spread=0.02))) == expected


@pytest.mark.parametrize(("change_ms", "expected"), [(16, 0), (26, 1)])
@pytest.mark.parametrize("course", [UP, STEP])
def test_it_is_a_tenth_of_the_pause(change_ms: float, expected: int, course: np.ndarray) -> None:
    assert len(found((200 + change_ms * course) * noise(spread=0.01), rest_ms=1)) == expected


def test_a_phase_tells_what_the_rest_of_the_pause_hides() -> None:
    other = 40 * MS * np.exp(0.4 * RANDOM.normal(size=N))
    ram = (5 + 15 * UP) * MS
    (one,) = found(ram / MS, ram_bytes=ram / 2, load_ns=other, pause_ns=other + ram)
    assert one.phase == "ram" and one.title.startswith("ram drifts up")


def test_a_phase_that_only_takes_from_another_is_no_trouble() -> None:
    ram = (5 + 15 * UP) * MS
    assert found(ram / MS, recv_ns=25 * MS - ram, load_ns=np.full(N, 10.0 * MS), pause_ns=np.full(N, 35.0 * MS)) == []


def test_waves_and_modes_are_no_change() -> None:
    for values in (
        20 + 8 * np.sin(2 * np.pi * 3 * UP),
        20 + 10 * (np.arange(N) % 2),
        20 + 10 * (np.arange(N) // 40 % 2),
        20 + 8 * np.sin(np.pi * UP),
    ):
        assert found(values * noise(spread=0.03)) == []


def test_false_alarms_are_rare() -> None:
    """Stationary runs whose checkpoints hang together over some ten: fewer than 1 in 100 is taken for a change."""
    alarms = runs = 0
    for n in (150, 400, 1000):
        for _ in range(100):
            logs, white = np.empty(n), RANDOM.normal(size=n)
            logs[0] = white[0]
            for i in range(1, n):
                logs[i] = 0.8 * logs[i - 1] + 0.6 * white[i]
            alarms += len(found(20 * np.exp(0.3 * logs)))
            runs += 1
    assert alarms < runs / 100


def test_short_runs_are_unknown() -> None:
    with pytest.raises(Unknowable, match="of a run"):
        look("drift", sample_of_columns(Role.PRIMARY, N, begin_ns=np.arange(N) * 1e7, pause_ns=20 * MS * noise()))
    with pytest.raises(Unknowable, match="bins"):
        look("drift", sample_of_columns(Role.PRIMARY, N))


def test_runs_of_several_boots_are_unknown() -> None:
    begin = np.arange(N) * float(PERIOD_NS)
    begin[N // 2 :] -= N // 2 * PERIOD_NS - MS
    with pytest.raises(Unknowable, match="goes back"):
        found((20 + 12 * STEP) * noise(), begin_ns=begin)
