"""The clocks of this host: what its suspensions and clock steps do to figures; CLOCK_MONOTONIC as the kernel has it.

Checkpoints are timed by CLOCK_MONOTONIC, which stands still while the host is suspended and which no step of the
wall clock moves. CLOCK_BOOTTIME counts suspension too, so that their difference grows by it; CLOCK_REALTIME less
CLOCK_BOOTTIME changes only where somebody sets the clock, since slewing changes the pace of all three alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from colotrace.checkpoint import Note

LEAST_JUMP_NS = 1_000_000
"""A smaller one is not told from the pace of two clocks and the time it takes to read them."""
_GOOD_ERROR_NS = 20_000
_TRIES = 10
_NAMESPACE = "/proc/self/ns/time"
_OFFSETS = Path("/proc/self/timens_offsets")


@dataclass(frozen=True)
class ClockReading:
    """All three clocks at one moment, in nanoseconds; `error_ns` is how far apart the readings may have been."""

    monotonic_ns: int
    boottime_ns: int
    realtime_ns: int
    error_ns: int

    @property
    def realtime_minus_monotonic_ns(self) -> int:
        """What to add to a checkpoint's times for the time of day."""
        return self.realtime_ns - self.monotonic_ns


def read_clocks() -> ClockReading:
    """The closest of a few readings, each between two of CLOCK_MONOTONIC; that one as the host's kernel has it."""
    best: ClockReading | None = None
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        realtime = time.clock_gettime_ns(time.CLOCK_REALTIME)
        error = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - before
        if best is None or error < best.error_ns:
            best = ClockReading(before, boottime, realtime, error)
        if error < _GOOD_ERROR_NS:
            break
    assert best
    shift = namespace_shift_ns()
    return ClockReading(best.monotonic_ns - shift, best.boottime_ns, best.realtime_ns, best.error_ns)


class ClockWatch:
    """Compares the clocks each time it is asked to; `read` is injected by tests."""

    def __init__(self, read: Callable[[], ClockReading] = read_clocks) -> None:
        self._read = read
        self._last = read()

    @property
    def last(self) -> ClockReading:
        """The latest reading."""
        return self._last

    def look(self) -> list[Note]:
        """A note for each jump since the last look."""
        before, now = self._last, self._read()
        self._last = now
        limit = LEAST_JUMP_NS + before.error_ns + now.error_ns
        suspended = (now.boottime_ns - now.monotonic_ns) - (before.boottime_ns - before.monotonic_ns)
        stepped = (now.realtime_ns - now.boottime_ns) - (before.realtime_ns - before.boottime_ns)
        when = {
            "after_ns": before.monotonic_ns,
            "before_ns": now.monotonic_ns,
            "realtime_minus_monotonic_ns": now.realtime_minus_monotonic_ns,
        }
        notes = []
        if suspended > limit:
            message = (
                f"this host was suspended for {suspended / 1e9:.3f} s, which no phase contains; a checkpoint that was "
                "under way then counts as incomplete"
            )
            notes.append(Note("suspended", message, details={"suspended_ns": suspended, **when}))
        if abs(stepped) > limit:
            message = (
                f"this host's wall clock was set {'forward' if stepped > 0 else 'back'} by {abs(stepped) / 1e9:.3f} s; "
                "no duration is touched by that, only what time of day a checkpoint had"
            )
            notes.append(Note("clock-stepped", message, details={"stepped_ns": stepped, **when}))
        return notes


def iso_text(realtime_ns: int) -> str:
    """A reading of CLOCK_REALTIME as ISO 8601 in UTC, to the nanosecond."""
    seconds, ns = divmod(realtime_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ns:09d}Z"


@cache
def namespace_shift_ns() -> int:
    """How far CLOCK_MONOTONIC is ahead here of the host's: not 0 only in a time namespace (unshare -T)."""
    try:
        text = _OFFSETS.read_text("ascii")
        if os.readlink(_NAMESPACE) != os.readlink(f"{_NAMESPACE}_for_children"):
            return 0  # the offsets are those of processes yet to be started
    except OSError:  # a kernel without time namespaces
        return 0
    return monotonic_shift_ns(text)


def monotonic_shift_ns(text: str) -> int:
    """The offset of CLOCK_MONOTONIC in the text of a timens_offsets file; 0 if it has none."""
    for line in text.splitlines():
        clock, *numbers = line.split()
        if clock in ("monotonic", "1") and len(numbers) == 2:
            return int(numbers[0]) * 1_000_000_000 + int(numbers[1])
    return 0
