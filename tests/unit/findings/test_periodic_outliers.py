"""Outliers that keep to a period, against those that do not, and the rate of false alarms that is promised."""

from __future__ import annotations

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.periods import find_period
from colotrace.analysis.findings.rule import Unknowable
from colotrace.phases import Role

from .samples import look, sample_of_columns

N = 300
MS = 1_000_000
S = 1_000 * MS
DELAY = 100 * MS


def begins(random: np.random.Generator, n: int = N) -> np.ndarray:  # type: ignore[type-arg]
    """Of checkpoints by x-checkpoint-delay, somewhat late each time."""
    return np.cumsum(DELAY + random.uniform(0, 1, n) * MS)


def found(begin, out, random, excess=50 * MS, middle=12 * MS, load=None) -> list[Finding]:  # type: ignore[no-untyped-def]
    pause = random.lognormal(np.log(middle), 0.1, len(begin)) + np.where(out, excess, 0)
    stat = np.where(out, excess, 0) + MS
    sample = sample_of_columns(
        Role.PRIMARY, len(begin), begin_ns=begin, pause_ns=pause, total_ns=pause + MS, stat_ns=stat, load_ns=5 * MS
    )
    return look("periodic-outliers", sample)


def hit(begin, moments) -> np.ndarray:  # type: ignore[no-untyped-def,type-arg]
    """Which checkpoints are the next after each moment."""
    out = np.zeros(len(begin), bool)
    at = np.searchsorted(begin, moments)
    out[at[at < len(begin)]] = True
    return out


@pytest.mark.parametrize("period_s", [0.77, 1.3, 2.0])
def test_the_period_its_count_its_cost_and_its_phase(period_s: float) -> None:
    random = np.random.default_rng(1)
    begin = begins(random)
    out = hit(begin, np.arange(0.3 * S, begin[-1], period_s * S))
    (one,) = found(begin, out, random)
    numbers = one.numbers
    assert numbers["period_ns"] == pytest.approx(period_s * S, rel=0.01)
    assert numbers["period_checkpoints"] == pytest.approx(period_s * S / np.diff(begin).mean(), rel=0.01)
    assert numbers["outliers"] == numbers["on_beat"] == numbers["periods"] == np.count_nonzero(out)
    assert one.phase == "stat" and numbers["phase_excess_ns"] == 50 * MS
    assert one.cost_ns == pytest.approx(50 * MS * out.mean(), rel=0.1)
    assert (numbers["chance"] or 0) < 0.005
    if period_s < 1:
        assert one.confidence is Confidence.HIGH


def test_some_random_ones_besides_and_some_beats_missed_change_little() -> None:
    random = np.random.default_rng(2)
    begin = begins(random, 600)
    moments = np.arange(0.3 * S, begin[-1], 2 * S)
    out = hit(begin, moments[random.random(moments.size) < 0.8])
    out[random.choice(600, 4, replace=False)] = True
    (one,) = found(begin, out, random)
    assert one.numbers["period_ns"] == pytest.approx(2 * S, rel=0.01)
    assert 17 <= (one.numbers["on_beat"] or 0) < one.numbers["outliers"] < 30  # type: ignore[operator]


def test_always_so_many_checkpoints_apart_it_may_be_the_checkpoints_own() -> None:
    random = np.random.default_rng(3)
    out = np.arange(N) % 20 == 7
    (one,) = found(begins(random), out, random)
    assert one.confidence is Confidence.MEDIUM and "x-checkpoint-delay" in one.confidence_reason
    assert one.numbers["period_checkpoints"] == pytest.approx(20, abs=0.1)


def test_every_so_many_th_checkpoint_at_uneven_times_is_no_period() -> None:
    random = np.random.default_rng(4)
    begin = np.cumsum(random.exponential(1, N) * DELAY + MS)
    assert found(begin, np.arange(N) % 12 == 5, random) == []


@pytest.mark.parametrize("every", [2, 3, 4])
def test_every_other_checkpoint_is_no_period(every: int) -> None:
    random = np.random.default_rng(5)
    assert found(begins(random), np.arange(N) % every == 0, random) == []


@pytest.mark.parametrize(("count", "is_one"), [(5, False), (12, True)])
def test_it_takes_some_to_be_regular(count: int, is_one: bool) -> None:
    random = np.random.default_rng(6)
    begin = begins(random)
    out = hit(begin, np.linspace(S, begin[-1] - S, count))
    assert bool(found(begin, out, random)) is is_one


@pytest.mark.parametrize(("excess", "is_one"), [(5 * MS, False), (20 * MS, True)])
def test_what_is_not_far_above_the_rest_is_no_outlier(excess: float, is_one: bool) -> None:
    random = np.random.default_rng(7)
    begin = begins(random)
    out = hit(begin, np.arange(S, begin[-1], 1.7 * S))
    assert bool(found(begin, out, random, excess)) is is_one


def test_random_ones_and_bursts_are_hardly_ever_periodic() -> None:
    random = np.random.default_rng(8)
    wrong = 0
    for turn in range(400):
        begin = begins(random)
        out = random.random(N) < random.choice([0.03, 0.08, 0.15])
        if turn % 2:
            near = random.integers(0, N, 3)[:, None] + random.integers(0, 40, (3, 15))
            out = np.zeros(N, bool)
            out[np.clip(near, 0, N - 1)] = True
        wrong += len(found(begin, out, random))
    assert wrong <= 4


def test_moments_without_anything_to_try_have_no_period() -> None:
    few = np.arange(8) * 1e9
    assert find_period(few, 8e9, 0, 1) is None
    assert find_period(few, 8e9, float("nan"), 1) is None
    assert find_period(few, 8e9, 1e9, 1) is None
    assert find_period(few[:5], 1e12, 1e6, 1) is None
    assert find_period(few, 1e18, 1e6, 1) is None


@pytest.mark.parametrize("gap_s", [60, 3_600])
def test_a_gap_is_no_time_observed(gap_s: int) -> None:
    random = np.random.default_rng(9)
    begin = begins(random)
    begin[N // 2 :] += gap_s * S
    (one,) = found(begin, hit(begin, np.arange(0.3 * S, begin[-1], 0.77 * S)), random)
    assert one.numbers["period_checkpoints"] == pytest.approx(7.7, rel=0.02)
    assert one.numbers["periods"] == pytest.approx(one.numbers["outliers"], abs=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shift_s", "reason"), [(-20, "goes back"), (86_400, "gaps")])
def test_several_runs_that_it_cannot_put_on_one_clock_are_unknown(shift_s: int, reason: str) -> None:
    random = np.random.default_rng(10)
    begin = begins(random)
    out = hit(begin, np.arange(0.3 * S, begin[-1], 1.7 * S))
    begin[N // 2 :] += shift_s * S
    with pytest.raises(Unknowable, match=reason):
        found(begin, out, random)
