"""The plateau of TCP's delayed acknowledgement: what is one, what is not, and what makes it certain."""

from __future__ import annotations

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence
from colotrace.phases import Role

from .samples import PERIOD_NS, look, sample_of_columns

N = 200
TICK_NS = 4_000_000
RANDOM = np.random.default_rng(7)
BEGIN = np.arange(N) * PERIOD_NS + RANDOM.uniform(0, 5_000_000, N)
QUICK = RANDOM.gamma(4, 500_000, N)
STALL = 42_000_000 + RANDOM.uniform(-2_000_000, 2_000_000, N)


def found(load=QUICK, recv=QUICK, ends=None, received=None, reply=5_000_000, base_ns=0, begin=None):  # type: ignore[no-untyped-def]
    sample = sample_of_columns(
        Role.PRIMARY, N, base_ns=base_ns, load_ns=load, recv_ns=recv,
        mark_checkpoint_request_ns=BEGIN, mark_checkpoint_reply_ns=BEGIN + reply,
        begin_ns=BEGIN if begin is None else begin,
        mark_vmstate_loaded_ns=BEGIN + RANDOM.uniform(0, PERIOD_NS, N) if ends is None else ends,
        mark_vmstate_received_ns=BEGIN + RANDOM.uniform(0, PERIOD_NS, N) if received is None else received,
    )  # fmt: skip
    return look("delayed-ack", sample)


def on_ticks(base_ns: int, near: np.ndarray = BEGIN + STALL, tick_ns: int = TICK_NS) -> np.ndarray:  # type: ignore[type-arg]
    """Moments just after a tick, counted from a base that is none."""
    ticks = np.round((near + base_ns) / tick_ns) * tick_ns
    return ticks - base_ns + RANDOM.uniform(0, 200_000, N)


def test_quick_phases_have_none() -> None:
    assert found() == []


@pytest.mark.parametrize("base_ns", [0, 123_456_789_012_345])
def test_a_stall_that_ends_on_ticks_is_certain(base_ns: int) -> None:
    (one,) = found(load=STALL, ends=on_ticks(base_ns), base_ns=base_ns)
    assert (one.phase, one.confidence) == ("load", Confidence.HIGH)
    assert one.numbers["tick_ns"] == TICK_NS and (one.numbers["tick_concentration"] or 0) > 0.9
    assert abs((one.numbers["stall_ns"] or 0) - 42_000_000) < 500_000
    assert one.numbers["part_of_checkpoints"] == 1 and one.cost_ns == 40_000_000
    assert "remedy nodelay --pid 4711" in one.advice


def test_what_begins_on_ticks_may_well_end_on_them() -> None:
    begin = np.arange(N) * 40_000_000.0
    (one,) = found(load=np.full(N, 41_000_000.0), ends=begin + 41_000_000, begin=begin)
    assert one.confidence is Confidence.MEDIUM and one.numbers["tick_concentration"] == 0
    assert one.numbers["tick_ns"] is None


def test_a_stall_that_brings_the_next_begin_to_a_tick_is_certain() -> None:
    """x-checkpoint-delay is a whole number of ticks: what began on one still does other work before it waits."""
    begin = np.arange(N) * 240_000_000.0
    work = RANDOM.uniform(1_000_000, 7_000_000, N)
    ends = np.ceil((begin + work + 40_000_000) / TICK_NS) * TICK_NS
    (one,) = found(load=ends - begin - work, ends=ends, begin=begin)
    assert one.confidence is Confidence.HIGH and one.numbers["tick_ns"] == TICK_NS


def test_off_the_ticks_it_may_be_work() -> None:
    (one,) = found(load=STALL)
    assert one.confidence is Confidence.MEDIUM and "work that takes just as long" in one.confidence_reason


def test_a_network_that_is_as_slow_is_the_network() -> None:
    assert found(recv=STALL, load=STALL, reply=42_000_000) == []
    assert [one.phase for one in found(recv=STALL, load=STALL, reply=19_000_000)] == ["recv", "load"]


def test_on_ticks_it_is_one_over_any_network() -> None:
    (one,) = found(load=STALL, ends=on_ticks(0), reply=42_000_000)
    assert one.confidence is Confidence.HIGH


def test_without_a_reply_its_time_is_null() -> None:
    (one,) = found(recv=STALL, reply=np.nan)
    assert one.numbers["request_to_reply_ns"] is None and one.confidence is Confidence.LOW


@pytest.mark.parametrize(("part", "speaks"), [(0.25, True), (0.15, False)])
def test_it_must_be_in_a_fifth_of_the_checkpoints(part: float, speaks: bool) -> None:
    times = np.where(np.arange(N) < part * N, STALL, QUICK)
    assert bool(found(load=times)) is speaks


def test_edges_that_a_busy_host_has_blurred_matter_less_than_ticks() -> None:
    late = np.where(np.arange(N) % 3 == 0, STALL - 10_000_000, STALL)
    assert found(load=late) == []
    assert [one.confidence for one in found(load=late, ends=on_ticks(0))] == [Confidence.HIGH]


def test_work_of_any_length_ends_on_ticks_without_a_free_processor() -> None:
    work = RANDOM.uniform(30_000_000, 70_000_000, N)
    assert found(load=work, ends=on_ticks(0, BEGIN + work)) == []


def test_a_few_moments_hardly_ever_seem_to_be_on_ticks() -> None:
    """Over a network as slow as a delayed acknowledgement, so that only ticks speak."""
    random, wrong = np.random.default_rng(1), 0
    for _ in range(1_000):
        begin = np.cumsum(random.uniform(150_000_000, 155_000_000, 20))
        wait = random.uniform(40_000_000, 45_000_000, 20)
        wait[12:] += 40_000_000
        wrong += len(look("delayed-ack", sample_of_columns(
            Role.PRIMARY, 20, load_ns=wait, recv_ns=np.full(20, 1e6), begin_ns=begin,
            mark_vmstate_loaded_ns=begin + wait, mark_checkpoint_request_ns=begin,
            mark_checkpoint_reply_ns=begin + 40_000_000,
        )))  # fmt: skip
    assert wrong <= 3


def test_ticks_of_300_hz_are_followed_for_hours() -> None:
    begin = BEGIN + np.arange(N) * 180e9
    (one,) = found(load=STALL, ends=on_ticks(0, begin + STALL, 3_333_333), begin=begin)
    assert one.numbers["tick_ns"] == 3_333_333 and (one.numbers["tick_concentration"] or 0) > 0.9


def test_the_timer_is_of_the_kernel_that_owes_the_acknowledgement() -> None:
    """The primary's ends load; recv's is the secondary's, which may be another host."""
    (load,) = found(load=STALL, ends=on_ticks(0))
    assert any("a timer of this kernel" in line for line in load.evidence)
    (recv,) = found(recv=STALL, received=on_ticks(0))
    assert recv.confidence is Confidence.HIGH
    assert any("a timer of the secondary's kernel" in line for line in recv.evidence)
    assert not any("this host" in line for line in recv.evidence)


@pytest.mark.parametrize("spread_ns", [6_000_000, 20_000_000])
def test_a_broad_hill_around_it_is_work(spread_ns: int) -> None:
    assert found(load=np.maximum(RANDOM.normal(44_000_000, spread_ns, N), 0)) == [] or spread_ns < 10_000_000
    assert found(load=RANDOM.uniform(30_000_000, 58_000_000, N)) == []


def test_on_either_phase_or_both() -> None:
    assert [one.phase for one in found(load=STALL, recv=STALL)] == ["recv", "load"]
