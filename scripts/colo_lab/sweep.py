"""Measures how long the guest takes to overwrite its range once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import VmError
from .firmware import SWEEP_WORD_ADDRESS
from .vm import POLL_S, Vm

SPAN_S = 0.15
FINE_POLL_S = 0.0005


@dataclass(frozen=True)
class _Tick:
    """The moment (time.monotonic(), seconds) at which a sweep was first seen, and its number."""

    at: float
    sweep: int


def sweep_ms(vm: Vm, deadline: float, check: Callable[[], None]) -> float:
    """Milliseconds for one sweep, averaged over at least SPAN_S, of a running guest that dirties memory.

    From one change of the sweep's number to another one: good to about a millisecond over the span. The first sweeps
    are left out, as the host allocates the guest's pages in them. VmError if the guest stands still until `deadline`.
    """
    first = _next_tick(vm, after=1, deadline=deadline, check=check)
    while True:
        last = _next_tick(vm, after=vm.word_at(SWEEP_WORD_ADDRESS), deadline=deadline, check=check)
        if last.sweep > first.sweep and last.at - first.at >= SPAN_S:
            return (last.at - first.at) * 1000 / (last.sweep - first.sweep)


def _next_tick(vm: Vm, after: int, deadline: float, check: Callable[[], None]) -> _Tick:
    """The first sweep seen with a number greater than `after`."""
    while True:
        check()
        sweep = vm.word_at(SWEEP_WORD_ADDRESS)
        at = time.monotonic()
        if sweep > after:
            return _Tick(at, sweep)
        if at > deadline:
            state = vm.execute("query-status").get("status", "unknown")
            raise VmError(
                f"the guest does not write its memory: it is in sweep {sweep}, the VM is {state}{vm.quote()}",
                "is KVM working here (dmesg)? A longer --ready-timeout helps a very slow machine",
            )
        time.sleep(FINE_POLL_S if after > 1 else POLL_S)
