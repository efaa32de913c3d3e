"""What colo.c does between two waits, as data: the messages are the spine, the named calls are the ribs.

A skeleton is a list of steps in the order of the path of success. *Anchors* (the messages, and a few calls) are found
first, each by itself, anywhere in the role's function. The steps between two anchors are then looked for only on
paths from the one to the other that pass no further anchor. Several names for a call are the same call in different
versions of QEMU.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from colotrace.phases import Mark, Role

LOCK = ("qemu_mutex_lock_iothread_impl", "bql_lock_impl")
UNLOCK = ("qemu_mutex_unlock_iothread", "bql_unlock")
WAIT = ("qemu_event_wait", "qemu_sem_wait")
PUT_NUMBER, GET_NUMBER = "qemu_put_be32", "qemu_get_be32"
PUT_VALUE, GET_VALUE = "qemu_put_be64", "qemu_get_be64"
COLO_EXIT = "qapi_event_send_colo_exit"
VM_START = "vm_start"
MESSAGE_TABLE = "COLOMessage_lookup"
COLO_TEXT = b"Can't send COLO message"
"""An error text of colo.c: in every binary that has COLO, whatever names it has lost."""


class StepKind(enum.Enum):
    """How a step is recognised."""

    ENTRY = "entry"
    """The function's start: its first instruction that the kernel emulates."""
    SEND = "send"
    """A call of the function that sends a message (it calls qemu_put_be32), with the message's number."""
    RECEIVE = "receive"
    """A call of the function that receives a message and compares it with the number given."""
    RECEIVE_ANY = "receive-any"
    """A call of the function that receives whatever comes (it calls qemu_get_be32)."""
    CALL = "call"
    """A call of a function by name."""
    NEXT_CALL = "next-call"
    """The first call that every path from the step before passes."""
    NEXT_BRANCH = "next-branch"
    """The first call or branch in straight line behind the call of the step before."""


@dataclass(frozen=True)
class Step:
    """One step. Without a `boundary` it is only a witness: it must be there, and no probe is set.

    An `optional` step only sets a time mark; it need not lie on every path.
    """

    kind: StepKind
    boundary: str | None = None
    names: tuple[str, ...] = ()
    message: Mark | None = None
    anchor: bool = False
    optional: bool = False

    def __str__(self) -> str:
        if self.message:
            return f"{self.kind.value} of {self.message.value}"
        return f"{self.kind.value} of {' or '.join(self.names)}" if self.names else self.kind.value


@dataclass(frozen=True)
class Skeleton:
    """A role's steps. `root` names the function they are in, `sink` the boundary that the loop comes back to."""

    role: Role
    root: str
    steps: tuple[Step, ...]
    sink: str = "wait-begin"


def _entry(boundary: str | None = None) -> Step:
    return Step(StepKind.ENTRY, boundary, anchor=True)


def _send(message: Mark, boundary: str) -> Step:
    return Step(StepKind.SEND, boundary, message=message, anchor=True)


def _receive(message: Mark, boundary: str | None = None) -> Step:
    return Step(StepKind.RECEIVE, boundary, message=message, anchor=True)


def _call(*names: str, boundary: str | None = None, anchor: bool = False, optional: bool = False) -> Step:
    return Step(StepKind.CALL, boundary, names, anchor=anchor, optional=optional)


def _next_call(boundary: str) -> Step:
    return Step(StepKind.NEXT_CALL, boundary)


def _next_branch(boundary: str) -> Step:
    return Step(StepKind.NEXT_BRANCH, boundary)


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
        _call(*UNLOCK, boundary="dev-end"),
        _call("qemu_savevm_live_state", boundary="ram-begin"),
        _send(Mark.VMSTATE_SIZE, "put-begin"),
        _call("qemu_put_buffer", boundary="device-state"),
        _receive(Mark.VMSTATE_RECEIVED, "recv-begin"),
        _call("qemu_event_reset", boundary="recv-end"),
        _call("colo_notify_compares_event"),
        _receive(Mark.VMSTATE_LOADED, "load-begin"),
        _call(*LOCK, boundary="resume-begin"),
        _call(VM_START, boundary="vm-start", anchor=True),
        _call(*UNLOCK, boundary="vm-started"),
        _next_branch("transaction-end"),
    ),
)

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
        _next_call("ram-begin"),
        _call("qemu_loadvm_state_main"),
        _receive(Mark.VMSTATE_SIZE, "put-begin"),
        _call(GET_VALUE, boundary="size", optional=True),
        _call("qemu_get_buffer", boundary="device-state"),
        _next_branch("put-end"),
        _send(Mark.VMSTATE_RECEIVED, "recv-begin"),
        _call(*LOCK, boundary="load-begin"),
        _call("colo_flush_ram_cache"),
        _call("qemu_load_device_state"),
        _call("replication_do_checkpoint_all"),
        _call(VM_START, boundary="vm-start"),
        _call(*UNLOCK, boundary="vm-started"),
        _send(Mark.VMSTATE_LOADED, "loaded"),
        _next_branch("transaction-end"),
    ),
)

SKELETONS = (PRIMARY, SECONDARY)
