"""From the ring buffer's bytes to records: exact values, reasons for what is missing, and DecodeError for all else."""

from __future__ import annotations

import ctypes as ct
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from colotrace.checkpoint import Checkpoint, ColoExit, InitDone, Outcome, Takeover
from colotrace.kernel import layout
from colotrace.kernel.layout import CheckpointRecord, DecodeError, Totals, decode_event, decode_totals
from colotrace.phases import MARKS, PHASES, ROLE_PHASES, TRIGGERS, Phase, Role

ALL_SEEN = 0x1FF | layout.SEEN_BEGIN | layout.SEEN_COMPLETE | layout.SEEN_PAUSE | layout.SEEN_DEVICE_BYTES
ALL_SEEN |= layout.SEEN_RAM | layout.SEEN_TOTAL | layout.SEEN_OTHER | layout.SEEN_NOTIFIES
FIELDS = (
    "wait_ns", "stat_ns", "dev_ns", "ram_ns", "put_ns", "recv_ns", "load_ns", "resume_ns", "begin_ns", "total_ns",
    "other_ns", "pause_ns", "device_bytes", "ram_bytes", "ram_pages", "trigger",
)  # fmt: skip


def pid_of(target: int) -> int:
    return 1000 + target


def no_reason(role: Role, field: str) -> str | None:
    return None


def record(
    kind: int = 1, role: int = 1, outcome: int = 1, seen: int = ALL_SEEN, open_phase: int = 0, suspended_ms: int = 0
) -> bytes:
    """A checkpoint's bytes, packed by hand: phase N took 100 N, mark N was at 5000 + N, trigger N at 3000 + N."""
    head = struct.pack("<BBHI", kind, role, 3, 77)
    head += struct.pack("<IIBBHI", 12, seen, outcome, open_phase, 0xFFFF, suspended_ms)
    times = struct.pack("<QQ9Q", 4000, 4700, *(100 * n for n in range(1, 10)))
    moments = struct.pack("<13Q4Q", *range(5001, 5014), *range(3001, 3005))
    return head + times + struct.pack("<QQQQQ", 21, 22, 23, 24, 25) + moments


def small(kind: int, *times: int, role: int = 2) -> bytes:
    return struct.pack("<BBHI3Q", kind, role, 9, 88, *times)


def test_a_whole_checkpoint() -> None:
    checkpoint = decode_event(record(), pid_of, no_reason)
    assert checkpoint == Checkpoint(
        role=Role.PRIMARY, pid=1003, tid=77, sequence=12, outcome=Outcome.COMPLETED, begin_ns=4000, total_ns=4700,
        phase_ns={phase: 100 * phase.number for phase in PHASES if phase is not Phase.INIT}, other_ns=21, pause_ns=22,
        device_bytes=23, ram_bytes=24, ram_pages=25, marks_ns={mark: 5000 + mark.number for mark in MARKS},
        notified_ns={trigger: 3001 + at for at, trigger in enumerate(TRIGGERS)},
    )  # fmt: skip
    assert checkpoint.completed


def test_a_suspension_is_told_and_takes_nothing_away() -> None:
    checkpoint = decode_event(record(outcome=2, suspended_ms=5000), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint) and checkpoint.suspended_ms == 5000 and checkpoint.missing == {}
    assert checkpoint.as_json()["suspended_ms"] == 5000
    whole = decode_event(record(), pid_of, no_reason)
    assert isinstance(whole, Checkpoint) and "suspended_ms" not in whole.as_json()


def test_bytes_behind_a_record_are_the_ring_buffers_padding() -> None:
    assert decode_event(record() + b"\xff" * 7, pid_of, no_reason) == decode_event(record(), pid_of, no_reason)


def test_what_was_not_seen_is_missing_with_a_reason() -> None:
    checkpoint = decode_event(record(seen=0), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint)
    assert set(checkpoint.missing) == set(FIELDS)
    assert all(checkpoint.missing.values())
    assert not checkpoint.phase_ns
    as_json = checkpoint.as_json()
    assert all(as_json[field] is None for field in FIELDS)


@pytest.mark.parametrize("phase", [p for p in PHASES if p is not Phase.INIT], ids=lambda p: p.value)
def test_one_phase_not_seen(phase: Phase) -> None:
    checkpoint = decode_event(record(seen=ALL_SEEN & ~(1 << phase.number - 1)), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint)
    assert set(checkpoint.missing) == {f"{phase.value}_ns"}
    assert phase not in checkpoint.phase_ns and len(checkpoint.phase_ns) == 7


@pytest.mark.parametrize(
    ("bit", "fields"),
    [
        (layout.SEEN_BEGIN, {"begin_ns"}),
        (layout.SEEN_PAUSE, {"pause_ns"}),
        (layout.SEEN_DEVICE_BYTES, {"device_bytes"}),
        (layout.SEEN_RAM, {"ram_bytes", "ram_pages"}),
        (layout.SEEN_TOTAL, {"total_ns"}),
        (layout.SEEN_OTHER, {"other_ns"}),
    ],
)
def test_one_bit_not_seen(bit: int, fields: set[str]) -> None:
    checkpoint = decode_event(record(seen=ALL_SEEN & ~bit), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint)
    assert set(checkpoint.missing) == fields
    assert all(getattr(checkpoint, field) is None for field in fields)


def test_the_plans_reason_comes_first() -> None:
    def reason(role: Role, field: str) -> str | None:
        return f"{role.value} has no {field}" if field == "dev_ns" else None

    checkpoint = decode_event(record(role=2, seen=0), pid_of, reason)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.missing["dev_ns"] == "secondary has no dev_ns"
    assert checkpoint.missing["ram_ns"] != "secondary has no ram_ns"


