"""The kernel program that times checkpoints: loads it, arms it, reads what it writes."""

from __future__ import annotations

import contextlib
import ctypes as ct
from collections.abc import Mapping, Sequence

from colotrace.errors import EnvironmentFault
from colotrace.kernel.compiler import FUNCTION, load_fault
from colotrace.kernel.layout import (
    PROBES_ARMED,
    PROBES_LOST,
    PROBES_NOT_ALL,
    CheckpointRecord,
    Target,
    Totals,
    TotalsKey,
)
from colotrace.kernel.link import UprobeMultiLink
from colotrace.kernel.loader import Loaded, LoadError
from colotrace.kernel.object import KernelObject
from colotrace.kernel.objectcache import kernel_object
from colotrace.kernel.ring import RingBuffer
from colotrace.phases import Role

DEFAULT_RING_BYTES = 1 << 20
"""Room for 3,500 checkpoint records (288 bytes and a header of 8) while user space is busy elsewhere."""
RECORD_ROOM = ct.sizeof(CheckpointRecord) + 8
"""What a checkpoint's record takes of it."""
BATCH = 4096
"""How many messages are taken at a time while more may come: several VMs together can be faster than user space."""
_PAGE = 4096
_READ_TRIES = 1000
_MIRRORS = {"targets": Target, "totals": Totals}


class Program:
    """The loaded kernel program. Use as a context manager, or close(): that removes its probes, maps and itself.

    Raises EnvironmentFault if bcc or the kernel will not have it.
    """

    def __init__(
        self, ring_bytes: int = DEFAULT_RING_BYTES, max_targets: int = 64, defines: Sequence[str] = ()
    ) -> None:
        if ring_bytes < _PAGE or ring_bytes & (ring_bytes - 1):
            raise ValueError(f"ring_bytes must be a power of two and at least {_PAGE}")
        compiled = kernel_object(defines)
        for one in compiled.maps:
            if one.name in _MIRRORS and one.value_size != ct.sizeof(_MIRRORS[one.name]):
                raise EnvironmentFault(f"the kernel program's struct of {one.name} differs from colotrace's")
        sizes = {"targets": max_targets, "probes": max_targets, "totals": max_targets * len(Role), "events": ring_bytes}
        self._links: dict[int, UprobeMultiLink] = {}
        self._messages: list[bytes] = []
        self._ring_bytes, self._hurries = ring_bytes, False
        with contextlib.ExitStack() as undo:
            try:
                self._loaded = _load(compiled, defines, sizes)
            except LoadError as error:
                raise load_fault(str(error), error.said) from error
            undo.callback(self._loaded.close)
            self._maps = self._loaded.maps
            self._ring = RingBuffer(self._maps["events"].fd, self._take)
            undo.callback(self._ring.close)
            self.memory_bytes = sum(one.memory_bytes() for one in self._maps.values())
            """The kernel memory of the program's maps, the ring buffer among them, as the kernel states it."""
            undo.pop_all()

    def _take(self, message: bytes) -> bool:
        """Keeps a message; ends the batch when it is full, for otherwise it would go on for as long as more come."""
        if not self._messages or self._messages[-1] is not message:
            self._messages.append(message)
        return len(self._messages) < BATCH

    def set_target(self, index: int, target: Target) -> None:
        """Writes a target's settings; before its probes are armed."""
        self._maps["targets"].write(index, bytes(target))

    def mark_probe_lost(self, index: int) -> None:
        """Tells the kernel that a probe of a target is gone: none of its checkpoints is complete from here on."""
        self._set_probes(index, PROBES_LOST)

    def _set_probes(self, index: int, state: int) -> None:
        self._maps["probes"].write(index, bytes(ct.c_uint32(state)))

    def target(self, index: int) -> Target:
        """A target's settings and counters."""
        data = self._maps["targets"].read(index)
        if data is None:
            raise KeyError(index)
        return Target.from_buffer_copy(data)

    def arm(self, index: int, path: str, pid: int, offsets: Sequence[int], cookies: Sequence[int]) -> None:
        """Arms all probes of a target with one link; raises as UprobeMultiLink does.

        The kernel sets them one after the other, and a COLO thread may pass meanwhile: they count once all are there.
        """
        self._links[index] = UprobeMultiLink(self._loaded.fd, path, pid, offsets, cookies)
        self._set_probes(index, PROBES_ARMED)

    def disarm(self, index: int) -> None:
        """Removes a target's probes; totals and unread messages stay. Safe to call twice."""
        link = self._links.pop(index, None)
        if link:
            try:
                self._set_probes(index, PROBES_NOT_ALL)
            finally:
                link.close()

    def poll(self, timeout_ms: int) -> list[bytes]:
        """The messages that have arrived after `timeout_ms`; sooner only where COLO begins or ends.

        Records of checkpoints wake nobody, so that the COLO thread keeps its processor. While they come so fast that a
        good part of the buffer was taken the last time, there is no waiting: it might be full before.
        """
        self._ring.poll(0 if self._hurries else timeout_ms)
        messages = self.drain()
        self._hurries = len(messages) >= min(BATCH, self._ring_bytes // 8 // RECORD_ROOM)
        return messages

    def drain(self) -> list[bytes]:
        """The messages that are there now: all of them once nothing is armed any more, up to BATCH before."""
        messages = self._batch()
        while not self._links and (more := self._batch()):
            messages += more
        return messages

    def _batch(self) -> list[bytes]:
        if len(self._messages) < BATCH:
            self._ring.consume()
        messages, self._messages = self._messages, []
        return messages

    def totals(self, index: int, role: Role) -> Totals | None:
        """A consistent copy of a target's totals in a role; None if that role was never seen."""
        key = bytes(TotalsKey(index, role.number))
        last = b""
        for _ in range(_READ_TRIES):
            data = self._maps["totals"].read(key)
            if data is None:
                return None
            totals = Totals.from_buffer_copy(data)
            if totals.writes_begun == totals.writes_done and data == last:
                return totals
            last = data
        raise EnvironmentFault("the totals change faster than they can be read")

    def close(self) -> None:
        """Removes probes, maps and program."""
        for index in list(self._links):
            self.disarm(index)
        self._ring.close()
        self._loaded.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _load(compiled: KernelObject, defines: Sequence[str], sizes: Mapping[str, int]) -> Loaded:
    """Loads it; what was kept and is refused is compiled anew, once."""
    try:
        return Loaded(compiled, FUNCTION, sizes)
    except LoadError:
        again = kernel_object(defines, fresh=True)
        if again == compiled:
            raise
        return Loaded(again, FUNCTION, sizes)
