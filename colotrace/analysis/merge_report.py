"""What a merge says, as figures: one analysis for the terminal and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colotrace.analysis.merge import Merged, parts_of
from colotrace.analysis.merge_clock import Piece
from colotrace.analysis.merge_split import BACK, THERE, UNEXPLAINED, Split
from colotrace.analysis.statistics import Distribution, distribution

PPM = 1e-6


@dataclass(frozen=True)
class ClockFigures:
    """One line between the clocks, for the primary's checkpoints first..last: the offset (secondary - primary) in the
    middle of it, its error there and the greatest within, and the drift in parts of one."""

    first: int
    last: int
    at_ns: int
    offset_ns: int
    error_ns: int
    greatest_error_ns: int
    drift: float
    drift_error: float

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "first_sequence": self.first,
            "last_sequence": self.last,
            "at_ns": self.at_ns,
            "offset_ns": self.offset_ns,
            "offset_error_ns": self.error_ns,
            "greatest_offset_error_ns": self.greatest_error_ns,
            "drift_ppm": self.drift / PPM,
            "drift_error_ppm": self.drift_error / PPM,
        }


@dataclass(frozen=True)
class PartFigures:
    """A part of a wait, or `total`, over all its checkpoints; `share` is of the wait, None if that took no time."""

    name: str
    times: Distribution
    share: float | None


def part_figures(split: Split) -> list[PartFigures]:
    """The parts of a wait, and last its total."""
    parts = [(name, distribution(split.parts_ns[name])) for name in parts_of(split)]
    total = distribution(split.total_ns)
    return [
        PartFigures(name, times, times.total / total.total if total.total else None)
        for name, times in [*parts, ("total", total)]
    ]


_WORTH_A_WORD = 0.01


def shares(split: Split) -> dict[str, float]:
    """What part of a wait is whose; nothing if the wait took no time.

    The secondary reads the stream in its ram and put, and so these have what the network holds back then.
    """
    whole = float(split.total_ns.sum())
    if not whole:
        return {}
    parts = {name: float(part.sum()) / whole for name, part in split.parts_ns.items()}
    network, unexplained = parts.pop(THERE) + parts.pop(BACK), parts.pop(UNEXPLAINED)
    phases = [name.removeprefix("secondary ") for name, share in parts.items() if share >= _WORTH_A_WORD]
    whose = f"the secondary's {' and '.join(phases)}" if phases else "the secondary"
    return {"network": network, whose: 1 - network - unexplained, "unexplained": unexplained}


def clock_figures(merged: Merged) -> list[ClockFigures]:
    """The clocks' lines."""
    return [_clock(merged, piece) for piece in merged.match.pieces]


def as_json(merged: Merged) -> dict[str, Any]:
    """An object of JSON types."""
    return {
        "type": "merge",
        "primary": _side(merged.primary),
        "secondary": _side(merged.secondary),
        "matched": len(merged.match.sequence),
        "first_sequence": int(merged.match.sequence[0]),
        "last_sequence": int(merged.match.sequence[-1]),
        "sequence_shift": merged.match.shift,
        "bounds": merged.match.bounds,
        "clocks": [clock.as_json() for clock in clock_figures(merged)],
        "waits": {phase.value: _wait(split) for phase, split in merged.splits.items()},
        "missing": dict(merged.missing),
        "notes": list(merged.notes),
    }


def _clock(merged: Merged, piece: Piece) -> ClockFigures:
    here = merged.begin_ns[piece.first : piece.last + 1]
    middle = here[len(here) // 2 :][:1]
    numbers = merged.match.sequence
    return ClockFigures(
        int(numbers[piece.first]), int(numbers[piece.last]), int(middle[0]), int(piece.offset(middle)[0]),
        int(piece.error(middle)[0]), int(piece.error(here).max()), piece.drift, piece.drift_error,
    )  # fmt: skip


def _wait(split: Split) -> Mapping[str, object]:
    return {
        "checkpoints": len(split.sequence),
        "total": distribution(split.total_ns).as_json("ns"),
        "parts": {name.replace(" ", "_"): distribution(split.parts_ns[name]).as_json("ns") for name in parts_of(split)},
        "greatest_error_ns": int(split.error_ns.max()),
        "secondary_own": distribution(split.own_ns).as_json("ns"),
    }


def _side(series: Any) -> dict[str, object]:
    counts = series.counts
    return {
        "path": series.runs[0].path,
        "host": series.host,
        "vm": series.vm,
        "pid": series.header.pid,
        "qemu_version": series.qemu_version,
        "completed": counts.completed,
        "incomplete": counts.incomplete,
        "aborted": counts.aborted,
        "lost": counts.lost,
    }
