"""The structs of bpf/colo_phases.h, and the decoder from the kernel's bytes to what colotrace.checkpoint defines.

Pure: bytes in, records out. `sizes()` lets a test hold the layout against the C compiler's.
"""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable

from colotrace.checkpoint import Checkpoint, CheckpointTotals, ColoExit, InitDone, Outcome, Takeover
from colotrace.phases import MARKS, PHASES, ROLE_PHASES, TRIGGERS, Phase, Role, Trigger

KIND_CHECKPOINT, KIND_INIT, KIND_COLO_EXIT, KIND_TAKEOVER = 1, 2, 3, 4
SEEN_BEGIN, SEEN_COMPLETE, SEEN_PAUSE, SEEN_DEVICE_BYTES, SEEN_RAM, SEEN_TOTAL, SEEN_OTHER, SEEN_NOTIFIES = (
    1 << bit for bit in range(16, 24)
)
PROBES_NOT_ALL, PROBES_ARMED, PROBES_LOST = range(3)

_OUTCOMES = {1: Outcome.COMPLETED, 2: Outcome.INCOMPLETE, 3: Outcome.ABORTED}
_ROLES = {role.number: role for role in Role}
COLO_MODES = ("none", "primary", "secondary")
"""COLOMode of qapi/migration.json, 5.0 to 11.1."""
COLO_EXIT_REASONS = ("none", "request", "error", "processing")
"""COLOExitReason of qapi/migration.json, 5.0 to 11.1."""

_TIMED = tuple(
    (phase, f"{phase.value}_ns", phase.number - 1, 1 << phase.number - 1) for phase in PHASES if phase is not Phase.INIT
)
"""A checkpoint's phases: field, index and `seen` bit, worked out once, for thousands of records a second may come."""

_PHASE_ARRAY = ct.c_uint64 * len(PHASES)


class EventHeader(ct.Structure):
    """struct event_header."""

    _fields_ = (("kind", ct.c_uint8), ("role", ct.c_uint8), ("target", ct.c_uint16), ("tid", ct.c_uint32))


class SmallEvent(ct.Structure):
    """struct small_event."""

    _fields_ = (("header", EventHeader), ("times", ct.c_uint64 * 3))


class CheckpointRecord(ct.Structure):
    """struct checkpoint_record."""

    _fields_ = (
        ("header", EventHeader),
        ("sequence", ct.c_uint32),
        ("seen", ct.c_uint32),
        ("outcome", ct.c_uint8),
        ("open_phase", ct.c_uint8),
        ("reserved0", ct.c_uint16),
        ("suspended_ms", ct.c_uint32),
        ("begin_ns", ct.c_uint64),
        ("total_ns", ct.c_uint64),
        ("phase_ns", _PHASE_ARRAY),
        ("other_ns", ct.c_uint64),
        ("pause_ns", ct.c_uint64),
        ("device_bytes", ct.c_uint64),
        ("ram_bytes", ct.c_uint64),
        ("ram_pages", ct.c_uint64),
        ("marks_ns", ct.c_uint64 * len(MARKS)),
        ("notified_ns", ct.c_uint64 * len(TRIGGERS)),
    )


class TotalsKey(ct.Structure):
    """struct totals_key."""

    _fields_ = (("target", ct.c_uint32), ("role", ct.c_uint32))


class Totals(ct.Structure):
    """struct totals."""

    _fields_ = (
        ("writes_begun", ct.c_uint64),
        ("tot_time", ct.c_uint64),
        ("tot_num", ct.c_uint64),
        ("phase_ns", _PHASE_ARRAY),
        ("device_bytes", ct.c_uint64),
        ("ram_bytes", ct.c_uint64),
        ("ram_pages", ct.c_uint64),
        ("pause_ns", ct.c_uint64),
        ("other_ns", ct.c_uint64),
        ("seen_num", _PHASE_ARRAY),
        ("device_num", ct.c_uint64),
        ("ram_num", ct.c_uint64),
        ("pause_num", ct.c_uint64),
        ("incomplete", ct.c_uint64),
        ("aborted", ct.c_uint64),
        ("lost_records", ct.c_uint64),
        ("sequence", ct.c_uint64),
        ("last_completed_ns", ct.c_uint64),
        ("idle_since_ns", ct.c_uint64),
        ("writes_done", ct.c_uint64),
    )


class Target(ct.Structure):
    """struct target."""

    _fields_ = (
        ("tgid", ct.c_uint64),
        ("ram_bytes_at", ct.c_uint64 * 2),
        ("ram_pages_at", ct.c_uint64 * 2),
        ("expected", ct.c_uint32 * 3),
        ("parts", ct.c_uint32 * 3),
        ("hits", ct.c_uint64),
        ("lost_events", ct.c_uint64),
        ("exit_ns", ct.c_uint64),
        ("exit_role", ct.c_uint64),
        ("notified_ns", ct.c_uint64 * len(TRIGGERS)),
        ("notifying", ct.c_uint64),
        ("reset_seen", ct.c_uint64),
    )


STRUCTS: dict[str, type[ct.Structure]] = {
    "event_header": EventHeader,
    "small_event": SmallEvent,
    "checkpoint_record": CheckpointRecord,
    "totals": Totals,
    "target": Target,
}
"""C's struct names of bpf/colo_phases.h and Python's mirrors of them."""


class DecodeError(ValueError):
    """A message from the ring buffer is not one of ours: too short, or of an unknown kind, role or outcome."""


MissingReason = Callable[[Role, str], str | None]
"""(role, field) -> why the plan or the role can never give this field, or None if it can."""


