"""The completed checkpoints of one VM in one role, over all its runs: a column at a time, as numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from colotrace.checkpoint import Outcome
from colotrace.phases import Role
from colotrace.recording.header import Header, is_whole
from colotrace.recording.run import Run
from colotrace.recording.schema import BEGIN_WALL

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

KERNEL_TOTALS, GAPS = "kernel totals", "sequence gaps"


@dataclass(frozen=True)
class Counts:
    """Records by outcome, and those lost on their way; `lost_from` says how that is known."""

    completed: int
    incomplete: int
    aborted: int
    lost: int
    lost_from: str


@dataclass(frozen=True)
class Strand:
    """One run's rows of one process in one role: a flag per row of the file, for completed ones."""

    run: Run
    header: Header
    role: Role
    completed: Flags
    counts: Counts
    problems: tuple[str, ...] = ()


class Series:
    """One VM in one role under one QEMU: its strands in the order of their start."""

    def __init__(self, strands: Sequence[Strand]) -> None:
        self._strands = sorted(strands, key=lambda strand: strand.run.started)
        first = self._strands[0]
        self.header = first.header
        self.role = first.role
        self.runs = tuple(strand.run for strand in self._strands)
        self.host, self.vm = first.header.host, first.header.vm
        self.qemu_version, self.build_id = first.header.qemu_version, first.header.build_id
        counts = [strand.counts for strand in self._strands]
        self.counts = Counts(
            sum(c.completed for c in counts),
            sum(c.incomplete for c in counts),
            sum(c.aborted for c in counts),
            sum(c.lost for c in counts),
            " and ".join(dict.fromkeys(c.lost_from for c in counts)),
        )
        self.rows = self.counts.completed + self.counts.incomplete + self.counts.aborted
        self.problems = tuple(p for strand in self._strands for p in strand.problems)

    @property
    def label(self) -> str:
        """VM and role; names are as they were recorded, so escape them where they are shown."""
        return f"{self.vm or f'pid {self.header.pid}'} {self.role.value}"

    @property
    def last_header(self) -> Header:
        """That of the last run with a completed checkpoint, whose process is the one that may still be there."""
        return next((one.header for one in reversed(self._strands) if one.counts.completed), self.header)

    def by_run(self) -> list[Series]:
        """Each run by itself, in the order of their start."""
        return [Series([strand]) for strand in self._strands]

    def part(self, begin: int, end: int) -> Series:
        """Of a single run: its completed checkpoints begin..end-1, by their place; `counts` stay the run's."""
        (strand,) = self._strands
        completed = np.zeros_like(strand.completed)
        completed[np.flatnonzero(strand.completed)[begin:end]] = True
        return Series([replace(strand, completed=completed)])

    def values(self, column: str) -> Numbers:
        """A column of the completed checkpoints, in order, without nulls."""
        return self.columns(column)[column]

    def columns(self, *names: str) -> dict[str, Numbers]:
        """Columns of the completed checkpoints that have all of them: aligned."""
        pieces: dict[str, list[Numbers]] = {name: [] for name in names}
        for found in self._pieces(names):
            for name, values in found.items():
                pieces[name].append(values)
        empty = np.zeros(0, np.int64)
        return {name: np.concatenate(found) if found else empty for name, found in pieces.items()}

    def texts(self, column: str) -> NDArray[np.object_]:
        """A column of words of the completed checkpoints, in order; None where null."""
        pieces = [
            np.array(batch.column(0).to_pylist(), dtype=object)[chosen]
            for strand in self._strands
            for batch, chosen in _chosen(strand, (column,))
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0, object)

    def records(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Whole records, as JSON lines have them, of completed checkpoints by their place among them, in that order."""
        wanted = sorted(set(indices))
        found: dict[int, dict[str, Any]] = {}
        begin = 0
        for strand in self._strands:
            here = [at for at in wanted if begin <= at < begin + strand.counts.completed]
            if here:
                positions = np.flatnonzero(strand.completed)[[at - begin for at in here]]
                found |= dict(zip(here, strand.run.take([int(p) for p in positions]), strict=True))
            begin += strand.counts.completed
        return [found[at] for at in indices]

    def missing(self, column: str) -> str | None:
        """Why a column is null in all completed checkpoints; None if it is not."""
        if not self.counts.completed:
            return "no checkpoint has completed"
        if len(self.values(column)):
            return None
        reason = self.records([0])[0]["missing"].get(column)
        return str(reason) if reason else "null, and the recording does not say why"

    def lines(self, kind: str) -> list[Mapping[str, Any]]:
        """Lines of a type (note, failover) of its processes: those of its role, and those of no role."""
        return [
            line
            for strand in self._strands
            for line in strand.run.lines
            if line["type"] == kind
            and line.get("pid") in (strand.header.pid, None)
            and line.get("role") in (self.role.value, None)
        ]

    @property
    def failovers(self) -> list[Mapping[str, Any]]:
        """Its failovers (colotrace.checkpoint.Failover.as_json)."""
        return self.lines("failover")

    @property
    def notes(self) -> list[Mapping[str, Any]]:
        """Its notes (colotrace.checkpoint.Note.as_json)."""
        return self.lines("note")

    def _pieces(self, names: Sequence[str]) -> Iterator[dict[str, Numbers]]:
        stored = tuple(dict.fromkeys("begin_ns" if name == BEGIN_WALL else name for name in names))
        for strand in self._strands:
            for batch, chosen in _chosen(strand, stored):
                for name in stored:
                    chosen &= ~np.asarray(batch.column(name).is_null())
                values = {name: _integers(batch.column(name))[chosen] for name in stored}
                if BEGIN_WALL in names:
                    wall = _to_wall(strand, values["begin_ns"])
                    if wall is None:
                        continue
                    values[BEGIN_WALL] = wall
                yield {name: values[name] for name in names}


def series_of(runs: Sequence[Run]) -> list[Series]:
    """The series in some runs: one per host, VM, role and QEMU binary; those of unnamed VMs one per run and process."""
    found: dict[tuple[object, ...], list[Strand]] = {}
    for at, run in enumerate(runs):
        for strand in _strands(run):
            header = strand.header
            vm = header.vm_uuid or header.vm
            who = (header.host, vm) if vm else (at, header.pid)
            key = (*who, strand.role.value, header.qemu_version, header.build_id)
            found.setdefault(key, []).append(strand)
    return [Series(strands) for strands in found.values()]


def _strands(run: Run) -> list[Strand]:
    """A run's strands: a scan of its rows' keys, outcomes and times."""
    pieces: dict[tuple[int, str], list[tuple[int, Flags]]] = {}
    outcomes: dict[tuple[int, str], dict[str, int]] = {}
    last: dict[tuple[int, str], tuple[int, int]] = {}  # sequence, begin_ns
    gaps: dict[tuple[int, str], int] = {}
    back: dict[tuple[int, str], int] = {}
    begin = 0
    for batch in run.batches("pid", "role", "outcome", "sequence", "begin_ns"):
        pids, sequences = _integers(batch.column("pid")), _integers(batch.column("sequence"))
        begins, has_begin = _integers(batch.column("begin_ns")), ~np.asarray(batch.column("begin_ns").is_null())
        roles, role_words = _words(batch.column("role"))
        kinds, kind_words = _words(batch.column("outcome"))
        for pid, code in {*zip(pids.tolist(), roles.tolist(), strict=True)} if len(pids) < 64 else _pairs(pids, roles):
            key = (pid, role_words[code])
            mine = (pids == pid) & (roles == code)
            counted = outcomes.setdefault(key, {})
            for kind, word in enumerate(kind_words):
                counted[word] = counted.get(word, 0) + int(np.count_nonzero(mine & (kinds == kind)))
            done = [kind for kind, word in enumerate(kind_words) if word == Outcome.COMPLETED.value]
            completed = mine & (kinds == done[0]) if done else np.zeros(len(mine), np.bool_)
            pieces.setdefault(key, []).append((begin, completed))
            before_sequence, before_ns = last.get(key, (0, -(1 << 63)))
            numbers = np.concatenate(([before_sequence], sequences[mine]))
            steps = np.diff(numbers)
            gaps[key] = gaps.get(key, 0) + int(np.sum(steps[steps > 1] - 1))
            times = np.concatenate(([before_ns], begins[mine & has_begin]))
            back[key] = back.get(key, 0) + int(np.count_nonzero(times[1:] < times[:-1]))
            last[key] = (int(numbers[-1]), int(times[-1]))
        begin += batch.num_rows
    found = []
    for (pid, word), flags in pieces.items():
        completed = np.zeros(run.rows, np.bool_)
        for start, piece in flags:
            completed[start : start + len(piece)] = piece
        role = next((role for role in Role if role.value == word), None)
        if role is None:
            continue
        counted = outcomes[pid, word]
        lost = _lost_by_kernel(run, pid, role)
        counts = Counts(
            counted.get(Outcome.COMPLETED.value, 0),
            counted.get(Outcome.INCOMPLETE.value, 0),
            counted.get(Outcome.ABORTED.value, 0),
            gaps[pid, word] if lost is None else lost,
            GAPS if lost is None else KERNEL_TOTALS,
        )
        problems = []
        if back[pid, word]:
            problems.append(
                f"CLOCK_MONOTONIC goes back {back[pid, word]} times in the {word}'s records (pid {pid}): "
                "they are of more than one boot, or out of order"
            )
        found.append(Strand(run, run.header(pid), role, completed, counts, tuple(problems)))
    return found


def _lost_by_kernel(run: Run, pid: int, role: Role) -> int | None:
    for line in reversed(run.lines):
        if line["type"] == "summary" and line.get("pid") == pid:
            of_role = line.get("roles", {}).get(role.value, {})
            lost = of_role.get("lost_records") if isinstance(of_role, dict) else None
            return lost if type(lost) is int else None
    return None


def _chosen(strand: Strand, names: Sequence[str]) -> Iterator[tuple[Any, Flags]]:
    def wanted(begin: int, end: int) -> bool:
        return bool(strand.completed[begin:end].any())

    for begin, batch in strand.run.pieces(names, wanted):
        chosen = strand.completed[begin : begin + batch.num_rows].copy()
        if chosen.any():
            yield batch, chosen


def _integers(column: Any) -> Numbers:
    return np.asarray(pc.fill_null(column, 0), dtype=np.int64)


def _words(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    return _integers(encoded.indices), encoded.dictionary.to_pylist()


def _pairs(pids: Numbers, roles: Numbers) -> set[tuple[int, int]]:
    return {(int(pid), int(role)) for pid in np.unique(pids) for role in np.unique(roles[pids == pid])}


def _to_wall(strand: Strand, begins: Numbers) -> Numbers | None:
    """Times of day: the header's offset, and after a step of the clock or a suspension that of its note."""
    offset = strand.header.realtime_minus_monotonic_ns
    if offset is None:
        return None
    steps = [
        (line["before_ns"], line["realtime_minus_monotonic_ns"])
        for line in strand.run.lines
        if line["type"] == "note"
        and is_whole(line.get("before_ns"))
        and is_whole(line.get("realtime_minus_monotonic_ns"))
    ]
    steps.sort()
    offsets = np.array([offset, *(after for _, after in steps)], np.int64)
    return begins + offsets[np.searchsorted(np.array([when for when, _ in steps], np.int64), begins, "right")]
