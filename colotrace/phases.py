"""The vocabulary: roles, phases, time marks, and the boundaries that close one phase and open the next.

Everything here is data. The probes' cookies (`Boundary.cookie`) carry it into the kernel program, which is a plain
interpreter of it; the resolver looks for a code address for each boundary; recordings and tables use the names.
Phases and their order are those of the seed's `checkpoint_recorder`; marks are QEMU's COLOMessage
(qapi/migration.json), the two VM state changes, and the flush of the secondary's cache.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class Role(enum.Enum):
    """Which side of the pair a COLO thread plays."""

    PRIMARY = "primary"
    """Runs migrate_start_colo_process()."""
    SECONDARY = "secondary"
    """Runs colo_process_incoming_thread()."""

    @property
    def number(self) -> int:
        """The role in cookies and records: 1 or 2; 0 means either."""
        return 1 if self is Role.PRIMARY else 2


class Phase(enum.Enum):
    """A stretch of a COLO thread's time; the value is the stem of the seed's field (`stat` -> `stat_time`)."""

    INIT = "init"
    """From entering COLO to the first wait; once per pair, outside any checkpoint."""
    WAIT = "wait"
    """Waiting for the next checkpoint; before it, and not part of its total."""
    STAT = "stat"
    """Agreeing on the checkpoint and stopping the VM."""
    DEV = "dev"
    """Saving device state into a buffer (primary only)."""
    RAM = "ram"
    """Sending, or loading into the cache, the dirty pages."""
    PUT = "put"
    """Sending, or receiving, the buffer of device state."""
    RECV = "recv"
    """Primary: waiting for VMSTATE_RECEIVED. Secondary: sending it."""
    LOAD = "load"
    """Primary: waiting for VMSTATE_LOADED. Secondary: flushing the cache, loading device state, starting the VM."""
    RESUME = "resume"
    """Starting the VM again (primary only)."""

    @property
    def number(self) -> int:
        """The phase in cookies and records: 1 to 9; 0 means none."""
        return PHASES.index(self) + 1


PHASES = tuple(Phase)
OUTSIDE_TOTAL = (Phase.INIT, Phase.WAIT)
"""The phases that lie before a checkpoint's transaction, and so are not parts of `total_ns`."""

ROLE_PHASES: dict[Role, tuple[Phase, ...]] = {
    Role.PRIMARY: PHASES,
    Role.SECONDARY: tuple(p for p in PHASES if p not in (Phase.DEV, Phase.RESUME)),
}


class Mark(enum.Enum):
    """A moment within a checkpoint worth a time of its own; the first seven are the COLO messages.

    A message is marked where its sender calls the send function, and where its receiver has returned from the receive
    function: at the next call on the path of success.
    """

    CHECKPOINT_READY = "checkpoint-ready"
    CHECKPOINT_REQUEST = "checkpoint-request"
    CHECKPOINT_REPLY = "checkpoint-reply"
    VMSTATE_SEND = "vmstate-send"
    VMSTATE_SIZE = "vmstate-size"
    VMSTATE_RECEIVED = "vmstate-received"
    VMSTATE_LOADED = "vmstate-loaded"
    VM_STOP = "vm-stop"
    """vm_stop_force_state() is called; QMP's STOP event follows."""
    VM_STOPPED = "vm-stopped"
    """The call after vm_stop_force_state(); STOP has been emitted."""
    VM_START = "vm-start"
    """vm_start() is called; QMP's RESUME event follows."""
    VM_STARTED = "vm-started"
    """The call after vm_start(); RESUME has been emitted."""
    CACHE_FLUSH = "cache-flush"
    """Secondary: colo_flush_ram_cache() is called, to copy the pages that have changed from the cache to the VM. QEMU
    5.0 does so within ram, and has no such mark."""
    CACHE_FLUSHED = "cache-flushed"
    """The call after colo_flush_ram_cache(): of qemu_load_device_state()."""

    @property
    def number(self) -> int:
        """The mark in cookies and records: 1 to 13; 0 means none."""
        return MARKS.index(self) + 1


