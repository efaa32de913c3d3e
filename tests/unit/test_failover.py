"""Failovers made from events: what died, after which good checkpoint, when, and what was not seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from colotrace.checkpoint import Attempt, Checkpoint, ColoExit, Event, Failover, InitDone, Outcome, Takeover
from colotrace.failover import (
    BEGUN_BEFORE,
    COLO_AGAIN,
    DEAF,
    IN_PART,
    LOST,
    MAY_BE_LOST,
    NEVER_GOOD,
    NO_LOADED,
    NO_REASON,
    NO_VM_START,
    NONE_UNDER_WAY,
    NOT_ASKED,
    PROCESS_ENDED,
    FailoverWatch,
    with_status,
)
from colotrace.phases import MARKS, Mark, Role
from colotrace.recording.lines import event_json, json_line
from colotrace.sentences import as_note, failover_line

MS = 1_000_000
AFTER = {"last_good", "last_good_ns", "exit_after_ns", "takeover_after_ns"}


def checkpoint(
    sequence: int, outcome: Outcome = Outcome.COMPLETED, died_in: str | None = None, role: Role = Role.PRIMARY,
    marks: tuple[Mark, ...] = (),
) -> Checkpoint:  # fmt: skip
    """Number n begins at n * 100 ms and takes 20."""
    whole = outcome is Outcome.COMPLETED
    return Checkpoint(
        role, 7, 8, sequence, outcome, sequence * 100 * MS, 20 * MS if whole else None, {}, None, None, None, None,
        None, dict.fromkeys(marks, 1), died_in,
    )  # fmt: skip


def died(sequence: int, phase: str, role: Role = Role.PRIMARY, marks: tuple[Mark, ...] = ()) -> Checkpoint:
    return checkpoint(sequence, Outcome.ABORTED, phase, role, marks)


def leaving(when_ms: int, begun: int | None, reason: str = "error", role: Role = Role.PRIMARY) -> ColoExit:
    return ColoExit(role, 7, when_ms * MS, role.value, reason, begun)


def takeover(when_ms: int, exit_ms: int, role: Role = Role.PRIMARY) -> Takeover:
    return Takeover(role, 7, when_ms * MS, exit_ms * MS)


def watched(*events: Event, **options: Any) -> FailoverWatch:
    watch = FailoverWatch(**options)
    for event in events:
        watch.add(event)
    return watch


def only(*events: Event) -> Failover:
    (failover,) = watched(*events).failovers
    return failover


def test_a_primary_that_failed_in_load_and_went_round_its_loop() -> None:
    events = (
        InitDone(Role.PRIMARY, 7, 1, 2, None), checkpoint(1), checkpoint(2), died(3, "load"), died(4, "stat"),
        leaving(410, 4), takeover(620, 410),
    )  # fmt: skip
    failover = only(*events)
    assert failover == Failover(
        Role.PRIMARY, 7, 1, "primary", "error", 410 * MS, 2, 2, 220 * MS, "load",
        (Attempt(3, 300 * MS, "load"), Attempt(4, 400 * MS, "stat")), False, 620 * MS, None,
        {"status_reason": NOT_ASKED},
    )  # fmt: skip
    assert (failover.exit_after_ns, failover.takeover_after_ns) == (190 * MS, 400 * MS)
    assert [watch.add(event) for watch in [FailoverWatch()] for event in events] == [None] * 6 + [failover]


def test_between_two_checkpoints_nothing_dies() -> None:
    failover = only(checkpoint(5), leaving(530, 5, "request"), takeover(531, 530))
    assert failover.died_in is None and failover.attempts == () and failover.relaunched is None
    assert failover.missing == {
        "died_in": NONE_UNDER_WAY, "relaunched": NONE_UNDER_WAY, "status_reason": NOT_ASKED, "entered_ns": BEGUN_BEFORE,
    }  # fmt: skip
    assert failover.exit_after_ns == 10 * MS


@pytest.mark.parametrize(
    ("role", "marks", "relaunched"),
    [
        (Role.SECONDARY, (Mark.VM_STOP, Mark.VM_START), True),
        (Role.SECONDARY, (Mark.VM_STOP, Mark.VM_START, Mark.VMSTATE_LOADED), False),
        (Role.SECONDARY, (Mark.VM_STOP,), False),
        (Role.PRIMARY, (Mark.VM_STOP, Mark.VM_START), False),
    ],
)
def test_relaunch_is_a_loaded_state_that_was_not_confirmed(
    role: Role, marks: tuple[Mark, ...], relaunched: bool
) -> None:
    failover = only(
        checkpoint(1, role=role), died(2, "load", role, marks), leaving(250, 2, role=role), takeover(300, 250, role)
    )
    assert failover.relaunched is relaunched and failover.died_in == "load"
    assert ("RELAUNCH" in failover_line(failover)) is relaunched


@pytest.mark.parametrize(
    ("unprobed", "passed", "relaunched", "reason"),
    [
        (Mark.VMSTATE_LOADED, (Mark.VM_STOP, Mark.VM_START), None, NO_LOADED),
        (Mark.VMSTATE_LOADED, (Mark.VM_STOP,), False, None),
        (Mark.VM_START, (Mark.VM_STOP,), None, NO_VM_START),
        (Mark.VM_START, (Mark.VM_STOP, Mark.VMSTATE_LOADED), False, None),
    ],
)
def test_relaunch_is_unknown_where_its_probes_are_missing(
    unprobed: Mark, passed: tuple[Mark, ...], relaunched: bool | None, reason: str | None
) -> None:
    secondary = Role.SECONDARY
    (failover,) = watched(
        checkpoint(1, role=secondary), died(2, "load", secondary, passed), leaving(250, 2, role=secondary),
        takeover(300, 250, secondary), secondary_marks=set(MARKS) - {unprobed},
    ).failovers  # fmt: skip
    assert failover.relaunched is relaunched and failover.missing.get("relaunched") == reason
    assert failover.died_in == "load" and "RELAUNCH" not in failover_line(failover)


def test_a_primary_relaunches_nothing_whatever_the_secondary_probes() -> None:
    (failover,) = watched(died(1, "load"), leaving(150, 1), takeover(160, 150), secondary_marks=()).failovers
    assert failover.relaunched is False and "relaunched" not in failover.missing


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([leaving(50, 0)], NEVER_GOOD),
        ([died(1, "recv"), leaving(150, 1)], NEVER_GOOD),
        ([checkpoint(1), checkpoint(2, Outcome.INCOMPLETE), leaving(250, 2)], IN_PART),
        ([checkpoint(1), died(3, "recv"), leaving(350, 3)], LOST),
        ([checkpoint(1), leaving(350, 3)], LOST),
        ([leaving(350, 3)], LOST),
        ([InitDone(Role.PRIMARY, 7, 1, 2, None), died(2, "recv"), leaving(250, 2)], LOST),
        ([died(2, "recv"), leaving(250, 2)], LOST),
    ],
)
def test_the_last_good_one_is_not_guessed(events: list[Event], reason: str) -> None:
    watch = watched(*events, takeover(400, events[-1].when_ns // MS))  # type: ignore[union-attr]
    (failover,) = watch.failovers
    assert failover.last_good is failover.last_good_ns is failover.exit_after_ns is failover.takeover_after_ns is None
    assert {name for name, why in failover.missing.items() if why == reason} >= AFTER
    if reason is LOST:
        assert failover.died_in is None and failover.missing["died_in"] == LOST
    assert failover.takeover_ns == 400 * MS


@pytest.mark.parametrize(
    "events", [[checkpoint(1), checkpoint(2, Outcome.INCOMPLETE)], [died(1, "recv"), checkpoint(2, Outcome.INCOMPLETE)]]
)
def test_what_was_seen_in_part_may_have_died(events: list[Event]) -> None:
    failover = only(*events, leaving(250, 2), takeover(300, 250))
    assert failover.died_in is None and failover.relaunched is None and failover.attempts == ()
    assert failover.missing["died_in"] == failover.missing["relaunched"] == IN_PART


def test_a_later_attempt_is_not_taken_for_the_first() -> None:
    events = [checkpoint(1), checkpoint(2, Outcome.INCOMPLETE), died(3, "stat")]
    failover = only(*events, leaving(350, 3), takeover(400, 350))
    assert failover.died_in is None and failover.missing["died_in"] == IN_PART
    assert [attempt.sequence for attempt in failover.attempts] == [3]


def test_what_was_lost_before_a_good_one_does_not_matter() -> None:
    failover = only(checkpoint(1), died(3, "recv"), checkpoint(6), leaving(640, 6), takeover(700, 640))
    assert failover.last_good == 6 and failover.attempts == ()


def test_nobody_takes_over() -> None:
    watch = watched(checkpoint(1), leaving(150, 1))
    assert watch.failovers == []
    failover = watch.close(PROCESS_ENDED)
    assert failover and watch.failovers == [failover] and watch.close(PROCESS_ENDED) is None
    assert failover.missing["takeover_ns"] == failover.missing["takeover_after_ns"] == PROCESS_ENDED
    assert PROCESS_ENDED in failover_line(failover) and "takeover after -" in failover_line(failover)
    deaf = watched(checkpoint(1), leaving(150, 1), hears_takeover=False).close(PROCESS_ENDED)
    assert deaf and deaf.missing["takeover_ns"] == DEAF


def test_a_takeover_from_another_exit_is_not_this_ones() -> None:
    watch = watched(checkpoint(1), leaving(150, 1), takeover(170, 149))
    assert watch.failovers == []


def test_a_takeover_may_come_before_its_exit() -> None:
    """The kernel publishes the exit's time before its event, and the main thread may start the VM in between."""
    events = (checkpoint(1), takeover(170, 150), leaving(150, 1))
    watch = FailoverWatch()
    *before, failover = [watch.add(event) for event in events]
    assert before == [None, None] and failover and watch.failovers == [failover]
    assert failover.takeover_ns == 170 * MS and failover.takeover_after_ns == 50 * MS
    assert not {"takeover_ns", "takeover_after_ns"} & set(failover.missing) and watch.close(PROCESS_ENDED) is None


