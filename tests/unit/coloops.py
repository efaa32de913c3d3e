"""What the two COLO threads of QEMU 7.2 do (migration/colo.c), as lists of operations; and ways to break them.

`marks` name the boundaries (colotrace.phases) whose probe belongs on the operation: the ground truth of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

MESSAGES = (
    "checkpoint-ready", "checkpoint-request", "checkpoint-reply", "vmstate-send", "vmstate-size", "vmstate-received",
    "vmstate-loaded",
)  # fmt: skip


@dataclass(frozen=True)
class Op:
    """One operation.

    kind: label | call | send | check | receive | branch | jump | trace | indirect | return.
    `name` is the label or the function called, `message` what is sent or awaited; `number` overrides its number, and
    a negative one makes it unclear.
    """

    kind: str
    name: str = ""
    marks: tuple[str, ...] = ()
    message: str = ""
    number: int | None = None


Ops = tuple[Op, ...]
Breakage = Callable[[Ops], Ops]

FLOATING = {
    "primary": ("ready", "reply", "vm-stopped"),
    "secondary": ("vm-stopped", "ram-begin", "cache-flushed"),
}
"""Boundaries that are "the next call": with a call gone they move on to the one after it."""


def _call(name: str, *marks: str) -> Op:
    return Op("call", name, marks)


def _send(message: str, *marks: str) -> Op:
    return Op("send", "send", marks, message)


def _check(message: str, *marks: str) -> Op:
    return Op("check", "check", marks, message)


def _unless(name: str, *marks: str) -> Op:
    return Op("branch", name, marks)


def _label(name: str) -> Op:
    return Op("label", name)


def _jump(name: str, *marks: str) -> Op:
    return Op("jump", name, marks)


_LOCK, _UNLOCK = "qemu_mutex_lock_iothread_impl", "qemu_mutex_unlock_iothread"
_TRACE = Op("trace")

PRIMARY: Ops = (
    Op("label", "entry"),
    _call(_UNLOCK), _call("qemu_event_init"), _call("qemu_sem_init"), _call("get_colo_mode"), _unless("wrong mode"),
    _call("failover_init_state", "init-begin"), _call("qemu_file_get_return_path"), _unless("out"),
    _call("colo_compare_register_notifier"), _check("checkpoint-ready"), _unless("out"),
    _call("qio_channel_buffer_new", "ready"), _call("qemu_file_new_output"), _call("object_unref"), _call(_LOCK),
    _call("replication_start_all"), _unless("unlock, out"), _call("vm_start"), _call(_UNLOCK), _TRACE,
    _call("timer_mod"),
    _label("top"), _unless("out"), _call("failover_get_state"), _unless("out"),
    _call("qemu_event_wait", "wait-begin"), _unless("out"),
    _send("checkpoint-request", "transaction-begin"), _unless("failed"),
    _check("checkpoint-reply"), _unless("failed"),
    _call("object_dynamic_cast_assert", "reply"), _call("qio_channel_io_seek"), _call(_LOCK),
    _call("failover_get_state"), _unless("unlock, failed"),
    _call("vm_stop_force_state", "vm-stop"), _call(_UNLOCK, "vm-stopped"), _TRACE,
    _call("failover_get_state"), _unless("failed"), _call(_LOCK), _call("replication_do_checkpoint_all"),
    _unless("unlock, failed"), _send("vmstate-send", "vmstate-send"), _unless("unlock, failed"),
    _call("qemu_save_device_state", "dev-begin"), _call(_UNLOCK, "dev-end"),
    _call("qemu_savevm_live_state", "ram-begin"), _call("qemu_fflush"),
    _send("vmstate-size", "put-begin"), _unless("failed"), _call("qemu_put_be64"), _call("qemu_file_get_error"),
    _unless("failed"), _call("qemu_put_buffer", "device-state"), _call("qemu_file_get_error"), _unless("failed"),
    _check("vmstate-received", "recv-begin"), _unless("failed, zero"),
    _call("qemu_event_reset", "recv-end"), _call("colo_notify_compares_event"), _unless("failed, zero"),
    _check("vmstate-loaded", "load-begin"), _unless("failed, zero"),
    _call(_LOCK, "resume-begin"), _call("vm_start", "vm-start"), _call(_UNLOCK, "vm-started"),
    Op("trace", marks=("transaction-end",)), _unless("failed"), _jump("top"),
    _label("unlock, failed"), _call(_UNLOCK),
    _label("failed"), _call("error_report_err"), _unless("out"), _jump("top"),
    _label("failed, zero"), _call("error_report_err"), _jump("top"),
    _label("unlock, out"), _call(_UNLOCK),
    _label("out"), _call("qemu_fclose"), _call("failover_get_state"), _unless("requested"),
    _call("qapi_event_send_colo_exit", "colo-exit"),
    _label("leave"), _call("qemu_sem_wait"), _call("qemu_sem_destroy"), _call("timer_free"),
    _label("done"), _call(_LOCK), Op("return"),
    _label("requested"), _call("qapi_event_send_colo_exit", "colo-exit"), _jump("leave"),
    _label("wrong mode"), _call("error_report"), _jump("done"),
)  # fmt: skip

SECONDARY: Ops = (
    Op("label", "entry", ("init-begin",)),
    _call("rcu_register_thread"), _call("qemu_sem_init"), _call("get_colo_mode"), _unless("wrong mode"),
    _call("failover_init_state"), _call("qemu_file_get_return_path"), _unless("out"),
    _call("colo_incoming_start_dirty_log"), _call("qio_channel_buffer_new"), _call("object_unref"), _call(_LOCK),
    _call("replication_start_all"), _unless("unlock, out"), _call("vm_start"), _call(_UNLOCK), _TRACE,
    _send("checkpoint-ready", "ready"), _unless("out"),
    _label("top"), _unless("out"), Op("receive", "receive", ("wait-begin",), "checkpoint-request"), _unless("broken"),
    _call(_LOCK, "transaction-begin"), _call("vm_stop_force_state", "vm-stop"), _call(_UNLOCK, "vm-stopped"), _TRACE,
    _send("checkpoint-reply", "reply"), _unless("broken"), _check("vmstate-send"), _unless("broken"),
    _call(_LOCK, "ram-begin"), _call("cpu_synchronize_all_states"), _call("qemu_loadvm_state_main"), _call(_UNLOCK),
    _unless("error set"), _check("vmstate-size", "put-begin"), _unless("no value"), _call("qemu_get_be64", "size"),
    _call("qemu_file_get_error"), _unless("error set"),
    _label("value"), _unless("realloc"),
    _label("big enough"), _call("qemu_get_buffer", "device-state"), _unless("error set", "put-end"),
    _call("qio_channel_io_seek"), _send("vmstate-received", "recv-begin"), _unless("broken"),
    _call(_LOCK, "load-begin"), _call("colo_flush_ram_cache", "cache-flush"),
    _call("qemu_load_device_state", "cache-flushed"),
    _unless("unlock, error set"), _call("replication_get_error_all"), _unless("unlock, broken"),
    _call("replication_do_checkpoint_all"), _unless("unlock, broken"), _call("colo_notify_filters_event"),
    _unless("unlock, broken"), _call("vm_start", "vm-start"), _call(_UNLOCK, "vm-started"), _TRACE,
    _call("failover_get_state"), _unless("handled"),
    _send("vmstate-loaded", "loaded"), _jump("propagate", "transaction-end"),
    _label("no value"), _unless("broken"), _jump("value"),
    _label("realloc"), _call("g_realloc"), _jump("big enough"),
    _label("unlock, error set"), _call(_UNLOCK),
    _label("error set"), _call("error_setg_internal"), _jump("broken"),
    _label("unlock, broken"), _call(_UNLOCK),
    _label("broken"),
    _label("propagate"), _call("error_propagate"), _unless("report"),
    _label("handled"), _call("failover_get_state"), _unless("relaunch"), _call("failover_get_state"), _unless("report"),
    _jump("top"),
    _label("relaunch"), _call("failover_set_state"), _jump("out"),
    _label("report"), _call("error_report_err"), _jump("out"),
    _label("unlock, out"), _call(_UNLOCK),
    _label("out"), _call("failover_get_state"), _unless("requested"), _call("qapi_event_send_colo_exit", "colo-exit"),
    _label("leave"), _call("qemu_fclose"), _call("qemu_sem_wait"), _call("qemu_sem_destroy"),
    _label("done"), _call("rcu_unregister_thread"), Op("return"),
    _label("requested"), _call("qapi_event_send_colo_exit", "colo-exit"), _jump("leave"),
    _label("wrong mode"), _call("error_report"), _jump("done"),
)  # fmt: skip

BODIES: dict[str, Ops] = {"primary": PRIMARY, "secondary": SECONDARY}


def where(ops: Ops, mark: str) -> int:
    """The index of the only operation marked so."""
    (at,) = (n for n, op in enumerate(ops) if mark in op.marks)
    return at


def message_at(ops: Ops, message: str) -> int:
    """The index of the only operation that sends or awaits a message."""
    (at,) = (n for n, op in enumerate(ops) if op.message == message)
    return at


def drop(ops: Ops, at: int, floating: tuple[str, ...] = ()) -> Ops:
    """Without the call at an index; its floating marks go to the next call."""
    kept, rest = tuple(m for m in ops[at].marks if m in floating), list(ops[at + 1 :])
    if kept:
        following = next(n for n, op in enumerate(rest) if op.kind in ("call", "send", "check", "receive"))
        rest[following] = replace(rest[following], marks=rest[following].marks + kept)
    return (*ops[:at], *rest)


def duplicate(ops: Ops, at: int) -> Ops:
    """With the operation at an index a second time behind it (there without marks)."""
    return (*ops[: at + 1], replace(ops[at], marks=()), *ops[at + 1 :])


def swap(ops: Ops, one: int, other: int) -> Ops:
    """With the messages of two operations exchanged, the marks staying where they stand."""
    changed = list(ops)
    changed[one] = replace(ops[one], message=ops[other].message)
    changed[other] = replace(ops[other], message=ops[one].message)
    return tuple(changed)


def renumber(ops: Ops, at: int, number: int) -> Ops:
    """With another number in the operation's second argument; -1: one that the code does not tell."""
    return (*ops[:at], replace(ops[at], number=number), *ops[at + 1 :])


def insert(ops: Ops, at: int, *new: Op) -> Ops:
    """With operations put in before an index."""
    return (*ops[:at], *new, *ops[at:])
