"""From what the kernel program kept of who asked for a checkpoint to its trigger, or to why there is none."""

from __future__ import annotations

import ctypes as ct

import pytest

from colotrace.checkpoint import Checkpoint
from colotrace.kernel import layout
from colotrace.phases import NOTIFIES, PROCESS_BOUNDARIES, TRIGGERS, Effect, Role, Trigger, merged, through_timer
from colotrace.recording.schema import from_row, to_row
from colotrace.resolve.plan import Triggers


def decoded(notified: dict[Trigger, int], *, role: Role = Role.PRIMARY, known: bool = True) -> Checkpoint:
    record = layout.CheckpointRecord(sequence=3, outcome=1, seen=layout.SEEN_BEGIN | known * layout.SEEN_NOTIFIES)
    record.header = layout.EventHeader(kind=layout.KIND_CHECKPOINT, role=role.number)
    for trigger, when in notified.items():
        record.notified_ns[trigger.number - 1] = when

    def reason(of: Role, field: str) -> str | None:
        return "the primary decides" if of is Role.SECONDARY and field == "trigger" else None

    event = layout.decode_event(bytes(record), lambda _index: 7, reason)
    assert isinstance(event, Checkpoint)
    return event


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_whoever_asked_alone(trigger: Trigger) -> None:
    checkpoint = decoded({trigger: 5_000})
    record = checkpoint.as_json()
    assert checkpoint.trigger is trigger and record["trigger"] == trigger.value
    assert record["trigger_evidence"] == {f"{trigger.value}_ns": 5_000} and "trigger" not in checkpoint.missing


def test_the_first_of_several() -> None:
    """The event is set already when the others come."""
    checkpoint = decoded({Trigger.TIMER: 5_001, Trigger.COMPARE: 5_000, Trigger.PARAMETER: 9_000})
    assert checkpoint.trigger is Trigger.COMPARE
    assert checkpoint.as_json()["trigger_evidence"] == {"timer_ns": 5_001, "compare_ns": 5_000, "parameter_ns": 9_000}


def test_nobody_asked() -> None:
    checkpoint = decoded({})
    assert checkpoint.trigger is None and checkpoint.as_json()["trigger_evidence"] == {}
    assert "nobody who is known" in checkpoint.missing["trigger"]


def test_not_watched_from_the_reset_on() -> None:
    """Somebody else may have come before."""
    checkpoint = decoded({Trigger.TIMER: 5_000}, known=False)
    assert checkpoint.trigger is None and checkpoint.as_json()["trigger_evidence"] is None
    assert "attached later" in checkpoint.missing["trigger"]


def test_the_secondary_is_told() -> None:
    checkpoint = decoded({Trigger.TIMER: 5_000}, role=Role.SECONDARY)
    assert checkpoint.trigger is None and checkpoint.missing["trigger"] == "the primary decides"


def test_cookies_tell_who() -> None:
    cookies = {boundary.cookie(None, 1) for boundary in PROCESS_BOUNDARIES}
    assert len(cookies) == len(PROCESS_BOUNDARIES)
    assert through_timer(NOTIFIES[Trigger.PARAMETER]).cookie(None, 1) >> 48 == Trigger.PARAMETER.number
    assert NOTIFIES[Trigger.TIMER].effects & Effect.THROUGH_TIMER == 0
    with pytest.raises(ValueError, match="belongs to the process"):
        merged(NOTIFIES[Trigger.TIMER], NOTIFIES[Trigger.COMPARE])


def test_reasons_are_in_the_json() -> None:
    told = Triggers({Trigger.TIMER: "seen"}, {Trigger.COMPARE: "not found"}).as_json()
    assert told["timer"] == {"evidence": "seen", "reason": None}
    assert told["compare"] == {"evidence": None, "reason": "not found"}
    assert set(told) == {trigger.value for trigger in Trigger}


def test_the_room_for_them() -> None:
    assert ct.sizeof(layout.CheckpointRecord().notified_ns) == 8 * len(TRIGGERS)


@pytest.mark.parametrize("checkpoint", [decoded({Trigger.COMPARE: 5_000}), decoded({}), decoded({}, known=False)])
def test_a_recording_keeps_it(checkpoint: Checkpoint) -> None:
    line = {"type": "checkpoint", **checkpoint.as_json()}
    row = to_row(line)
    assert row["trigger"] == line["trigger"] and "more" in row and row["more"] is None
    assert from_row(row) == line
