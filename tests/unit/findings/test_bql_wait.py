"""Waits for the big lock: what is one, how many matter, whose they are."""

from __future__ import annotations

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.rule import Unknowable
from colotrace.phases import Role

from .samples import look, sample_of_columns

N = 100
MS = 1_000_000
FREE = 4_000


def some(count: int, wait_ns: float) -> np.ndarray:  # type: ignore[type-arg]
    """Times of a lock that is free but for `count` checkpoints."""
    waits = np.full(N, float(FREE))
    waits[:count] = wait_ns
    return waits


def found(stat=FREE, resume=FREE, **columns) -> list[Finding]:  # type: ignore[no-untyped-def]
    columns = {"total_ns": 20 * MS, "other_ns": 8_000, "mark_checkpoint_request_ns": -5 * MS, **columns}
    sample = sample_of_columns(
        Role.PRIMARY, N, mark_checkpoint_reply_ns=0, mark_vm_stop_ns=stat,
        mark_vmstate_loaded_ns=0, mark_vm_start_ns=resume, **columns,
    )  # fmt: skip
    return look("bql-wait", sample)


def test_a_free_lock_is_no_wait() -> None:
    assert found() == []


def test_in_the_pause_it_costs_the_guest_time() -> None:
    (one,) = found(resume=some(30, 25 * MS))
    assert (one.phase, one.confidence, one.cost_ns) == ("resume", Confidence.HIGH, 7_500_000)
    assert one.numbers["wait_ns"] == one.numbers["wait_p95_ns"] == 25 * MS
    assert (one.numbers["part_of_checkpoints"], one.numbers["resume_part"], one.numbers["stat_part"]) == (0.3, 0.3, 0)
    assert one.numbers["request_to_reply_ns"] == 5 * MS
    assert "otherwise 4.00 µs" in one.evidence[1] and "in the pause" in one.evidence[1]


def test_before_the_vm_stops_it_does_not() -> None:
    (one,) = found(stat=some(30, 25 * MS))
    assert (one.phase, one.cost_ns, one.numbers["mean_ns"]) == ("stat", 0, 7_500_000)


@pytest.mark.parametrize(
    ("count", "wait_ns", "is_one"),
    [
        (5, 20 * MS, True),
        (5, 20 * MS - 1, False),  # less than 5 % of the total
        (4, 25 * MS, False),  # too few
        (100, 1 * MS, True),
        (100, 1 * MS - 1, False),  # too short
    ],
)
def test_few_or_short_ones_do_not_matter(count: int, wait_ns: float, is_one: bool) -> None:
    assert bool(found(resume=some(count, wait_ns))) is is_one


def test_one_huge_wait_is_no_pattern() -> None:
    waits = some(6, 2 * MS)
    waits[0] = 1e9
    assert found(stat=waits) == []


def test_a_thread_that_is_late_everywhere_makes_it_less_certain() -> None:
    late = np.where(np.arange(N) < 20, 3 * MS, 8_000)
    (one,) = found(resume=some(30, 25 * MS), other_ns=late)
    assert one.confidence is Confidence.MEDIUM


def test_the_secondary_takes_it_first_of_all() -> None:
    sample = sample_of_columns(
        Role.SECONDARY, N, mark_checkpoint_request_ns=0, mark_vm_stop_ns=some(10, 60 * MS), total_ns=20 * MS
    )
    (one,) = look("bql-wait", sample)
    assert (one.phase, one.cost_ns, one.numbers["mean_ns"]) == ("stat", 0, 6 * MS)


def test_without_marks_it_cannot_tell() -> None:
    with pytest.raises(Unknowable):
        look("bql-wait", sample_of_columns(Role.PRIMARY, N, total_ns=20 * MS))