def test_an_early_takeover_belongs_to_its_own_exit_only() -> None:
    watch = FailoverWatch()
    assert [watch.add(event) for event in (checkpoint(1), leaving(150, 1))] == [None, None]
    first = watch.add(takeover(270, 250))
    second = watch.add(leaving(250, 1))
    assert first and first.takeover_ns is None and first.missing["takeover_ns"] == COLO_AGAIN
    assert second and second.takeover_ns == 270 * MS and watch.failovers == [first, second]
    assert watch.add(leaving(350, 1)) is None, "an old takeover is not this one's"


def test_a_takeover_may_be_among_what_was_lost() -> None:
    failover = watched(checkpoint(1), leaving(150, 1)).close(PROCESS_ENDED, lost_events=True)
    assert failover and failover.missing["takeover_ns"] == failover.missing["takeover_after_ns"] == MAY_BE_LOST
    deaf = watched(checkpoint(1), leaving(150, 1), hears_takeover=False).close(PROCESS_ENDED, lost_events=True)
    assert deaf and deaf.missing["takeover_ns"] == DEAF


def test_colo_again_is_a_new_stretch_with_running_numbers() -> None:
    """A secondary takes over, becomes the primary of a new pair, and loses that one as well."""
    secondary = Role.SECONDARY
    watch = watched(
        checkpoint(1, role=secondary), died(2, "wait", secondary), leaving(205, 2, role=secondary),
        takeover(206, 205, secondary),
        InitDone(Role.PRIMARY, 7, 300 * MS, 301 * MS, None), checkpoint(4), leaving(450, 1), takeover(455, 450),
        InitDone(Role.PRIMARY, 7, 500 * MS, 501 * MS, None), died(2, "recv"), leaving(550, 2), takeover(560, 550),
    )  # fmt: skip
    first, second, third = watch.failovers
    assert [f.number for f in watch.failovers] == [1, 2, 3]
    assert (first.role, first.entered_ns, first.last_good) == (secondary, None, 1)
    assert (second.role, second.entered_ns) == (Role.PRIMARY, 301 * MS)
    assert second.missing["last_good"] == LOST, "the kernel counted one transaction, and this was number 4"
    assert third.missing["last_good"] == NEVER_GOOD, "what was good before COLO began again is no good any more"
    assert third.attempts == (Attempt(2, 200 * MS, "recv"),)


