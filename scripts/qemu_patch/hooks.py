"""Where COLO's phases begin and end in QEMU 7.2's migration/colo.c: the boundaries of the patch's get_clock() calls."""

from __future__ import annotations

from .insertion import Call, FirstStatement, Hook, LoopAround, Side

BEFORE, AFTER = Side.BEFORE, Side.AFTER
HEADER = "checkpoint_recorder.h"


def _begin(function: str, anchor: Call | LoopAround | FirstStatement, phase: str) -> Hook:
    return Hook(function, BEFORE, anchor, f"checkpoint_recorder_begin({phase});")


def _end(function: str, anchor: Call, phase: str) -> Hook:
    return Hook(function, AFTER, anchor, f"checkpoint_recorder_end({phase});")


# The primary.
_START = "migrate_start_colo_process"
_LOOP = "colo_process_checkpoint"
_WAIT = Call("qemu_event_wait")
_TRANSACTION = Call("colo_do_checkpoint_transaction")

_CHECKPOINT = "colo_do_checkpoint_transaction"
_SAVE = Call("qemu_save_device_state")
_LIVE = Call("qemu_savevm_live_state")
_SIZE = Call("colo_send_message_value", "COLO_MESSAGE_VMSTATE_SIZE")
_PUT = Call("qemu_put_buffer")
_RECEIVED = Call("colo_receive_check_message", "COLO_MESSAGE_VMSTATE_RECEIVED")
_LOADED = Call("colo_receive_check_message", "COLO_MESSAGE_VMSTATE_LOADED")
_VM_START = Call("vm_start")

PRIMARY = (
    Hook(_START, BEFORE, Call("colo_process_checkpoint"), "checkpoint_recorder_enter(CR_PRIMARY);"),
    Hook(_LOOP, BEFORE, LoopAround(_WAIT), "checkpoint_recorder_end(CR_INIT);"),
    _begin(_LOOP, _WAIT, "CR_WAIT"),
    _end(_LOOP, _WAIT, "CR_WAIT"),
    _begin(_LOOP, _TRANSACTION, "CR_TOTAL"),
    Hook(_LOOP, AFTER, _TRANSACTION, "checkpoint_recorder_finish({assigned} >= 0);"),
    _begin(_CHECKPOINT, Call("colo_send_message", "COLO_MESSAGE_CHECKPOINT_REQUEST"), "CR_STAT"),
    _end(_CHECKPOINT, Call("colo_send_message", "COLO_MESSAGE_VMSTATE_SEND"), "CR_STAT"),
    _begin(_CHECKPOINT, _SAVE, "CR_DEV"),
    _end(_CHECKPOINT, _SAVE, "CR_DEV"),
    _begin(_CHECKPOINT, _LIVE, "CR_RAM"),
    _end(_CHECKPOINT, Call("qemu_fflush", after=_LIVE, before=_SIZE), "CR_RAM"),
    _begin(_CHECKPOINT, _SIZE, "CR_PUT"),
    Hook(_CHECKPOINT, BEFORE, _PUT, "checkpoint_recorder_device_bytes({argument3});"),
    _end(_CHECKPOINT, Call("qemu_fflush", after=_PUT, before=_RECEIVED), "CR_PUT"),
    _begin(_CHECKPOINT, _RECEIVED, "CR_RECV"),
    _end(_CHECKPOINT, _RECEIVED, "CR_RECV"),
    _begin(_CHECKPOINT, _LOADED, "CR_LOAD"),
    _end(_CHECKPOINT, _LOADED, "CR_LOAD"),
    _begin(_CHECKPOINT, Call("qemu_mutex_lock_iothread", after=_LOADED, before=_VM_START), "CR_RESUME"),
    _end(_CHECKPOINT, Call("trace_colo_vm_state_change", after=_VM_START), "CR_RESUME"),
)

# The secondary.
_THREAD = "colo_process_incoming_thread"
_HANDLE = "colo_wait_handle_message"
_MESSAGE = Call("colo_receive_message")
_INCOMING_TRANSACTION = Call("colo_incoming_process_checkpoint")

_INCOMING = "colo_incoming_process_checkpoint"
_SEND = Call("colo_receive_check_message", "COLO_MESSAGE_VMSTATE_SEND")
_LOAD_RAM = Call("qemu_loadvm_state_main")
_INCOMING_SIZE = Call("colo_receive_message_value", "COLO_MESSAGE_VMSTATE_SIZE")
_GET = Call("qemu_get_buffer")
_SEND_RECEIVED = Call("colo_send_message", "COLO_MESSAGE_VMSTATE_RECEIVED")
_LOAD_DEVICES = Call("qemu_load_device_state")

SECONDARY = (
    Hook(_THREAD, BEFORE, FirstStatement(), "checkpoint_recorder_enter(CR_SECONDARY);"),
    Hook(_THREAD, BEFORE, LoopAround(Call(_HANDLE)), "checkpoint_recorder_end(CR_INIT);"),
    _begin(_HANDLE, _MESSAGE, "CR_WAIT"),
    _end(_HANDLE, _MESSAGE, "CR_WAIT"),
    _begin(_HANDLE, _INCOMING_TRANSACTION, "CR_TOTAL"),
    # The callee reports failure through its last argument, which the thread's loop never passes as NULL.
    Hook(_HANDLE, AFTER, _INCOMING_TRANSACTION, "checkpoint_recorder_finish(!*{last_argument});"),
    _begin(_INCOMING, FirstStatement(), "CR_STAT"),
    _end(_INCOMING, _SEND, "CR_STAT"),
    _begin(_INCOMING, Call("qemu_mutex_lock_iothread", after=_SEND, before=_LOAD_RAM), "CR_RAM"),
    _end(_INCOMING, Call("qemu_mutex_unlock_iothread", after=_LOAD_RAM, before=_INCOMING_SIZE), "CR_RAM"),
    _begin(_INCOMING, _INCOMING_SIZE, "CR_PUT"),
    Hook(_INCOMING, BEFORE, _GET, "checkpoint_recorder_device_bytes({argument3});"),
    _end(_INCOMING, _GET, "CR_PUT"),
    _begin(_INCOMING, _SEND_RECEIVED, "CR_RECV"),
    _end(_INCOMING, _SEND_RECEIVED, "CR_RECV"),
    _begin(_INCOMING, Call("qemu_mutex_lock_iothread", after=_SEND_RECEIVED, before=_LOAD_DEVICES), "CR_LOAD"),
    _end(_INCOMING, Call("colo_send_message", "COLO_MESSAGE_VMSTATE_LOADED"), "CR_LOAD"),
)
