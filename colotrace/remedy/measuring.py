"""Checkpoints before and after: N completed ones of each process, through one session."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from colotrace.checkpoint import Checkpoint, ColoExit
from colotrace.errors import NothingSeenError
from colotrace.phases import PHASES, Phase, Role
from colotrace.remedy.stream import Stream, Watch, check_pair
from colotrace.session import Session

LOOK_MS = 2
SEARCH_S, SEARCH_CHECKPOINTS = 30.0, 5
"""How long a stream is looked for: at least that long, and for that many checkpoints, which may be 20 s apart."""
SILENT_S = 60.0
ROWS = ("pause", "total", *(p.value for p in PHASES if p is not Phase.INIT), "other")


@dataclass
class Sample:
    """Completed checkpoints of one process in one role; nanoseconds by row, in order."""

    pid: int
    role: Role | None = None
    rows: dict[str, list[int]] = field(default_factory=lambda: {row: [] for row in ROWS})
    ram_bytes: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many checkpoints."""
        return len(self.rows["total"])

    def add(self, one: Checkpoint) -> None:
        """Takes a completed checkpoint."""
        self.role = one.role
        values: dict[str, int | None] = {"total": one.total_ns, "pause": one.pause_ns, "other": one.other_ns}
        values |= {phase.value: ns for phase, ns in one.phase_ns.items()}
        for row, held in self.rows.items():
            value = values.get(row)
            if value is not None:
                held.append(value)
        if one.ram_bytes is not None:
            self.ram_bytes.append(one.ram_bytes)

    def mean(self, row: str) -> float | None:
        """In nanoseconds; None if never seen."""
        values = self.rows[row]
        return sum(values) / len(values) if values else None


class Measurer:
    """Takes what a session sees. `on_progress` gets the word for what is done, how much of it is, and the goal."""

    def __init__(self, session: Session, on_progress: Callable[[str, int, int], None]) -> None:
        self._session, self._on_progress = session, on_progress
        self._tids: dict[int, int] = {}
        self._seen: Counter[int] = Counter()
        self._last_s: dict[int, float] = {}
        self._exited: ColoExit | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the session was told to stop."""
        return self._session.ended and not self._over()

    def streams(self, pids: Sequence[int]) -> list[Stream]:
        """Each process's migration stream. Raises TargetError if it is not proven, NothingSeenError if COLO ends."""
        watches = {pid: Watch(pid) for pid in pids}
        begun_s = time.monotonic()
        while not all(watch.done for watch in watches.values()) and self._may_look(pids, begun_s):
            self._receive(LOOK_MS)
            over = self._over()
            if over or self._session.ended:
                raise NothingSeenError(f"{over or 'the run has ended'} before the migration stream was found")
            for pid, watch in watches.items():
                if pid in self._tids and not watch.done:
                    watch.look(self._tids[pid])
            self._on_progress("migration streams found", sum(watch.done for watch in watches.values()), len(watches))
        unseen = [pid for pid in pids if pid not in self._tids]
        if unseen:
            raise NothingSeenError(
                f"process {unseen[0]} made no checkpoint within {SILENT_S:g} s",
                "Is it in COLO? query-colo-status tells.",
            )
        found = [watch.stream() for watch in watches.values()]
        check_pair(found)
        return found

    def _may_look(self, pids: Sequence[int], begun_s: float) -> bool:
        now = time.monotonic()
        enough = now - begun_s > SEARCH_S and all(self._seen[pid] >= SEARCH_CHECKPOINTS for pid in pids)
        return not enough and all(now - self._last_s.get(pid, begun_s) < SILENT_S for pid in pids)

    def _over(self) -> str | None:
        """Why no more checkpoints are to be expected; None if they are."""
        if self._exited:
            return f"COLO has ended ({self._exited.reason})"
        for target in self._session.targets:
            if not target.alive or target.lost:
                return f"process {target.pid} {'has lost its probes' if target.lost else 'has ended, or is traced'}"
        return None

    def take(self, pids: Sequence[int], wanted: int, word: str) -> dict[int, Sample]:
        """`wanted` checkpoints of each that begin from now on; fewer if told to stop. NothingSeenError if COLO ends."""
        samples, since = {pid: Sample(pid) for pid in pids}, time.monotonic_ns()
        while any(sample.count < wanted for sample in samples.values()):
            over = self._over()
            if over:
                raise NothingSeenError(f"{over} while checkpoints were measured {word} the change")
            if self._session.ended:
                break
            for one in self._receive(50):
                sample = samples.get(one.pid)
                if sample and sample.count < wanted and one.completed and (one.begin_ns or 0) > since:
                    sample.add(one)
            self._on_progress(f"checkpoints {word}", min(sample.count for sample in samples.values()), wanted)
        return samples

    def _receive(self, timeout_ms: int) -> list[Checkpoint]:
        found = []
        for event in self._session.receive(timeout_ms):
            if isinstance(event, Checkpoint):
                self._tids[event.pid] = event.tid
                self._seen[event.pid] += 1
                self._last_s[event.pid] = time.monotonic()
                found.append(event)
            elif isinstance(event, ColoExit):
                self._exited = event
        return found
