"""What colo.c does between two waits, as data: the messages are the spine, the named calls are the ribs.

A skeleton is a list of steps in the order of the path of success. *Anchors* (the messages, and a few calls) are found
first, each by itself, anywhere in the role's function. The steps between two anchors are then looked for only on
paths from the one to the other that pass no further anchor. Several names for a call are the same call in different
versions of QEMU; where versions differ in more than a name, a `Choice` lists the ways, and the binary's own calls
decide.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from colotrace.phases import Mark, Role

LOCK = ("qemu_mutex_lock_iothread_impl", "bql_lock_impl")
"""Until 8.2, and since 9.0."""
UNLOCK = ("qemu_mutex_unlock_iothread", "bql_unlock")
WAIT_EVENT = "qemu_event_wait"
WAIT = (WAIT_EVENT, "qemu_sem_wait")
"""5.0 waits on a semaphore."""
FLUSH = "colo_flush_ram_cache"
LOAD_DEVICE = "qemu_load_device_state"
PUT_NUMBER, GET_NUMBER = "qemu_put_be32", "qemu_get_be32"
GET_VALUE = "qemu_get_be64"
SEND_OUT = "qemu_fflush"
"""What sends a number on its way, behind PUT_NUMBER."""
TIMEKEEPING = ("clock_gettime", "checkpoint_recorder_begin", "checkpoint_recorder_end")
"""What a patch for `info_checkpoint` calls between the steps: get_clock(), inlined, or its own functions."""
COLO_EXIT = "qapi_event_send_colo_exit"
VM_START = "vm_start"
MESSAGE_TABLE = "COLOMessage_lookup"
COLO_TEXT = b"Can't send COLO message"
"""An error text of colo.c: in every binary that has COLO, whatever names it has lost."""
OWN_NAMES = "colo_"
"""How the names of colo.c's own helpers begin, where they are left."""
INCOMING_COROUTINE, THREAD_CREATE = "colo_incoming_co", "qemu_thread_create"
"""From 10.0 on the secondary's function is static; the first passes it to the second, as its third argument."""


class StepKind(enum.Enum):
    """How a step is recognised."""

    ENTRY = "entry"
    """The function's start: its first instruction that the kernel emulates."""
    SEND = "send"
    """A call that sends a message, with the message's number."""
    RECEIVE = "receive"
    """A call that receives a message which is then compared with the number given."""
    RECEIVE_ANY = "receive-any"
    """A call that receives whatever comes."""
    CALL = "call"
    """A call of a function by name."""
    NEXT_CALL = "next-call"
    """The first call that every path from the step before passes."""
    NEXT_BRANCH = "next-branch"
    """The first call or branch in straight line behind the call of the step before."""
    AT_ANCHOR = "at-anchor"
    """The next anchor itself: nothing is called before it."""
    ABSENT = "absent"
    """Not there in versions that go this way; `reason` says why."""


@dataclass(frozen=True)
class Step:
    """One step. Without a `boundary` it is only a witness: it must be there, and no probe is set.

    An `optional` step only sets a time mark; it need not lie on every path. An `adjacent` one is the next call behind
    the step before.
    """

    kind: StepKind
    boundary: str | None = None
    names: tuple[str, ...] = ()
    message: Mark | None = None
    anchor: bool = False
    optional: bool = False
    adjacent: bool = False
    reason: str = ""

    def __str__(self) -> str:
        if self.message:
            return f"{self.kind.value} of {self.message.value}"
        return f"{self.kind.value} of {' or '.join(self.names)}" if self.names else self.kind.value


@dataclass(frozen=True)
class Way:
    """One of the ways that versions of QEMU do a stretch.

    `unless_called` is evidence against it: the way is tried only if the primary's function is known not to call that.
    """

    since: str
    steps: tuple[Step, ...]
    unless_called: str = ""


@dataclass(frozen=True)
class Choice:
    """Steps that versions do in different ways: the first of which all is found; if none, the one with most."""

    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Skeleton:
    """A role's steps. `root` names the function they are in, `sink` the boundary that the loop comes back to."""

    role: Role
    root: str
    steps: tuple[Step | Choice, ...]
    sink: str = "wait-begin"

    def names(self) -> frozenset[str]:
        """All the functions that it goes by, of all versions; not its root."""
        plain = [step for step in self.steps if isinstance(step, Step)]
        chosen = [step for one in self.steps if isinstance(one, Choice) for way in one.ways for step in way.steps]
        return frozenset(name for step in plain + chosen for name in step.names)


def _entry(boundary: str | None = None) -> Step:
    return Step(StepKind.ENTRY, boundary, anchor=True)


def _send(message: Mark, boundary: str) -> Step:
    return Step(StepKind.SEND, boundary, message=message, anchor=True)


def _receive(message: Mark, boundary: str | None = None) -> Step:
    return Step(StepKind.RECEIVE, boundary, message=message, anchor=True)


def _call(*names: str, boundary: str | None = None, anchor: bool = False, adjacent: bool = False) -> Step:
    return Step(StepKind.CALL, boundary, names, anchor=anchor, adjacent=adjacent)


def _next_call(boundary: str) -> Step:
    return Step(StepKind.NEXT_CALL, boundary)


