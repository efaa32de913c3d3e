"""Checkpoints before and after: N completed ones of each process, through one session."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from colotrace.checkpoint import Checkpoint, ColoExit
from colotrace.errors import NothingSeenError
from colotrace.phases import PHASES, Phase, Role
from colotrace.remedy.stream import Stream, Watch, check_pair
from colotrace.session import Session

LOOK_MS = 2
SEARCH_S = 30.0
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
    """Takes what a session sees. `on_progress` gets the word for what is measured, how many there are, and the goal."""

    def __init__(self, session: Session, on_progress: Callable[[str, int, int], None]) -> None:
        self._session, self._on_progress = session, on_progress
        self._tids: dict[int, int] = {}
        self._exited: ColoExit | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the session was told to stop."""
        return self._session.ended

    def streams(self, pids: Sequence[int]) -> list[Stream]:
        """Each process's migration stream. Raises TargetError if it is not proven within SEARCH_S."""
        watches = {pid: Watch(pid) for pid in pids}
        until = time.monotonic() + SEARCH_S
        while not all(watch.done for watch in watches.values()) and time.monotonic() < until:
            self._receive(LOOK_MS)
            if self._session.ended or self._exited:
                raise NothingSeenError(
                    f"{'COLO' if self._exited else 'the run'} ended before the migration stream was found; nothing was "
                    "changed"
                )
            for pid, watch in watches.items():
                if pid in self._tids and not watch.done:
                    watch.look(self._tids[pid])
        unseen = [pid for pid in pids if pid not in self._tids]
        if unseen:
            raise NothingSeenError(
                f"process {unseen[0]} made no checkpoint within {SEARCH_S:g} s; nothing was changed",
                "Is it in COLO? query-colo-status tells.",
            )
        found = [watch.stream() for watch in watches.values()]
        check_pair(found)
        return found

    def take(self, pids: Sequence[int], wanted: int, word: str) -> dict[int, Sample]:
        """`wanted` checkpoints of each that begin from now on; fewer if told to stop. NothingSeenError if COLO ends."""
        samples, since = {pid: Sample(pid) for pid in pids}, time.monotonic_ns()
        while not self._session.ended and any(sample.count < wanted for sample in samples.values()):
            for one in self._receive(50):
                sample = samples.get(one.pid)
                if sample and sample.count < wanted and one.completed and (one.begin_ns or 0) > since:
                    sample.add(one)
            self._on_progress(word, min(sample.count for sample in samples.values()), wanted)
            gone = not all(target.alive and not target.lost for target in self._session.targets)
            if self._exited or (gone and not self._session.ended):
                raise NothingSeenError(f"checkpoints ended while they were measured {word} the change")
        return samples

    def _receive(self, timeout_ms: int) -> list[Checkpoint]:
        found = []
        for event in self._session.receive(timeout_ms):
            if isinstance(event, Checkpoint):
                self._tids[event.pid] = event.tid
                found.append(event)
            elif isinstance(event, ColoExit):
                self._exited = event
        return found
