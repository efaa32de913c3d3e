"""Troubles that come and go: settings of a running pair, changed between checkpoints, each change with its moment.

    dirty = Dirty(pair)                                # of Settings(adjustable=True)
    with Switch(pair, dirty.set_mib, "STOP", lambda n: random.choice((4, 24))) as switch:
        ...                                            # checkpoints
    switch.setting_at(begin_ns)                        # under which a checkpoint that began then was made
"""

from __future__ import annotations

import bisect
import os
import re
import threading
import time
from collections.abc import Callable
from types import TracebackType

from .errors import VmError
from .firmware import END_WORD_ADDRESS, RANGE_BEGIN_MIB
from .pair import ColoPair
from .vm import Vm

POLL_S = 0.001


class Switch:
    """Sets something anew at every event of the primary's, in a thread: `choose(n)` gives the n-th setting, None to
    leave it; `apply` sets it. STOP: for what the guest does from the next resume on; RESUME: for the next transfer."""

    def __init__(
        self, pair: ColoPair, apply: Callable[[int], None], event: str, choose: Callable[[int], int | None]
    ) -> None:
        self._monitor, self._event = pair.primary.monitor, event
        self._apply, self._choose = apply, choose
        self._when_ns: list[int] = []
        self._settings: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lab-switch", daemon=True)
        self.error: Exception | None = None

    def __enter__(self) -> Switch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if self.error is not None and error is None:
            raise self.error

    def setting_at(self, monotonic_ns: int) -> int | None:
        """What was set at that moment; None before the first setting."""
        at = bisect.bisect(self._when_ns, monotonic_ns)
        return self._settings[at - 1] if at else None

    @property
    def changes(self) -> tuple[tuple[int, int], ...]:
        """Each setting with the moment (CLOCK_MONOTONIC) by which it was made."""
        return tuple(zip(self._when_ns, self._settings, strict=True))

    def _run(self) -> None:
        seen, number = self._monitor.count(self._event), 0
        while not self._end.wait(POLL_S):
            count = self._monitor.count(self._event)
            if count == seen:
                continue
            seen, setting = count, self._choose(number)
            number += 1
            if setting is None:
                continue
            try:
                self._apply(setting)
            except Exception as error:  # told by whoever waits for the thread
                self.error = error
                return
            self._when_ns.append(time.monotonic_ns())
            self._settings.append(setting)


class Dirty:
    """How much an adjustable guest overwrites, on both VMs: a word of its memory, written from outside."""

    def __init__(self, pair: ColoPair) -> None:
        self._words = [(vm.pid, _host_address(vm, END_WORD_ADDRESS)) for vm in pair.vms]

    def set_mib(self, mib: int) -> None:
        """From now on `mib`, at least 1 and at most Settings.dirty_mib."""
        end = (RANGE_BEGIN_MIB + mib) << 20
        for pid, address in self._words:
            memory = os.open(f"/proc/{pid}/mem", os.O_WRONLY)
            try:
                os.pwrite(memory, end.to_bytes(4, "little"), address)
            finally:
                os.close(memory)


def _host_address(vm: Vm, address: int) -> int:
    text = vm.monitor.human(f"gpa2hva {address:#x}")
    found = re.search(r" is (0x[0-9a-f]+)", text)
    if found is None:
        raise VmError(f"the {vm.role} does not tell where guest memory at {address:#x} lies: {text.strip()}")
    return int(found[1], 16)
