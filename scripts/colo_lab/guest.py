"""Whether a guest that checks itself (Settings.self_check) still finds in its memory what it has written.

Two ways to look: at the guest's own word while it runs, and at all its memory while it is stopped.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

from .errors import VmError
from .firmware import FAULT_WORD_ADDRESS, PATTERN_MASK, SWEEP_WORD_ADDRESS
from .settings import Settings
from .vm import Vm

PAGE_BYTES = 4096
POLL_S = 0.005
SWEEPS = 2
"""After two more sweeps every page has been looked at since: the first may have been under way."""


def looks_at_itself(vm: Vm, timeout_s: float = 10.0) -> int:
    """Waits until the guest has been through all its memory once more; the number of sweeps it has made by then.

    Raises VmError if it found a page that was not as it had written it, or stands still.
    """
    begin = vm.word_at(SWEEP_WORD_ADDRESS)
    until = time.monotonic() + timeout_s
    while True:
        sweep = vm.word_at(SWEEP_WORD_ADDRESS)
        fault = vm.word_at(FAULT_WORD_ADDRESS)
        if fault:
            raise VmError(f"the {vm.name}'s guest found the page at {fault:#x} not as it had written it")
        if sweep >= begin + SWEEPS:
            return sweep
        if time.monotonic() > until:
            state = vm.execute("query-status").get("status")
            raise VmError(f"the {vm.name}'s guest stands still in sweep {sweep}; the VM is {state}")
        time.sleep(POLL_S)


def memory_is_whole(vm: Vm, settings: Settings, scratch: Path) -> int:
    """Reads all that the guest overwrites; the VM must be stopped and not in COLO. The sweep under way.

    Every page must hold its pattern, and the number of this sweep up to some page, of the one before from there on, and
    nothing else. Raises VmError if one does not.
    """
    file = scratch / f"{vm.name}.memory"
    size = settings.dirty_mib << 20
    vm.execute("pmemsave", val=SWEEP_WORD_ADDRESS, size=size, filename=str(file))
    data = file.read_bytes()
    file.unlink()
    fault = first_fault(data)
    if fault is not None or len(data) != size:
        raise VmError(f"the {vm.name}'s memory is not what its guest wrote: {fault or f'{len(data)} bytes'}")
    return int.from_bytes(data[:4], "little")


def first_fault(data: bytes) -> str | None:
    """What is wrong with the range's bytes at a stopped moment; None if nothing is."""
    sweep = int.from_bytes(data[:4], "little")
    current = True
    for offset in range(0, len(data), PAGE_BYTES):
        number, pattern = struct.unpack_from("<II", data, offset)
        address = SWEEP_WORD_ADDRESS + offset
        if pattern ^ PATTERN_MASK != address:
            return f"the page at {address:#x} holds {pattern:#x} in place of its pattern"
        current = current and number == sweep
        if not current and number != sweep - 1:
            return f"the page at {address:#x} holds {number}, in sweep {sweep}"
        if any(data[offset + 8 : offset + PAGE_BYTES]):
            return f"the page at {address:#x} holds bytes that nobody wrote"
    return None
