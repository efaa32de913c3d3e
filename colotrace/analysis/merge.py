"""Two recordings of one pair on one timeline: the primary's. See merge_match, merge_clock and merge_split."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from colotrace.analysis.merge_clock import MOST_DRIFT, Numbers, Piece
from colotrace.analysis.merge_match import LEAST_MATCHED, Match, Times, match
from colotrace.analysis.merge_split import ANSWERS, UNEXPLAINED, Split, split_wait
from colotrace.analysis.spans import phase_spans
from colotrace.errors import InputError
from colotrace.phases import MESSAGES, OUTSIDE_TOTAL, ROLE_PHASES, Mark, Phase, Role

if TYPE_CHECKING:
    from colotrace.recording import Recording, Series

_WORK = tuple(phase for phase in ROLE_PHASES[Role.SECONDARY] if phase not in OUTSIDE_TOTAL)
_MARKS = (Mark.VMSTATE_SEND, Mark.VMSTATE_SIZE, Mark.VMSTATE_RECEIVED, Mark.VMSTATE_LOADED)


@dataclass(frozen=True)
class Merged:
    """Both sides of a pair. `notes` are sentences for people, to be shown first; `splits` are those of recv and load
    that the recordings allow, `missing` why others are not there."""

    primary: Series
    secondary: Series
    match: Match
    begin_ns: Numbers
    splits: Mapping[Phase, Split]
    missing: Mapping[str, str]
    notes: tuple[str, ...]

    def to_primary(self, sequence: Numbers, secondary_ns: Numbers) -> Numbers:
        """Times of the secondary, in checkpoints of these numbers of the primary, on the primary's clock."""
        return _by_piece(self.match, sequence, lambda piece, chosen: piece.to_primary(secondary_ns[chosen]))

    def error(self, sequence: Numbers, primary_ns: Numbers) -> Numbers:
        """How far such times may be off, at times of the primary."""
        return _by_piece(self.match, sequence, lambda piece, chosen: piece.error(primary_ns[chosen]))


def merge(primary: Series, secondary: Series) -> Merged:
    """Puts two series on one timeline. Raises InputError if they are not both sides of one pair at one time."""
    ours, theirs = times_of(primary), times_of(secondary)
    try:
        found = match(ours, theirs, _one_clock(primary, secondary))
    except InputError as error:
        raise InputError(error.message + _spans(primary, ours, secondary, theirs), error.remedy) from error
    begins = primary.columns("sequence", "begin_ns")
    at = np.searchsorted(begins["sequence"], found.sequence)
    merged = Merged(primary, secondary, found, begins["begin_ns"][at], {}, {}, ())
    splits: dict[Phase, Split] = {}
    missing: dict[str, str] = {}
    for phase, answer in ANSWERS.items():
        split = _split(merged, phase, answer)
        if isinstance(split, Split):
            splits[phase] = split
        else:
            missing[phase.value] = split
    return Merged(primary, secondary, found, merged.begin_ns, splits, missing, tuple(_notes(merged)))


def _one_clock(primary: Series, secondary: Series) -> bool:
    return bool(primary.header.boot_id) and primary.header.boot_id == secondary.header.boot_id


def _spans(primary: Series, ours: Times, secondary: Series, theirs: Times) -> str:
    """When each was recorded: by the one clock, if there is one, and by each host's own otherwise."""
    if min(ours.begin_ns.size, theirs.begin_ns.size) < LEAST_MATCHED:
        return ""
    if _one_clock(primary, secondary):
        apart = int(max(ours.begin_ns[0], theirs.begin_ns[0]) - min(ours.begin_ns[-1], theirs.begin_ns[-1]))
        if apart > 0:
            first = Role.PRIMARY if ours.begin_ns[0] < theirs.begin_ns[0] else Role.SECONDARY
            return f". They do not overlap: the {first.value}'s ends {apart / 1e9:.3f} s before the other begins"
        return f". On their host's one clock they overlap by {-apart / 1e9:.3f} s"
    texts = []
    for series, times in ((primary, ours), (secondary, theirs)):
        away = series.header.realtime_minus_monotonic_ns
        if away is not None:
            begin, end = (_wall_text(times.begin_ns[at] + away) for at in (0, -1))
            texts.append(f"the {series.role.value}'s from {begin} to {end}")
    return f". By the hosts' own time of day: {' and '.join(texts)} UTC" if texts else ""


