"""Stopping that takes long: requests in flight gather at a latency, vCPUs without a processor do not."""

from __future__ import annotations

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.rule import Unknowable
from colotrace.phases import Role

from .samples import look, sample_of_columns

N = 100
MS = 1_000_000
RANDOM = np.random.default_rng(5)
QUICK = RANDOM.uniform(0.1, 0.8, N) * MS


def found(stop, lock=4_000, pause=30 * MS) -> list[Finding]:  # type: ignore[no-untyped-def]
    sample = sample_of_columns(
        Role.SECONDARY, N, mark_checkpoint_request_ns=-np.asarray(lock), mark_vm_stop_ns=0, mark_vm_stopped_ns=stop,
        mark_vm_start_ns=0, mark_vm_started_ns=300_000, pause_ns=pause,
    )  # fmt: skip
    return look("vm-stop-wait", sample)


def with_some(count: int, wait_ns: float) -> np.ndarray:  # type: ignore[type-arg]
    """Quick but for `count` checkpoints."""
    times = QUICK.copy()
    times[:count] = wait_ns
    return times


def test_a_vm_that_stops_at_once_has_none() -> None:
    assert found(QUICK) == []


def test_requests_that_are_always_in_flight() -> None:
    stop = RANDOM.uniform(15, 30, N) * MS
    (one,) = found(stop)
    assert (one.phase, one.confidence, one.numbers["part_of_checkpoints"]) == ("stat", Confidence.MEDIUM, 1)
    assert one.numbers["wait_ns"] == round(np.sort(stop)[(N - 1) // 2])
    assert "block devices" in one.title and "or a flush" in one.confidence_reason  # QEMU flushes them in any case
    assert one.cost_ns == round(stop.mean()) and one.numbers["start_ns"] == 300_000


def test_some_checkpoints_only_are_a_hint() -> None:
    (one,) = found(with_some(10, 31 * MS))
    assert one.confidence is Confidence.LOW and one.numbers["part_of_checkpoints"] == 0.1
    assert one.cost_ns == round(3.1 * MS)


@pytest.mark.parametrize(
    ("stop", "is_one"),
    [
        (with_some(10, 15 * MS), True),
        (with_some(10, 14.9 * MS), False),  # under 5 % of the pause
        (with_some(9, 31 * MS), False),  # too few
        (with_some(89, 9.9 * MS), False),  # short, and not always
        (with_some(91, 2 * MS), True),
        (with_some(91, 1.9 * MS), False),  # short
    ],
)
def test_few_or_short_ones_do_not_matter(stop, is_one: bool) -> None:  # type: ignore[no-untyped-def]
    assert bool(found(stop)) is is_one


@pytest.mark.parametrize("others", [3, 4])
def test_waits_of_any_length_are_the_schedulers(others: int) -> None:
    """Of requests in flight at least three times as many are alike."""
    stop = with_some(10, 31 * MS)
    stop[10 : 10 + others] = 5 * MS
    assert bool(found(stop)) is (others == 3)


def test_vcpus_that_lack_a_processor() -> None:
    """As on a machine with twice as many busy processes as processors."""
    assert found(np.concatenate([RANDOM.exponential(9, N - 15) * MS, QUICK[:15]])) == []


def test_a_lock_that_is_held_keeps_stopping_up_too() -> None:
    stop = with_some(30, 31 * MS)
    lock = np.full(N, 4_000)
    lock[30:46] = 20 * MS
    assert found(stop, lock) == []
    lock[45] = 4_000
    assert len(found(stop, lock)) == 1


def test_without_marks_it_cannot_tell() -> None:
    with pytest.raises(Unknowable):
        look("vm-stop-wait", sample_of_columns(Role.SECONDARY, N, pause_ns=MS))