MARKS = tuple(Mark)
MESSAGES = MARKS[:7]
"""COLOMessage in QEMU's own order: READY is 0 on the wire, LOADED is 6. A binary's own table takes precedence."""
SENDERS = {
    Mark.CHECKPOINT_READY: Role.SECONDARY,
    Mark.CHECKPOINT_REQUEST: Role.PRIMARY,
    Mark.CHECKPOINT_REPLY: Role.SECONDARY,
    Mark.VMSTATE_SEND: Role.PRIMARY,
    Mark.VMSTATE_SIZE: Role.PRIMARY,
    Mark.VMSTATE_RECEIVED: Role.SECONDARY,
    Mark.VMSTATE_LOADED: Role.SECONDARY,
}
"""Who sends each message."""


class Trigger(enum.Enum):
    """Why the primary makes a checkpoint: who first set the event that its loop waits for, since it was last reset."""

    TIMER = "timer"
    """x-checkpoint-delay has passed."""
    COMPARE = "compare"
    """colo-compare: packets of the two VMs differ, or one of them has waited too long for the other's."""
    PARAMETER = "parameter"
    """x-checkpoint-delay has been set."""
    FAILOVER = "failover"
    """The primary was told to fail over; its loop ends then, and a checkpoint follows only if that comes too late."""

    @property
    def number(self) -> int:
        """The trigger in cookies and, less 1, in records: 1 to 4; 0 means none."""
        return TRIGGERS.index(self) + 1


TRIGGERS = tuple(Trigger)


class Effect(enum.IntFlag):
    """What a boundary does besides closing and opening phases; the numbers are shared with bpf/colo_phases.h."""

    NONE = 0
    OUTSIDE = 1 << 0
    """Lies outside any transaction: seeing it first does not mean that a checkpoint was missed in part."""
    TRANSACTION_BEGIN = 1 << 1
    TRANSACTION_END = 1 << 2
    COMPLETES = 1 << 3
    """The checkpoint has succeeded: primary, its own vm_start(); secondary, LOADED is being sent."""
    PAUSE_BEGIN = 1 << 4
    PAUSE_END = 1 << 5
    RAM_BEGIN = 1 << 6
    """Read the RAM counters."""
    RAM_END = 1 << 7
    """Read the RAM counters again; the difference is the checkpoint's."""
    DEVICE_BYTES = 1 << 8
    """The third argument of the call here is the size of the device state."""
    WAIT_BEGIN = 1 << 9
    """The loop's top: a transaction still open here has been aborted (QEMU's own loop goes on after some errors)."""
    COLO_EXIT = 1 << 10
    """qapi_event_send_colo_exit(mode, reason) is called."""
    TAKEOVER = 1 << 11
    """vm_start() by any thread of the process: after COLO exit, the first one is the takeover."""
    EVENT_RESET = 1 << 12
    """The event that the primary's loop waits for is reset: who sets it now brings the next checkpoint about."""
    THROUGH_TIMER = 1 << 13
    """What is called here sets the event where the timer does: this thread's next hit there is this one."""


@dataclass(frozen=True)
class Boundary:
    """One place in a COLO thread's path that a probe marks.

    `closes` and `opens` are the phases that end and begin there, `mark` the time mark set there. `title` says in words
    what the probe hears. Where `trigger` is set, that event is set by whom it names, in any thread of the process.
    """

    name: str
    title: str
    closes: Phase | None = None
    opens: Phase | None = None
    mark: Mark | None = None
    effects: Effect = Effect.NONE
    trigger: Trigger | None = None

    def cookie(self, role: Role | None, target: int) -> int:
        """The u64 that the kernel hands to the program at this boundary; laid out in bpf/colo_phases.h."""
        if not 0 <= target < 1 << 16:
            raise ValueError(f"target {target} does not fit 16 bits")
        return (
            (self.closes.number if self.closes else 0)
            | (self.opens.number if self.opens else 0) << 4
            | (self.mark.number if self.mark else 0) << 8
            | (role.number if role else 0) << 12
            | self.effects << 16
            | target << 32
            | (self.trigger.number if self.trigger else 0) << 48
        )