def _next_branch(boundary: str) -> Step:
    return Step(StepKind.NEXT_BRANCH, boundary)


def _absent(boundary: str, reason: str) -> Step:
    return Step(StepKind.ABSENT, boundary, optional=True, reason=reason)


PRIMARY = Skeleton(
    Role.PRIMARY,
    "migrate_start_colo_process",
    (
        _entry(),
        _call("failover_init_state", boundary="init-begin"),
        _receive(Mark.CHECKPOINT_READY),
        _next_call("ready"),
        _call("replication_start_all"),
        _call(VM_START),
        _call("failover_get_state"),
        _call(*WAIT, boundary="wait-begin"),
        _send(Mark.CHECKPOINT_REQUEST, "transaction-begin"),
        _receive(Mark.CHECKPOINT_REPLY),
        _next_call("reply"),
        _call("vm_stop_force_state", boundary="vm-stop"),
        _next_call("vm-stopped"),
        _call("replication_do_checkpoint_all"),
        _send(Mark.VMSTATE_SEND, "vmstate-send"),
        _call("qemu_save_device_state", boundary="dev-begin"),
        Choice(
            (
                Way(
                    "5.0",
                    (
                        _call(*UNLOCK, boundary="dev-end"),
                        _call("qemu_savevm_live_state", boundary="ram-begin"),
                    ),
                ),
                Way(
                    "11.1: under the lock up to the end of ram",
                    (
                        _call("migrate_auto_converge", boundary="dev-end", adjacent=True),
                        _call("qemu_savevm_query_pending_final", boundary="ram-begin"),
                        _call("qemu_savevm_state_complete_precopy_iterable"),
                        _call(*UNLOCK),
                    ),
                ),
            )
        ),
        _send(Mark.VMSTATE_SIZE, "put-begin"),
        _call("qemu_put_buffer", "qemu_put_buffer_async", boundary="device-state"),
        _receive(Mark.VMSTATE_RECEIVED, "recv-begin"),
        Choice(
            (
                Way(
                    "5.1",
                    (_call("qemu_event_reset", boundary="recv-end"), _call("colo_notify_compares_event")),
                ),
                Way(
                    "5.0: nothing between the two messages",
                    (Step(StepKind.AT_ANCHOR, "recv-end"),),
                    unless_called=WAIT_EVENT,
                ),
            )
        ),
        _receive(Mark.VMSTATE_LOADED, "load-begin"),
        _call(*LOCK, boundary="resume-begin"),
        _call(VM_START, boundary="vm-start", anchor=True),
        _call(*UNLOCK, boundary="vm-started"),
        _next_branch("transaction-end"),
    ),
)

_FLUSHED_IN_RAM = "5.0 flushes the cache at the end of loading pages, within ram"

SECONDARY = Skeleton(
    Role.SECONDARY,
    "colo_process_incoming_thread",
    (
        _entry("init-begin"),
        _call("failover_init_state"),
        _call("replication_start_all"),
        _call(VM_START),
        _send(Mark.CHECKPOINT_READY, "ready"),
        Step(StepKind.RECEIVE_ANY, "wait-begin", message=Mark.CHECKPOINT_REQUEST, anchor=True),
        _call(*LOCK, boundary="transaction-begin"),
        _call("vm_stop_force_state", boundary="vm-stop"),
        _next_call("vm-stopped"),
        _send(Mark.CHECKPOINT_REPLY, "reply"),
        _receive(Mark.VMSTATE_SEND),
        Choice(
            (
                Way(
                    "5.0",
                    (
                        _call(*LOCK, boundary="ram-begin", adjacent=True),
                        _call("qemu_loadvm_state_main"),
                    ),
                ),
                Way(
                    "11.1: ram is loaded without the lock",
                    (_call("qemu_loadvm_state_main", boundary="ram-begin", adjacent=True),),
                ),
            )
        ),
        _receive(Mark.VMSTATE_SIZE, "put-begin"),
        Step(StepKind.CALL, "size", (GET_VALUE,), optional=True),
        _call("qemu_get_buffer", boundary="device-state"),
        _next_branch("put-end"),
        _send(Mark.VMSTATE_RECEIVED, "recv-begin"),
        _call(*LOCK, boundary="load-begin"),
        Choice(
            (
                Way(
                    "5.1",
                    (
                        _call(FLUSH, boundary="cache-flush"),
                        _call(LOAD_DEVICE, boundary="cache-flushed", adjacent=True),
                    ),
                ),
                Way(
                    "none yet: something else is called between the two",
                    (_call(FLUSH, boundary="cache-flush"), _next_call("cache-flushed"), _call(LOAD_DEVICE)),
                ),
                Way(
                    "5.0",
                    (
                        _absent("cache-flush", _FLUSHED_IN_RAM),
                        _absent("cache-flushed", _FLUSHED_IN_RAM),
                        _call(LOAD_DEVICE),
                    ),
                    unless_called=WAIT_EVENT,
                ),
            )
        ),
        _call("replication_do_checkpoint_all"),
        _call(VM_START, boundary="vm-start"),
        _call(*UNLOCK, boundary="vm-started"),
        _send(Mark.VMSTATE_LOADED, "loaded"),
        _next_branch("transaction-end"),
    ),
)

SKELETONS = (PRIMARY, SECONDARY)