def _wall_text(when_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(when_ns // 1_000_000_000, datetime.UTC):%Y-%m-%d %H:%M:%S}"


def the_series(recording: Recording, role: Role) -> Series:
    """The one run of the one VM in that role. Raises InputError if there is none or there are several."""
    found = [series for series in recording.series() if series.role is role]
    names = " and ".join(sorted({run.path for run in recording.runs}))
    if not found:
        others = " and ".join(sorted({f"a {series.role.value}" for series in recording.series() if series.role}))
        raise InputError(
            f"{names} has no checkpoint of a {role.value}{f', but of {others}' if others else ''}",
            "First the primary's recording, then the secondary's.",
        )
    if len(found) > 1 or len(found[0].runs) > 1:
        several = ", ".join(f"{s.label} ({len(s.runs)} runs)" for s in found)
        raise InputError(
            f"{names} has several recordings of a {role.value}: {several}", "Name the file of one run of one VM."
        )
    return found[0]


def times_of(series: Series) -> Times:
    """What matching needs of a series."""
    begins = _ascending(series, "begin_ns")
    marks = {mark: _ascending(series, _column(mark)) for mark in MESSAGES[1:]}
    return Times(*begins, {mark: found for mark, found in marks.items() if found[0].size})


def _ascending(series: Series, column: str) -> tuple[Numbers, Numbers]:
    found = series.columns("sequence", column)
    sequence, at = np.unique(found["sequence"], return_index=True)
    return sequence, found[column][at]


def _column(mark: Mark) -> str:
    return f"mark_{mark.value.replace('-', '_')}_ns"


def _split(merged: Merged, phase: Phase, answer: Mark) -> Split | str:
    """The split of a wait, or why there is none."""
    wait = f"{phase.value}_ns"
    ours = (wait, _column(answer))
    lengths = {p: f"{p.value}_ns" for p in _WORK}
    theirs = ("begin_ns", *lengths.values(), *(_column(mark) for mark in _MARKS))
    for series, names in ((merged.primary, ours), (merged.secondary, theirs)):
        for name in names:
            reason = series.missing(name)
            if reason:
                return f"the {series.role.value} has no {name}: {reason}"
    here, there = merged.primary.columns("sequence", *ours), merged.secondary.columns("sequence", *theirs)
    both, at, where = np.intersect1d(here["sequence"], there["sequence"] - merged.match.shift, return_indices=True)
    matched = np.isin(both, merged.match.sequence)
    both, at, where = both[matched], at[matched], where[matched]
    if not both.size:
        return "no checkpoint has all the times that it takes"
    marks = {mark: there[_column(mark)][where] for mark in _MARKS}
    spans = phase_spans(
        Role.SECONDARY,
        {p: there[name][where] for p, name in lengths.items()},
        {mark.value: when for mark, when in marks.items()} | {Mark.CHECKPOINT_REQUEST.value: there["begin_ns"][where]},
    )

    def aligned(times: Numbers) -> Numbers:
        return merged.to_primary(both, times)

    total, answered = here[wait][at], here[_column(answer)][at]
    parts = split_wait(
        total,
        answered,
        aligned(marks[answer]),
        aligned(marks[Mark.VMSTATE_SIZE]),
        {p: (aligned(opens), aligned(closes)) for p, (opens, closes) in spans.items()},
    )
    return Split(phase, both, total, parts, merged.error(both, answered), there[wait][where])


def _by_piece(found: Match, sequence: Numbers, of: Any) -> Numbers:
    result = np.zeros(len(sequence), np.int64)
    borders = found.sequence[[piece.first for piece in found.pieces]]
    which = np.maximum(np.searchsorted(borders, sequence, "right") - 1, 0)
    for number, piece in enumerate(found.pieces):
        chosen = which == number
        result[chosen] = of(piece, chosen)
    return result


def _notes(merged: Merged) -> list[str]:
    found, notes = merged.match, []
    ours, theirs = merged.primary.header, merged.secondary.header
    if _one_clock(merged.primary, merged.secondary):
        notes.append("both recordings are of one boot of one host: there is one clock, and the true offset is 0")
    if ours.vm_uuid and theirs.vm_uuid and ours.vm_uuid != theirs.vm_uuid:
        notes.append("the two VMs have different UUIDs; their checkpoints fit each other all the same")
    broken = [_broken(merged, before, after) for before, after in pairwise(found.pieces)]
    notes += [note for note in broken if note]
    changes = broken.count(None)
    if changes:
        notes.append(
            f"the clocks' rates have changed {changes} times (NTP does that, and so does temperature): "
            f"{len(found.pieces)} stretches are aligned each by itself"
        )
    gaps = int(found.sequence[-1] - found.sequence[0] + 1 - len(found.sequence))
    if gaps:
        notes.append(f"{gaps} checkpoints in between are not matched: lost, aborted or seen in part on one side")
    for series in (merged.primary, merged.secondary):
        for line in series.failovers:
            notes.append(
                f"the {series.role.value}'s recording has a failover ({line.get('mode')}, {line.get('reason')}), "
                f"its last good checkpoint is {line.get('last_good')}: behind it there may be nothing to match"
            )
        if series.counts.lost:
            notes.append(
                f"the {series.role.value}'s recording has lost {series.counts.lost} records ({series.counts.lost_from})"
            )
    return notes


def _broken(merged: Merged, before: Piece, after: Piece) -> str | None:
    """The note on a step between two pieces; None if only the rate has changed."""
    at = np.array([merged.begin_ns[after.first]], np.int64)
    jump = int(after.offset(at)[0] - before.offset(at)[0])
    apart = int(merged.begin_ns[after.first] - merged.begin_ns[before.last])
    unsure = int(after.error(at)[0] + before.error(at)[0] + MOST_DRIFT * apart)
    number = int(merged.match.sequence[after.first])
    if abs(jump) > unsure:
        return (
            f"a clock was set, or a host suspended, before checkpoint {number}: the offset jumps by "
            f"{jump / 1e9:+.6f} s ± {unsure / 1e9:.6f} s there; what is before and behind it is aligned by itself"
        )
    return None


def parts_of(split: Split) -> list[str]:
    """The parts of a split, those left out that are zero throughout; the unexplained one always."""
    return [name for name, values in split.parts_ns.items() if name == UNEXPLAINED or values.any()]