def merged(first: Boundary, second: Boundary) -> Boundary:
    """One boundary for two that are passed at the same instruction; ValueError if one probe cannot be both."""
    if (first.opens and second.closes) or (first.closes and second.closes) or (first.opens and second.opens):
        raise ValueError(f"{first.name} and {second.name} do not fit one place")
    if first.trigger or second.trigger:
        raise ValueError(f"{first.name} or {second.name} belongs to the process")
    if first.mark and second.mark:
        raise ValueError(f"{first.name} and {second.name} are two time marks")
    return Boundary(
        f"{first.name}+{second.name}",
        f"{first.title}; {second.title}",
        first.closes or second.closes,
        first.opens or second.opens,
        first.mark or second.mark,
        first.effects | second.effects,
    )


_TRANSACTION_BEGIN = Boundary(
    "transaction-begin",
    "the checkpoint begins",
    Phase.WAIT,
    Phase.STAT,
    Mark.CHECKPOINT_REQUEST,
    Effect.TRANSACTION_BEGIN,
)
_WAIT_BEGIN = Boundary(
    "wait-begin",
    "the wait for the next checkpoint begins",
    Phase.INIT,
    Phase.WAIT,
    effects=Effect.WAIT_BEGIN | Effect.OUTSIDE,
)
_VM_STOP = Boundary("vm-stop", "the VM is told to stop", mark=Mark.VM_STOP, effects=Effect.PAUSE_BEGIN)
_VM_STOPPED = Boundary("vm-stopped", "the VM has stopped", mark=Mark.VM_STOPPED)
_PAUSE_END = Boundary("vm-started", "the VM has started", mark=Mark.VM_STARTED, effects=Effect.PAUSE_END)
_INIT_BEGIN = Boundary("init-begin", "COLO begins", opens=Phase.INIT, effects=Effect.OUTSIDE)
_DEVICE_STATE = Boundary("device-state", "the device state's size is known", effects=Effect.DEVICE_BYTES)
_COLO_EXIT = Boundary("colo-exit", "COLO ends", effects=Effect.COLO_EXIT | Effect.OUTSIDE)

TAKEOVER = Boundary("takeover", "a VM starts; after COLO's end, the takeover", effects=Effect.TAKEOVER | Effect.OUTSIDE)
"""Belongs to the process, not to a COLO thread: it sits inside vm_start() itself."""

NOTIFIES = {
    trigger: Boundary(
        f"notify-{trigger.value}",
        f"a checkpoint is asked for: {trigger.value}",
        effects=Effect.OUTSIDE,
        trigger=trigger,
    )
    for trigger in TRIGGERS
}
"""Belong to the process as well: whoever asks for a checkpoint does so in a thread of its own."""


def through_timer(boundary: Boundary) -> Boundary:
    """A member of NOTIFIES where what is called sets the event at the place that the timer's callback has."""
    return replace(boundary, effects=boundary.effects | Effect.THROUGH_TIMER)


PROCESS_BOUNDARIES = (TAKEOVER, *NOTIFIES.values(), *map(through_timer, NOTIFIES.values()))
"""Every boundary that a plan may have outside its roles."""

