"""A memory cgroup of either version for a while."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .scenario import Skipped

_CGROUP = Path("/sys/fs/cgroup")
_GONE_S = 10.0


class MemoryGroup:
    """Its files by their names in this version of cgroups."""

    def __init__(self, path: Path, limit: str, usage: str, events: str) -> None:
        self.path = path
        self._limit, self._usage, self._events = path / limit, path / usage, path / events

    def enter(self) -> None:
        """Puts the calling process in; for Popen(preexec_fn=...)."""
        with open(self.path / "cgroup.procs", "w", encoding="ascii") as members:
            members.write("0")

    def limit(self, size: int) -> None:
        """Sets how much its processes may have together."""
        self._limit.write_text(str(size))

    def usage(self) -> int:
        """What they have."""
        return int(self._usage.read_text())

    def kills(self) -> int:
        """How many of them the kernel has killed for want of memory."""
        words = self._events.read_text().split()
        return int(words[words.index("oom_kill") + 1])


@contextlib.contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A new group, gone afterwards; its processes must have ended by then. Raises Skipped if there can be none."""
    name = f"colotrace-torture-{os.getpid()}"
    if (_CGROUP / "memory").is_dir():
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
        group = MemoryGroup(_CGROUP / "memory" / name, *names)
    else:
        group = MemoryGroup(_CGROUP / name, "memory.max", "memory.current", "memory.events")
    try:
        group.path.mkdir()
    except OSError as error:
        raise Skipped(f"no memory cgroup can be made here: {error.strerror}") from error
    try:
        try:
            group.usage()
        except OSError as error:
            raise Skipped("the memory controller is not enabled at the top of the cgroups") from error
        yield group
    finally:
        until = time.monotonic() + _GONE_S
        while group.path.exists():
            try:
                group.path.rmdir()
            except OSError:  # the last process is just leaving
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
