"""What the page carries of a pair: checkpoints with both sides on one clock, by column, and the split in bins.

Of few checkpoints all; of more the slowest, each bin's slowest, and an even sample of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from colotrace.analysis.merge import Merged, parts_of
from colotrace.analysis.merge_clock import Numbers
from colotrace.analysis.pairs import Pair, Place
from colotrace.analysis.waterfall import stretches
from colotrace.phases import MESSAGES, SENDERS, Mark, Phase, Role

if TYPE_CHECKING:
    from colotrace.analysis.summary import Report

MOST = 2_000
"""Checkpoints of all pairs together; each takes some 400 bytes of the page."""
LEAST_OF_PAIR = 100
MOST_BINS = 120
"""Bars over the run; up to so many checkpoints have one each."""
FLUSH = "cache flush"
"""Within the secondary's load; not in older recordings."""
Times = list[int | None]


@dataclass(frozen=True)
class SplitBin:
    """Checkpoints first..last (the primary's numbers) of a wait: how many, the mean of each part, the longest one."""

    first: int
    last: int
    n: int
    mean_ns: Mapping[str, int]
    longest: int


@dataclass(frozen=True)
class PairData:
    """A pair with the checkpoints `numbers` (the primary's, ascending) of it that the page carries; `rows` are where
    these are in the report's series. `first` is the place among them of the one that is shown first."""

    pair: Pair
    bins: Mapping[Phase, tuple[SplitBin, ...]]
    numbers: tuple[int, ...]
    rows: Mapping[Role, tuple[int, ...]]
    columns: Mapping[str, Any]
    first: int

    @property
    def whole(self) -> bool:
        """Whether all matched checkpoints are carried."""
        return len(self.numbers) == len(self.pair.merged.match.sequence)


