"""What is measured: checkpoints, and totals over them. Frozen; nanoseconds of CLOCK_MONOTONIC, and bytes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from colotrace.phases import OUTSIDE_TOTAL, PHASES, Mark, Phase, Role, Trigger

_PARTS = tuple((phase, f"{phase.value}_ns") for phase in PHASES if phase not in OUTSIDE_TOTAL)


class Outcome(enum.Enum):
    """How a checkpoint ended."""

    COMPLETED = "completed"
    """Seen from the beginning of its wait to its end, and successful. Only these count in totals."""
    INCOMPLETE = "incomplete"
    """Seen only in part: attached in its middle or during its wait, a probe was lost, or the host was suspended."""
    ABORTED = "aborted"
    """QEMU gave it up: an error in one of its phases, or a failover."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as one COLO thread went through it.

    `phase_ns` holds the phases that were seen, `marks_ns` the time marks that were (absolute CLOCK_MONOTONIC).
    `total_ns` is colo_do_checkpoint_transaction() on the primary, colo_incoming_process_checkpoint() on the secondary;
    it equals the phases other than wait, plus `other_ns`, to the nanosecond. `pause_ns` runs from the call of
    vm_stop_force_state() to the call after vm_start(): an upper bound of the time from QMP's STOP to RESUME.
    Whatever is None was not seen; `missing` gives the reason by field name. `suspended_ms` is for how long the host was
    suspended during it or its wait, which no other field contains. `notified_ns` has who asked for this checkpoint
    before it began, each with the first time (absolute CLOCK_MONOTONIC), since QEMU had last reset the event for that;
    None: unknown.
    """

    role: Role
    pid: int
    tid: int
    sequence: int
    outcome: Outcome
    begin_ns: int | None
    total_ns: int | None
    phase_ns: Mapping[Phase, int]
    other_ns: int | None
    pause_ns: int | None
    device_bytes: int | None
    ram_bytes: int | None
    ram_pages: int | None
    marks_ns: Mapping[Mark, int]
    aborted_in: str | None = None
    suspended_ms: int = 0
    notified_ns: Mapping[Trigger, int] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def trigger(self) -> Trigger | None:
        """Why it happened: who asked for it first. None if nobody is known to have; `missing` says why."""
        return min(self.notified_ns, key=self.notified_ns.__getitem__) if self.notified_ns else None

    @property
    def completed(self) -> bool:
        """Whether it was seen whole and succeeded."""
        return self.outcome is Outcome.COMPLETED

    def as_json(self) -> dict[str, object]:
        """The record as one flat object of JSON types: `stat_ns` and so on, null where not seen."""
        record: dict[str, object] = {
            "role": self.role.value,
            "pid": self.pid,
            "tid": self.tid,
            "sequence": self.sequence,
            "outcome": self.outcome.value,
            "begin_ns": self.begin_ns,
            "wait_ns": self.phase_ns.get(Phase.WAIT),
            "total_ns": self.total_ns,
        }
        for phase, name in _PARTS:
            record[name] = self.phase_ns.get(phase)
        record |= {
            "other_ns": self.other_ns,
            "pause_ns": self.pause_ns,
            "device_bytes": self.device_bytes,
            "ram_bytes": self.ram_bytes,
            "ram_pages": self.ram_pages,
            "trigger": self.trigger.value if self.trigger else None,
            "marks_ns": {mark.value: when for mark, when in self.marks_ns.items()},
            "trigger_evidence": None
            if self.notified_ns is None
            else {f"{trigger.value}_ns": when for trigger, when in self.notified_ns.items()},
            "missing": dict(self.missing),
        }
        if self.aborted_in is not None:
            record["aborted_in"] = self.aborted_in
        if self.suspended_ms:
            record["suspended_ms"] = self.suspended_ms
        return record


@dataclass(frozen=True)
class CheckpointTotals:
    """Sums over the completed checkpoints of one process in one role, as the kernel keeps them.

    `phase_ns[p]` sums over `phase_num[p]` checkpoints (for init: one entry into COLO). `incomplete`, `aborted` and
    `lost_records` count what is not in the sums, except that a lost record is in them: only its details are gone.
    `begun` counts transactions of every outcome. `idle_since_ns` is when the last one had ended (the wait after it
    began, or COLO ended); None while one is in flight, and before a wait was seen to begin.
    """

    role: Role
    pid: int
    checkpoints: int
    total_ns: int
    other_ns: int
    phase_ns: Mapping[Phase, int]
    phase_num: Mapping[Phase, int]
    pause_ns: int
    pause_num: int
    device_bytes: int
    device_num: int
    ram_bytes: int
    ram_pages: int
    ram_num: int
    incomplete: int
    aborted: int
    lost_records: int
    last_completed_ns: int
    begun: int
    idle_since_ns: int | None

    def mean_ns(self, phase: Phase) -> float | None:
        """The phase's mean over the checkpoints it was seen in; None if in none."""
        num = self.phase_num.get(phase, 0)
        return self.phase_ns[phase] / num if num else None

    def since(self, earlier: CheckpointTotals) -> CheckpointTotals:
        """What has been added since an earlier reading of the same totals; moments stay those of this reading.

        Raises ValueError if `earlier` is of another process or role, or is the later one.
        """
        if (earlier.pid, earlier.role) != (self.pid, self.role) or earlier.begun > self.begun:
            raise ValueError("not an earlier reading of the same totals")
        differences: dict[str, object] = {}
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(earlier, one.name)
            if one.name in ("role", "pid", "last_completed_ns", "idle_since_ns"):
                differences[one.name] = mine
            elif isinstance(mine, Mapping):
                differences[one.name] = {phase: value - theirs.get(phase, 0) for phase, value in mine.items()}
            else:
                differences[one.name] = mine - theirs
        return CheckpointTotals(**differences)  # type: ignore[arg-type]