def decode_event(
    data: bytes, pid_of: Callable[[int], int], reason: MissingReason
) -> Checkpoint | InitDone | ColoExit | Takeover:
    """One message of the ring buffer as a record; `pid_of` maps a target's index to its pid. Raises DecodeError."""
    if len(data) < ct.sizeof(EventHeader):
        raise DecodeError(f"{len(data)} bytes are too few for an event")
    header = EventHeader.from_buffer_copy(data)
    wanted = CheckpointRecord if header.kind == KIND_CHECKPOINT else SmallEvent
    if len(data) < ct.sizeof(wanted):
        raise DecodeError(f"{len(data)} bytes are too few for an event of kind {header.kind}")
    role = _ROLES.get(header.role)
    if role is None:
        raise DecodeError(f"unknown role {header.role}")
    pid = pid_of(header.target)
    if header.kind == KIND_CHECKPOINT:
        return _checkpoint(CheckpointRecord.from_buffer_copy(data), role, pid, reason)
    times = SmallEvent.from_buffer_copy(data).times
    if header.kind == KIND_INIT:
        return InitDone(role, pid, times[0], times[1], times[2] or None)
    if header.kind == KIND_COLO_EXIT:
        mode, reason_number = times[1] & 0xFFFFFFFF, times[1] >> 32
        return ColoExit(role, pid, times[0], _name(COLO_MODES, mode), _name(COLO_EXIT_REASONS, reason_number), times[2])
    if header.kind == KIND_TAKEOVER:
        return Takeover(role, pid, times[0], times[1])
    raise DecodeError(f"unknown kind {header.kind}")


def decode_totals(totals: Totals, role: Role, pid: int) -> CheckpointTotals:
    """The kernel's struct totals as a record."""
    return CheckpointTotals(
        role=role,
        pid=pid,
        checkpoints=totals.tot_num,
        total_ns=totals.tot_time,
        other_ns=totals.other_ns,
        phase_ns={phase: totals.phase_ns[phase.number - 1] for phase in ROLE_PHASES[role]},
        phase_num={phase: totals.seen_num[phase.number - 1] for phase in ROLE_PHASES[role]},
        pause_ns=totals.pause_ns,
        pause_num=totals.pause_num,
        device_bytes=totals.device_bytes,
        device_num=totals.device_num,
        ram_bytes=totals.ram_bytes,
        ram_pages=totals.ram_pages,
        ram_num=totals.ram_num,
        incomplete=totals.incomplete,
        aborted=totals.aborted,
        lost_records=totals.lost_records,
        last_completed_ns=totals.last_completed_ns,
        begun=totals.sequence,
        idle_since_ns=totals.idle_since_ns or None,
    )


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else f"unknown-{number}"


def _checkpoint(record: CheckpointRecord, role: Role, pid: int, reason: MissingReason) -> Checkpoint:
    outcome = _OUTCOMES.get(record.outcome)
    if outcome is None:
        raise DecodeError(f"unknown outcome {record.outcome}")
    if outcome is Outcome.ABORTED:
        otherwise = "the checkpoint was aborted"
    elif not record.seen & SEEN_BEGIN:
        otherwise = "attached in the middle of this checkpoint, or its beginning was lost"
    else:
        otherwise = "its boundaries were not both seen"
    missing: dict[str, str] = {}

    def seen(bit: int, field: str, value: int) -> int | None:
        if record.seen & bit:
            return value
        missing[field] = reason(role, field) or otherwise
        return None

    phase_ns: dict[Phase, int] = {}
    times = record.phase_ns[:]
    for phase, field, index, bit in _TIMED:
        value = seen(bit, field, times[index])
        if value is not None:
            phase_ns[phase] = value
    if "wait_ns" in missing and record.seen & SEEN_BEGIN:
        missing["wait_ns"] = reason(role, "wait_ns") or "attached during this wait, which was not seen whole"
    notified_ns: dict[Trigger, int] | None = None
    lacking = reason(role, "trigger")
    if lacking is None and record.seen & SEEN_NOTIFIES:
        notified_ns = {trigger: when for trigger, when in zip(TRIGGERS, record.notified_ns, strict=True) if when}
        lacking = None if notified_ns else "nobody who is known to ask for checkpoints has asked for this one"
    elif lacking is None:
        lacking = "not watched since the checkpoint before it reset QEMU's event: attached later, or a probe was lost"
    if lacking is not None:
        missing["trigger"] = lacking
    aborted_in = None
    if outcome is Outcome.ABORTED:
        aborted_in = PHASES[record.open_phase - 1].value if 0 < record.open_phase <= len(PHASES) else "other"
    return Checkpoint(
        role=role,
        pid=pid,
        tid=record.header.tid,
        sequence=record.sequence,
        outcome=outcome,
        begin_ns=seen(SEEN_BEGIN, "begin_ns", record.begin_ns),
        total_ns=seen(SEEN_TOTAL, "total_ns", record.total_ns),
        phase_ns=phase_ns,
        other_ns=seen(SEEN_OTHER, "other_ns", record.other_ns),
        pause_ns=seen(SEEN_PAUSE, "pause_ns", record.pause_ns),
        device_bytes=seen(SEEN_DEVICE_BYTES, "device_bytes", record.device_bytes),
        ram_bytes=seen(SEEN_RAM, "ram_bytes", record.ram_bytes),
        ram_pages=seen(SEEN_RAM, "ram_pages", record.ram_pages),
        marks_ns={mark: when for mark, when in zip(MARKS, record.marks_ns, strict=True) if when},
        aborted_in=aborted_in,
        suspended_ms=record.suspended_ms,
        notified_ns=notified_ns,
        missing=missing,
    )