def gather_pairs(report: Report) -> list[PairData]:
    """Each pair with its part of the checkpoints that fit: all, or by its size, but some of each."""
    pairs = report.pairs.found
    sizes = [len(pair.merged.match.sequence) for pair in pairs]
    total = sum(sizes)
    budgets = sizes if total <= MOST else [max(LEAST_OF_PAIR, size * MOST // total) for size in sizes]
    return [gather(pair, budget, report) for pair, budget in zip(pairs, budgets, strict=True)]


def gather(pair: Pair, budget: int = MOST, report: Report | None = None) -> PairData:
    """Takes from both recordings what the picture has; `budget` bounds the checkpoints."""
    merged = pair.merged
    places = {role: _places(merged, role) for role in Role}
    starts = {Role.PRIMARY: pair.primary, Role.SECONDARY: pair.secondary}
    bins = {phase: _bins(merged, phase) for phase in merged.splits}
    wanted = {one.longest for found in bins.values() for one in found}
    if report is not None:
        wanted |= _listed(merged, places, starts, report)
    at = _chosen(merged.match.sequence, wanted, budget)
    numbers = merged.match.sequence[at]
    records = {role: _series(merged, role).records(places[role][at].tolist()) for role in Role}
    columns = _columns(merged, numbers, records)
    rows = {role: tuple((starts[role].row + places[role][at]).tolist()) for role in Role}
    totals = [record["total_ns"] or 0 for record in records[Role.PRIMARY]]
    middle = sorted(range(len(totals)), key=totals.__getitem__)[len(totals) // 2]
    return PairData(pair, bins, tuple(numbers.tolist()), rows, columns, middle)


def _series(merged: Merged, role: Role) -> Any:
    return merged.primary if role is Role.PRIMARY else merged.secondary


def _places(merged: Merged, role: Role) -> Numbers:
    """Where the matched checkpoints are among a side's completed ones."""
    sequence = _series(merged, role).values("sequence")
    order = np.argsort(sequence, kind="stable")
    shift = merged.match.shift if role is Role.SECONDARY else 0
    found: Numbers = order[np.searchsorted(sequence[order], merged.match.sequence + shift)]
    return found


def _listed(
    merged: Merged, places: Mapping[Role, Numbers], starts: Mapping[Role, Place], report: Report
) -> set[int]:
    """The matched checkpoints that are in a series' list of the slowest."""
    found: set[int] = set()
    for role, start in starts.items():
        slow = [one.row_index - start.row for one in report.series[start.series].slowest]
        found |= set(merged.match.sequence[np.isin(places[role], slow)].tolist())
    return found


def _chosen(sequence: Numbers, wanted: set[int], budget: int) -> Numbers:
    """Places in `sequence`."""
    if len(sequence) <= budget:
        return np.arange(len(sequence))
    listed = np.flatnonzero(np.isin(sequence, list(wanted)))
    spread = np.linspace(0, len(sequence) - 1, max(0, budget - len(listed))).astype(np.int64)
    return np.union1d(listed, spread)


def _bins(merged: Merged, phase: Phase) -> tuple[SplitBin, ...]:
    split = merged.splits[phase]
    n = len(split.sequence)
    edges = np.unique(np.linspace(0, n, min(n, MOST_BINS) + 1).astype(np.int64)).tolist()
    return tuple(
        SplitBin(
            int(split.sequence[begin]),
            int(split.sequence[end - 1]),
            end - begin,
            {name: round(float(split.parts_ns[name][begin:end].mean())) for name in parts_of(split)},
            int(split.sequence[begin + int(np.argmax(split.total_ns[begin:end]))]),
        )
        for begin, end in pairwise(edges)
    )


def _columns(merged: Merged, numbers: Numbers, records: Mapping[Role, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The checkpoints by column; all times count from the begin of the primary's checkpoint, on its clock.

    `side` has begins and ends of what took time, `message` when each was sent and received, `split` the parts of waits.
    """
    origin = np.array([record["begin_ns"] for record in records[Role.PRIMARY]], np.int64)
    at = {role: {name: _since(merged, role, numbers, origin, times) for name, times in _times(role, found).items()}
          for role, found in records.items()}  # fmt: skip
    messages = {}
    for mark in MESSAGES[1:]:
        ends = (SENDERS[mark], next(role for role in Role if role is not SENDERS[mark]))
        messages[mark.name] = [at[role].pop(mark.value) for role in ends]
    return {
        "id": [str(number) for number in numbers.tolist()],
        "other": (numbers + merged.match.shift).tolist(),
        "error": merged.error(numbers, origin).tolist(),
        "side": {
            role.value: {
                name: [found[name], found[f"{name} end"]]
                for name in found
                if f"{name} end" in found and (name != FLUSH or any(found[name]))
            }
            for role, found in at.items()
        },
        "message": messages,
        "split": {phase.value: _parts(merged, phase, numbers) for phase in merged.splits},
    }


def _times(role: Role, records: Sequence[Mapping[str, Any]]) -> dict[str, Times]:
    """What began and ended when, on the side's own clock: the checkpoint, its phases, the VM's pause; and messages."""
    found: dict[str, Times] = {}
    for record in records:
        begin, marks = record["begin_ns"], record["marks_ns"]
        spans = {"checkpoint": (begin, _plus(begin, record["total_ns"]))}
        for one in stretches(role, record):
            opens = _plus(begin, one.begin_ns)
            spans[one.phase.value] = (opens, _plus(opens, one.length_ns))
        spans["paused"] = (marks.get(Mark.VM_STOP.value), marks.get(Mark.VM_STARTED.value))
        if role is Role.SECONDARY:
            spans[FLUSH] = (marks.get(Mark.CACHE_FLUSH.value), marks.get(Mark.CACHE_FLUSHED.value))
        for name, (opens, closes) in spans.items():
            found.setdefault(name, []).append(opens)
            found.setdefault(f"{name} end", []).append(closes)
        for mark in MESSAGES[1:]:
            default = begin if mark is Mark.CHECKPOINT_REQUEST else None
            found.setdefault(mark.value, []).append(marks.get(mark.value, default))
    return found


def _plus(begin: int | None, length: int | None) -> int | None:
    return None if begin is None or length is None else begin + length


def _since(merged: Merged, role: Role, numbers: Numbers, origin: Numbers, times: Times) -> Times:
    known = np.array([when is not None for when in times])
    chosen = np.array([when for when in times if when is not None], np.int64)
    if role is Role.SECONDARY:
        chosen = merged.to_primary(numbers[known], chosen)
    since = iter((chosen - origin[known]).tolist())
    return [next(since) if one else None for one in known]


def _parts(merged: Merged, phase: Phase, numbers: Numbers) -> dict[str, Times]:
    """The parts of a wait of these checkpoints; null where they are not known."""
    split = merged.splits[phase]
    at = np.minimum(np.searchsorted(split.sequence, numbers), len(split.sequence) - 1)
    known = split.sequence[at] == numbers
    return {
        name: [value if one else None for value, one in zip(split.parts_ns[name][at].tolist(), known, strict=True)]
        for name in parts_of(split)
    }
