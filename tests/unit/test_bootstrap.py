"""Intervals of autocorrelated samples: they hold the truth as often as they say, and say when they cannot."""

from __future__ import annotations

import time

import numpy as np
import pytest

from colotrace.analysis.bootstrap import FEWEST_VALUES, block_length, estimate, interval, ratio_interval

RUNS = 300
"""Simulated runs per case; an interval that holds 95% of the time is seen to hold 90 to 98.7% of them (4 sigma)."""


def ar1(random: np.random.Generator, n: int, phi: float) -> np.ndarray:
    """Of mean 1000, sd 100."""
    x = np.empty(n + 100)
    noise = random.standard_normal(n + 100) * np.sqrt(1 - phi * phi)
    x[0] = random.standard_normal()
    for i in range(1, n + 100):
        x[i] = phi * x[i - 1] + noise[i]
    return 1000 + 100 * x[100:]


def plateau(random: np.random.Generator, n: int, stay: float) -> np.ndarray:
    """2 ms, or 43 ms in half the checkpoints: the delayed ACK. `stay` is how often the next is of the same kind."""
    flips = random.random(n) >= stay
    slow = (np.cumsum(flips) + random.integers(2)) % 2
    return 2e6 + 41e6 * slow + 1e5 * random.exponential(size=n)


def heavy(random: np.random.Generator, n: int) -> np.ndarray:
    """Log-normal, autocorrelated: mean 1000 * exp(0.32)."""
    return 1000 * np.exp(0.8 * (ar1(random, n, 0.5) - 1000) / 100)


CASES = {
    "independent, 50": (lambda r: ar1(r, 50, 0.0), 1000.0),
    "phi 0.5, 100": (lambda r: ar1(r, 100, 0.5), 1000.0),
    "phi 0.7, 200": (lambda r: ar1(r, 200, 0.7), 1000.0),
    "phi 0.9, 800": (lambda r: ar1(r, 800, 0.9), 1000.0),
    "plateau, 50": (lambda r: plateau(r, 50, 0.5), 22.6e6),
    "plateau in stretches, 200": (lambda r: plateau(r, 200, 0.8), 22.6e6),
    "heavy tail, 200": (lambda r: heavy(r, 200), 1000 * np.exp(0.32)),
}


@pytest.mark.parametrize("name", CASES)
def test_intervals_of_a_mean_hold_it_as_often_as_they_say(name: str) -> None:
    draw, truth = CASES[name]
    held = told = 0
    for seed in range(RUNS):
        one = interval(estimate(draw(np.random.default_rng(seed)), resamples=1000, seed=seed))
        if one.low is not None and one.high is not None:
            told += 1
            held += one.low <= truth <= one.high
    assert told > 0.85 * RUNS
    assert 0.90 <= held / told <= 0.987, f"{held} of {told}"


@pytest.mark.parametrize("quantile", [None, 0.5])
def test_a_ratio_of_two_runs_of_one_kind_holds_one(quantile: float | None) -> None:
    held = told = 0
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        a, b = (estimate(ar1(random, 150, 0.5), quantile, resamples=1000, seed=seed * 2 + side) for side in (0, 1))
        one = ratio_interval(a, b)
        if one.low is not None and one.high is not None:
            told += 1
            held += one.low <= 1 <= one.high
    assert told > 0.9 * RUNS
    assert 0.90 <= held / told <= 0.99, f"{held} of {told}"


def test_intervals_that_take_checkpoints_for_independent_ones_would_not() -> None:
    """What the block bootstrap is for: the test above can fail."""
    held = 0
    for seed in range(RUNS):
        values = ar1(np.random.default_rng(seed), 200, 0.7)
        error = 1.96 * values.std() / np.sqrt(len(values))
        held += abs(values.mean() - 1000) <= error
    assert held / RUNS < 0.8


def test_a_tenth_longer_is_seen_and_its_size_is_within_the_interval() -> None:
    random = np.random.default_rng(7)
    a, b = estimate(ar1(random, 200, 0.3), seed=1), estimate(1.1 * ar1(random, 200, 0.3), seed=2)
    one = ratio_interval(a, b)
    assert one.low and one.high
    assert 1 < one.low < 1.1 < one.high


@pytest.mark.parametrize(
    ("seed", "n", "phi", "expected"),
    [(0, 60, 0.0, 0.857606), (1, 60, 0.5, 1.934892), (2, 500, 0.9, 19.607951), (3, 500, 0.0, 0.748857)],
)
def test_block_lengths_are_those_of_arch_8_0(seed: int, n: int, phi: float, expected: float) -> None:
    assert block_length(ar1(np.random.default_rng(seed), n, phi)) == pytest.approx(expected, abs=1e-6)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = ar1(np.random.default_rng(1), 100, 0.5).astype(np.int64)
    assert interval(estimate(values)) == interval(estimate(values))
    assert interval(estimate(values)) != interval(estimate(values, seed=2))


def test_what_cannot_have_an_interval_says_why() -> None:
    few = estimate(np.arange(FEWEST_VALUES - 1))
    assert few.value == 4.0 and few.draws is None and few.reason and "too few" in few.reason
    drift = estimate(np.linspace(1, 2, 40))
    assert drift.draws is None and drift.reason and "hang together" in drift.reason
    assert estimate(np.array([], dtype=np.int64)).value is None
    assert (estimate(np.arange(100), 0.99).reason or "").startswith("100 checkpoints are too few")
    zero = ratio_interval(estimate(np.zeros(20)), estimate(np.ones(20), seed=2))
    assert zero.value is None and zero.reason == "the first is 0"


def test_what_never_changes_has_an_interval_of_no_width() -> None:
    one = interval(estimate(np.full(50, 16919)))
    assert (one.low, one.high) == (16919, 16919)


def test_against_a_number_only_one_side_is_uncertain() -> None:
    a = estimate(ar1(np.random.default_rng(3), 100, 0.0))
    one = ratio_interval(a, 2000.0)
    assert one.low and one.high and one.low < 2 < one.high


def test_ten_million_values_take_seconds_and_give_the_same_as_few() -> None:
    random = np.random.default_rng(5)
    values = random.integers(900_000, 1_100_000, 10_000_000)
    began = time.monotonic()
    one, middle = interval(estimate(values)), interval(estimate(values, 0.5))
    assert time.monotonic() - began < 30
    error = values.std() / np.sqrt(len(values))
    assert one.low and one.high and 0.7 < (one.high - one.low) / (2 * 1.96 * error) < 1.4
    assert middle.low and middle.high and middle.low <= middle.value <= middle.high  # type: ignore[operator]