def test_colo_again_without_a_takeover() -> None:
    (failover,) = watched(checkpoint(1), leaving(150, 1), InitDone(Role.PRIMARY, 7, 1, 2, None)).failovers
    assert failover.missing["takeover_ns"] == COLO_AGAIN


def test_colo_status() -> None:
    failover = only(checkpoint(1), leaving(150, 1), takeover(160, 150))
    asked = with_status(failover, {"mode": "none", "last-mode": "primary", "reason": "request"})
    assert asked.status_reason == "request" and "status_reason" not in asked.missing
    assert "reason error, query-colo-status: request" in failover_line(asked)
    silent = with_status(failover, None, "no answer")
    assert silent.status_reason is None and silent.missing["status_reason"] == "no answer"
    for status in ({}, {"reason": 5}):
        assert with_status(failover, status).missing["status_reason"] == NO_REASON


def test_a_line_of_its_own() -> None:
    failover = only(checkpoint(1), died(2, "recv"), leaving(250, 2), takeover(300, 250))
    line = event_json(failover)
    assert line["type"] == "failover" and "event" not in line
    assert line["attempts"] == [{"sequence": 2, "begin_ns": 200 * MS, "died_in": "recv"}]
    assert (line["exit_after_ns"], line["takeover_after_ns"]) == (130 * MS, 180 * MS)
    assert json.loads(json_line(line)) == line
    assert failover_line(failover) == as_note(failover).message == (
        "failover primary 7 #1  reason error  last good #1  died #2 in recv  COLO exit after 130 ms  "
        "takeover after 180 ms"
    )  # fmt: skip
