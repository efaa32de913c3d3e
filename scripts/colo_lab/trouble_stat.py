"""Troubles of stopping a VM, made on purpose: QEMU's big lock held by a monitor command, requests of a slow disk.

with ColoPair(Settings(qemu_options=slow_disk(30))) as pair, LockHog(pair.primary, every_s=0.05) as hog:
    ...
"""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType

from .errors import VmError
from .vm import Vm

DISK, SINK = "slow", "sink"
JOB = "trouble"
_SIZE = 1 << 40  # more than any job gets through here


def slow_disk(latency_ms: float) -> tuple[str, ...]:
    """QEMU options for a disk that answers each request after `latency_ms`, and one that answers at once."""
    null = f"driver=null-co,read-zeroes=off,size={_SIZE}"
    return (
        *("-blockdev", f"{null},node-name={DISK},latency-ns={round(latency_ms * 1_000_000)}"),
        *("-blockdev", f"{null},node-name={SINK}"),
    )


def start_backup(vm: Vm) -> None:
    """A job that always has requests of the slow disk in flight: a backup of it, until the VM ends.

    When the VM is stopped, those in flight are waited for, and those that the job makes of them meanwhile: one latency
    to two.
    """
    vm.execute("blockdev-backup", job_id=JOB, device=DISK, target=SINK, sync="full")


class LockHog:
    """Holds QEMU's big lock again and again: a monitor command that reads from the slow disk and waits for it.

    qemu-io on a node without a user of its own drains that node before it returns, and monitor commands run with the
    lock. Every `every_s` seconds, by the clock: the next one begins at once where one takes longer.
    """

    def __init__(self, vm: Vm, every_s: float) -> None:
        self.held_ns: list[int] = []
        """How long each command took, by this side's clock: the lock's time and the monitor's round trip."""
        self._vm, self._every_s = vm, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LockHog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        with contextlib.suppress(VmError):  # the VM is gone, and the lab says so
            while not self._over.wait(max(0.0, due - time.monotonic())):
                begin = time.monotonic_ns()
                self._vm.execute("human-monitor-command", command_line=f'qemu-io {DISK} "aio_read -q 0 4k"')
                self.held_ns.append(time.monotonic_ns() - begin)
                due = max(due + self._every_s, time.monotonic())