_PRIMARY = (
    _INIT_BEGIN,
    Boundary("ready", "READY has been received", mark=Mark.CHECKPOINT_READY, effects=Effect.OUTSIDE),
    _WAIT_BEGIN,
    _TRANSACTION_BEGIN,
    Boundary("reply", "REPLY has been received", mark=Mark.CHECKPOINT_REPLY),
    _VM_STOP,
    _VM_STOPPED,
    Boundary("vmstate-send", "VMSTATE_SEND is sent", mark=Mark.VMSTATE_SEND),
    Boundary("dev-begin", "saving device state begins", Phase.STAT, Phase.DEV),
    Boundary("dev-end", "device state is saved", Phase.DEV),
    Boundary("ram-begin", "sending dirty pages begins", opens=Phase.RAM, effects=Effect.RAM_BEGIN),
    Boundary("put-begin", "VMSTATE_SIZE is sent", Phase.RAM, Phase.PUT, Mark.VMSTATE_SIZE, Effect.RAM_END),
    _DEVICE_STATE,
    Boundary("recv-begin", "the wait for VMSTATE_RECEIVED begins", Phase.PUT, Phase.RECV),
    Boundary(
        "recv-end",
        "VMSTATE_RECEIVED has been received",
        Phase.RECV,
        mark=Mark.VMSTATE_RECEIVED,
        effects=Effect.EVENT_RESET,
    ),
    Boundary("load-begin", "the wait for VMSTATE_LOADED begins", opens=Phase.LOAD),
    Boundary("resume-begin", "VMSTATE_LOADED has been received", Phase.LOAD, Phase.RESUME, Mark.VMSTATE_LOADED),
    Boundary("vm-start", "the VM is told to start", mark=Mark.VM_START, effects=Effect.COMPLETES),
    _PAUSE_END,
    Boundary("transaction-end", "the checkpoint ends", Phase.RESUME, effects=Effect.TRANSACTION_END),
    _COLO_EXIT,
)

_SECONDARY = (
    _INIT_BEGIN,
    Boundary("ready", "READY is sent", mark=Mark.CHECKPOINT_READY, effects=Effect.OUTSIDE),
    _WAIT_BEGIN,
    _TRANSACTION_BEGIN,
    _VM_STOP,
    _VM_STOPPED,
    Boundary("reply", "REPLY is sent", mark=Mark.CHECKPOINT_REPLY),
    Boundary("ram-begin", "VMSTATE_SEND has been received", Phase.STAT, Phase.RAM, Mark.VMSTATE_SEND),
    Boundary("put-begin", "the wait for VMSTATE_SIZE begins", Phase.RAM, Phase.PUT),
    Boundary("size", "VMSTATE_SIZE has been received", mark=Mark.VMSTATE_SIZE),
    _DEVICE_STATE,
    Boundary("put-end", "device state is in the buffer", Phase.PUT),
    Boundary("recv-begin", "VMSTATE_RECEIVED is sent", opens=Phase.RECV, mark=Mark.VMSTATE_RECEIVED),
    Boundary("load-begin", "VMSTATE_RECEIVED has been sent", Phase.RECV, Phase.LOAD),
    Boundary("cache-flush", "the cache is flushed", mark=Mark.CACHE_FLUSH),
    Boundary("cache-flushed", "the cache has been flushed", mark=Mark.CACHE_FLUSHED),
    Boundary("vm-start", "the VM is told to start", mark=Mark.VM_START),
    _PAUSE_END,
    Boundary("loaded", "VMSTATE_LOADED is sent", mark=Mark.VMSTATE_LOADED, effects=Effect.COMPLETES),
    Boundary("transaction-end", "the checkpoint ends", Phase.LOAD, effects=Effect.TRANSACTION_END),
    _COLO_EXIT,
)

BOUNDARIES: dict[Role, dict[str, Boundary]] = {
    Role.PRIMARY: {b.name: b for b in _PRIMARY},
    Role.SECONDARY: {b.name: b for b in _SECONDARY},
}
"""Each role's boundaries by name, in the order in which a checkpoint passes them."""


def phase_ends(role: Role, phase: Phase) -> tuple[Boundary, Boundary]:
    """The boundaries at which `phase` opens and closes on `role`; KeyError if it is not a phase of the role."""
    boundaries = BOUNDARIES[role].values()
    opens = next((b for b in boundaries if b.opens is phase), None)
    closes = next((b for b in boundaries if b.closes is phase), None)
    if opens is None or closes is None:
        raise KeyError(f"{phase.value} is not a phase of the {role.value}")
    return opens, closes
