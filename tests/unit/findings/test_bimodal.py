"""A phase that goes two ways: what counts as two, what goes with them, and what other rules tell of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.phases import Role, Trigger

from .samples import look, sample_of_columns

N = 200
MS = 1_000_000
RANDOM = np.random.default_rng(11)
SLOW = RANDOM.random(N) < 0.4
REST_NS = 20 * MS


def times(slow: np.ndarray, fast_ms: float = 5, slow_ms: float = 25, spread: float = 0.1) -> np.ndarray:
    return np.where(slow, slow_ms, fast_ms) * MS * np.exp(spread * RANDOM.normal(size=slow.size))


def found(role: Role = Role.PRIMARY, phase: str = "ram", values: Any = None, **columns: Any) -> list[Finding]:
    values = times(SLOW) if values is None else values
    given = {"pause_ns": values + REST_NS, f"{phase}_ns": values, **columns}
    return look("bimodal", sample_of_columns(role, len(values), **given))


def test_both_modes_are_told_with_their_parts() -> None:
    (one,) = found()
    assert one.phase == "ram" and one.confidence is Confidence.MEDIUM
    assert one.numbers["fast_median_ns"] == pytest.approx(5 * MS, rel=0.05)
    assert one.numbers["slow_median_ns"] == pytest.approx(25 * MS, rel=0.05)
    assert one.numbers["slow_part"] == pytest.approx(SLOW.mean())
    assert one.cost_ns == pytest.approx(SLOW.mean() * 20 * MS, rel=0.1)
    assert any("nothing that was recorded goes with it" in line for line in one.evidence)


@pytest.mark.parametrize("shape", ["normal", "skewed", "tail", "even tail", "even"])
def test_one_mode_is_none(shape: str) -> None:
    """Also where a tail holds as many as a second mode would."""
    some = RANDOM.random(N) < 0.25
    values = {
        "normal": 20 + RANDOM.normal(size=N),
        "skewed": 5 * np.exp(RANDOM.normal(size=N)),
        "tail": 5 + 0.1 * RANDOM.random(N) + 30 * RANDOM.exponential(size=N) * some,
        "even tail": 5 + 0.1 * RANDOM.random(N) + 40 * RANDOM.random(N) * some,
        "even": 5 + 40 * RANDOM.random(N),
    }[shape]
    assert found(values=values * MS) == []


@pytest.mark.parametrize(("part", "expected"), [(0.07, 0), (0.13, 1), (0.87, 1), (0.95, 0)])
def test_each_mode_has_a_tenth(part: float, expected: int) -> None:
    assert len(found(values=times(np.arange(N) % 100 < part * 100))) == expected


def test_of_three_modes_the_border_is_where_the_valley_is() -> None:
    values = np.choose(np.arange(N) % 4, [3 * MS, 3 * MS, 27 * MS, 39 * MS]) * np.exp(0.05 * RANDOM.normal(size=N))
    (one,) = found(values=values)
    assert one.numbers["slow_part"] == 0.5
    border = one.numbers["border_ns"]
    assert border is not None and 5 * MS < border < 20 * MS and one.evidence[0].startswith("0 of 200")


@pytest.mark.parametrize(("slow_ms", "expected"), [(8, 0), (9.5, 0), (11, 1)])
def test_less_than_a_slice_of_the_scheduler_needs_a_cause(slow_ms: float, expected: int) -> None:
    values = times(SLOW, 5, slow_ms, 0.02)
    assert len(found(values=values)) == expected
    (caused,) = found(values=values, ram_bytes=np.where(SLOW, 40, 20) * 1e6)
    assert caused.confidence is Confidence.HIGH


@pytest.mark.parametrize(("rest_ms", "expected"), [(300, 0), (100, 1)])
def test_it_matters_to_the_pause(rest_ms: float, expected: int) -> None:
    values = times(SLOW, 5, 25)
    assert len(found(values=values, pause_ns=values + rest_ms * MS)) == expected


def test_time_that_only_moves_between_phases_is_no_trouble() -> None:
    values = times(SLOW)
    assert found(values=values, recv_ns=30 * MS - values, pause_ns=np.full(N, 40.0 * MS)) == []


def test_the_amount_of_data_explains_it() -> None:
    size = np.where(SLOW ^ (np.arange(N) == 3), 48, 16) * 2.0**20
    (one,) = found(ram_bytes=size + RANDOM.normal(size=N) * 1e5)
    assert one.confidence is Confidence.HIGH and one.title.endswith("with the RAM")
    assert one.numbers["divided_by_ram"] is not None and one.numbers["divided_by_ram"] > 0.97
    assert one.numbers["divided_by_previous"] == 0 and one.numbers["divided_by_wait"] is None
    assert any("of the slow ones have more than" in line and "MiB of RAM sent" in line for line in one.evidence)


def test_its_trigger_goes_with_it() -> None:
    trigger = np.where(SLOW, Trigger.COMPARE.number, Trigger.TIMER.number)
    (one,) = found(trigger=trigger)
    assert one.numbers["divided_by_trigger"] == 1
    assert "100% of the slow ones were triggered by compare, 0% of the fast" in one.evidence


def test_a_short_wait_goes_with_it() -> None:
    (one,) = found(wait_ns=np.where(SLOW, 50, 90) * MS + RANDOM.normal(size=N) * MS)
    assert "of the slow ones have at most" in " ".join(one.evidence) and one.title.endswith("with the wait")


def test_modes_that_alternate_or_last() -> None:
    (alternating,) = found(values=times(np.arange(N) % 2 == 1))
    assert "the modes alternate: after a slow one 0% are slow" in " ".join(alternating.evidence)
    (lasting,) = found(values=times(np.arange(N) % 20 < 10))
    assert "the modes last: after a slow one 9" in " ".join(lasting.evidence)


def test_one_mode_after_the_other_is_a_step_and_not_told_here() -> None:
    assert found(values=times(np.arange(N) > 120)) == []


def test_phases_that_are_slow_together_are_one_finding() -> None:
    ram, load = times(SLOW, 5, 25), times(SLOW, 2, 12)
    (one,) = found(values=ram, load_ns=load, pause_ns=ram + load + REST_NS)
    assert one.phase == "ram" and any(line.startswith("load goes along") for line in one.evidence)
    assert one.cost_ns == pytest.approx(SLOW.mean() * 30 * MS, rel=0.1)


def test_two_troubles_are_two_findings() -> None:
    ram, load = times(SLOW, 5, 25), times(RANDOM.random(N) < 0.5, 2, 22)
    assert {one.phase for one in found(values=ram, load_ns=load, pause_ns=ram + load + REST_NS)} == {"ram", "load"}


def test_a_delayed_acknowledgement_is_told_once() -> None:
    """On the primary, the rule delayed-ack tells of it; on the secondary this one, with what it is."""
    values = np.where(SLOW, 44 * MS + RANDOM.uniform(-2 * MS, 2 * MS, N), 1.5 * MS * (1 + 0.1 * RANDOM.random(N)))
    columns = {"recv_ns": np.full(N, 5e4), "mark_vmstate_loaded_ns": RANDOM.uniform(0, 1e9, N)}
    columns |= {"mark_vmstate_received_ns": RANDOM.uniform(0, 1e9, N)}
    sample = sample_of_columns(Role.PRIMARY, N, load_ns=values, pause_ns=values + REST_NS, **columns)
    assert look("delayed-ack", sample) and look("bimodal", sample) == []
    (one,) = found(Role.SECONDARY, "ram", values)
    assert one.title.endswith("a delayed acknowledgement apart") and "nodelay" in one.advice
    assert "TCP delay an acknowledgement" in " ".join(one.evidence)


def test_few_or_unknown_values_are_no_modes() -> None:
    values = times(SLOW)
    values[30:] = np.nan
    assert look("bimodal", sample_of_columns(Role.PRIMARY, N, ram_ns=values, pause_ns=REST_NS)) == []
    assert look("bimodal", sample_of_columns(Role.PRIMARY, N)) == []


def test_false_alarms_are_rare() -> None:
    """3,000 runs of one mode, of 20 to 1,000 checkpoints, of shapes that phases have: none is taken for two."""
    alarms = 0
    for n in (20, 60, 200, 1000):
        for _ in range(250):
            body, tail = np.exp(0.05 * RANDOM.normal(size=n)), RANDOM.exponential(size=n)
            for values in (body + tail * (RANDOM.random(n) < 0.2), np.exp(0.5 * RANDOM.normal(size=n)), 1 + tail):
                alarms += len(found(values=values * 20 * MS))
    assert alarms == 0