@pytest.mark.parametrize(
    ("outcome", "seen", "field", "words"),
    [
        (3, layout.SEEN_BEGIN, "load_ns", "aborted"),
        (2, 0, "stat_ns", "middle"),
        (2, layout.SEEN_BEGIN, "stat_ns", "not both seen"),
        (2, layout.SEEN_BEGIN, "wait_ns", "during this wait"),
    ],
)
def test_reasons_tell_what_happened(outcome: int, seen: int, field: str, words: str) -> None:
    checkpoint = decode_event(record(outcome=outcome, seen=seen), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint)
    assert words in checkpoint.missing[field]


@pytest.mark.parametrize(("number", "name"), [(0, "other"), (7, "recv"), (9, "resume"), (10, "other"), (255, "other")])
def test_aborted_in(number: int, name: str) -> None:
    checkpoint = decode_event(record(outcome=3, open_phase=number), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint)
    assert (checkpoint.outcome, checkpoint.aborted_in) == (Outcome.ABORTED, name)


def test_a_completed_checkpoint_was_not_aborted_in_anything() -> None:
    checkpoint = decode_event(record(open_phase=4), pid_of, no_reason)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.aborted_in is None and "aborted_in" not in checkpoint.as_json()


def test_small_events() -> None:
    assert decode_event(small(2, 10, 20, 15), pid_of, no_reason) == InitDone(Role.SECONDARY, 1009, 10, 20, 15)
    assert decode_event(small(2, 10, 20, 0), pid_of, no_reason) == InitDone(Role.SECONDARY, 1009, 10, 20, None)
    assert decode_event(small(4, 30, 25, 0, role=1), pid_of, no_reason) == Takeover(Role.PRIMARY, 1009, 30, 25)


@pytest.mark.parametrize(
    ("mode", "reason", "mode_name", "reason_name"),
    [
        (0, 0, "none", "none"), (1, 1, "primary", "request"), (2, 2, "secondary", "error"),
        (2, 3, "secondary", "processing"), (3, 4, "unknown-3", "unknown-4"),
        (2**32 - 1, 2**32 - 2, f"unknown-{2**32 - 1}", f"unknown-{2**32 - 2}"),
    ],
)  # fmt: skip
def test_colo_exit(mode: int, reason: int, mode_name: str, reason_name: str) -> None:
    event = decode_event(small(3, 40, mode | reason << 32, 17), pid_of, no_reason)
    assert event == ColoExit(Role.SECONDARY, 1009, 40, mode_name, reason_name, 17)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_too_short_for_a_header(size: int) -> None:
    with pytest.raises(DecodeError, match=f"{size} bytes"):
        decode_event(record()[:size], pid_of, no_reason)


@pytest.mark.parametrize("size", [8, 31, 32, ct.sizeof(CheckpointRecord) - 1])
def test_too_short_for_a_checkpoint(size: int) -> None:
    with pytest.raises(DecodeError, match="too few"):
        decode_event(record()[:size], pid_of, no_reason)


@pytest.mark.parametrize("kind", [2, 3, 4, 200])
def test_too_short_for_a_small_event(kind: int) -> None:
    with pytest.raises(DecodeError):
        decode_event(small(kind, 1, 2, 3)[:-1], pid_of, no_reason)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (small(0, 1, 2, 3), "kind 0"), (small(5, 1, 2, 3), "kind 5"), (small(255, 1, 2, 3), "kind 255"),
        (record(role=0), "role 0"), (record(role=3), "role 3"), (small(2, 1, 2, 3, role=255), "role 255"),
        (record(outcome=0), "outcome 0"), (record(outcome=4), "outcome 4"), (record(outcome=255), "outcome 255"),
    ],
)  # fmt: skip
def test_unknown_numbers(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode_event(data, pid_of, no_reason)


@given(st.binary(max_size=300) | st.binary(min_size=270, max_size=280).map(lambda rest: b"\1\1\0\0" + rest))
@example(b"\1\1\0\0" + b"\1" * 280)
def test_random_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        event = decode_event(data, pid_of, no_reason)
    except DecodeError:
        return
    assert event.role in Role
    if isinstance(event, Checkpoint):
        assert event.as_json()["outcome"] == event.outcome.value


@pytest.mark.parametrize("role", list(Role))
def test_totals(role: Role) -> None:
    totals = Totals()
    numbers = iter(range(1, 1000))
    for name, *_ in Totals._fields_:
        field = getattr(totals, name)
        if isinstance(field, ct.Array):
            for n in range(len(field)):
                field[n] = next(numbers)
        else:
            setattr(totals, name, next(numbers))
    sums = decode_totals(totals, role, 5)
    assert (sums.checkpoints, sums.total_ns, sums.other_ns) == (totals.tot_num, totals.tot_time, totals.other_ns)
    assert list(sums.phase_ns) == list(sums.phase_num) == list(ROLE_PHASES[role])
    assert sums.phase_ns[Phase.LOAD] == totals.phase_ns[7] and sums.phase_num[Phase.LOAD] == totals.seen_num[7]
    same = ("pause_ns", "pause_num", "device_bytes", "device_num", "ram_bytes", "ram_pages", "ram_num", "incomplete")
    for name in (*same, "aborted", "lost_records", "last_completed_ns"):
        assert getattr(sums, name) == getattr(totals, name), name
    assert (sums.begun, sums.idle_since_ns) == (totals.sequence, totals.idle_since_ns)
    assert sums.mean_ns(Phase.LOAD) == totals.phase_ns[7] / totals.seen_num[7]


def test_a_mean_of_nothing_is_none() -> None:
    assert decode_totals(Totals(), Role.SECONDARY, 5).mean_ns(Phase.RAM) is None
    assert decode_totals(Totals(), Role.SECONDARY, 5).mean_ns(Phase.DEV) is None