@dataclass(frozen=True)
class HitCost:
    """What one hit of a probe adds to the thread, in nanoseconds: `warm_ns` with everything in the caches (median),
    `cold_ns` after other work has had the caches (90th percentile), as it is in a checkpoint."""

    warm_ns: int
    cold_ns: int


@dataclass(frozen=True)
class ProbeCost:
    """The cost of a probe on an instruction that the kernel emulates, and on one that it must single-step, as measured
    on this kernel; and of reading CLOCK_MONOTONIC once, in nanoseconds."""

    emulated: HitCost
    stepped: HitCost
    clock_ns: int

    def of(self, emulated: bool) -> HitCost:
        """The cost of one kind of probe."""
        return self.emulated if emulated else self.stepped

    def as_json(self) -> dict[str, int]:
        """An object of JSON types."""
        return {
            "emulated_warm_ns": self.emulated.warm_ns,
            "emulated_cold_ns": self.emulated.cold_ns,
            "stepped_warm_ns": self.stepped.warm_ns,
            "stepped_cold_ns": self.stepped.cold_ns,
            "clock_ns": self.clock_ns,
        }


@dataclass(frozen=True)
class InitDone:
    """A COLO thread has entered its loop: `end_ns - begin_ns` is the seed's init_time. Absolute CLOCK_MONOTONIC."""

    role: Role
    pid: int
    begin_ns: int
    end_ns: int
    ready_ns: int | None


@dataclass(frozen=True)
class ColoExit:
    """QEMU emits COLO_EXIT: `mode` and `reason` are the arguments of qapi_event_send_colo_exit(), by QAPI's names.

    `begun` is the sequence of the last transaction that had begun in this role; 0 for none.
    """

    role: Role
    pid: int
    when_ns: int
    mode: str
    reason: str
    begun: int | None = None


@dataclass(frozen=True)
class Takeover:
    """After COLO's end a VM runs on: the first vm_start() in the process since the exit at `exit_ns`."""

    role: Role
    pid: int
    when_ns: int
    exit_ns: int


@dataclass(frozen=True)
class Attempt:
    """A transaction that QEMU gave up: its sequence, when it began (None: unseen), and the phase in which it died."""

    sequence: int
    begin_ns: int | None
    died_in: str | None


@dataclass(frozen=True)
class Failover:
    """How COLO ended in one process, and who went on. Made by colotrace.failover; absolute times are CLOCK_MONOTONIC.

    `number` counts the ends of COLO in this process, from 1: after a failover it may enter COLO again, in either role.
    `entered_ns` is when this stretch of COLO began. Sequences of transactions run on from stretch to stretch.
    `last_good` is the last completed checkpoint's sequence, `last_good_ns` its end; a secondary's is complete once it
    runs with the state and has LOADED on its way, whether or not anybody hears it. `died_in` is the phase in which the
    first transaction after it died; `attempts` has that one and the later ones, since QEMU goes round its loop after an
    error in recv or load. `relaunched`: the state was loaded and the VM started, but LOADED was not sent, because a
    failover had been asked for during the loading (QEMU's status RELAUNCH).
    `mode` and `reason` are the event's. `status_reason` is query-colo-status's, which is another thing: it tells
    whether a failover was completed, and after an error that an operator answered with x-colo-lost-heartbeat it says
    `request` where the event said `error`.
    `takeover_ns` is the first vm_start() after COLO's end. What is None was not seen; `missing` gives the reason.
    """

    role: Role
    pid: int
    number: int
    mode: str
    reason: str
    exit_ns: int
    entered_ns: int | None = None
    last_good: int | None = None
    last_good_ns: int | None = None
    died_in: str | None = None
    attempts: tuple[Attempt, ...] = ()
    relaunched: bool | None = None
    takeover_ns: int | None = None
    status_reason: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_after_ns(self) -> int | None:
        """From the last good checkpoint to COLO's end."""
        return None if self.last_good_ns is None else self.exit_ns - self.last_good_ns

    @property
    def takeover_after_ns(self) -> int | None:
        """From the last good checkpoint to the takeover."""
        if self.last_good_ns is None or self.takeover_ns is None:
            return None
        return self.takeover_ns - self.last_good_ns

    def as_json(self) -> dict[str, object]:
        """The record as one object of JSON types, null where not seen."""
        record: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self)}
        return record | {
            "role": self.role.value,
            "attempts": [{one.name: getattr(a, one.name) for one in fields(a)} for a in self.attempts],
            "exit_after_ns": self.exit_after_ns,
            "takeover_after_ns": self.takeover_after_ns,
            "missing": dict(self.missing),
        }


@dataclass(frozen=True)
class Note:
    """Something a reader of the figures should know. `event` is a stable word, `message` a sentence for people."""

    event: str
    message: str
    pid: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The note as an object of JSON types."""
        note: dict[str, object] = {"event": self.event, "message": self.message}
        if self.pid is not None:
            note["pid"] = self.pid
        return note | dict(self.details)


Event = Checkpoint | InitDone | ColoExit | Takeover | Failover | Note
"""What a session yields."""
