"""Both sides of a pair in words, the same for the terminal, the report and the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from colotrace.analysis.merge_report import PPM, clock_figures, shares
from colotrace.analysis.statistics import distribution
from colotrace.units import time_text

if TYPE_CHECKING:
    from colotrace.analysis.merge import Merged
    from colotrace.analysis.merge_report import ClockFigures
    from colotrace.recording import Series

_MOST_CLOCKS = 5


def who_text(series: Series) -> str:
    """Whose recording it is, and how much of it there is."""
    name = series.vm or "a VM without a name"
    where = f"pid {series.header.pid} on {series.host or 'an unknown host'}"
    return f"{name}, {where}, {series.counts.completed:,} checkpoints"


def matched_text(merged: Merged) -> str:
    """Which checkpoints are on the timeline."""
    found = merged.match
    return (
        f"{len(found.sequence):,} checkpoints, the primary's numbers {found.sequence[0]} to {found.sequence[-1]}; "
        f"the secondary's are these {found.shift:+}"
    )


def clock_lines(merged: Merged) -> Iterator[str]:
    """The clocks' difference and its error; a line for each stretch that has been aligned by itself."""
    lines = clock_figures(merged)
    for clock in lines[:_MOST_CLOCKS]:
        several = f" (checkpoints {clock.first} to {clock.last})" if len(lines) > 1 else ""
        yield f"{_clock(clock)}{several}"
    if len(lines) > _MOST_CLOCKS:
        yield f"and {len(lines) - _MOST_CLOCKS} more stretches; --json has them all"


def _clock(clock: ClockFigures) -> str:
    errors = f"± {time_text(clock.error_ns)} in the middle, ± {time_text(clock.greatest_error_ns)} at most"
    drift = f"drift {clock.drift / PPM:+.3f} ± {clock.drift_error / PPM:.3f} ppm"
    return f"secondary - primary {clock.offset_ns / 1e9:+.9f} s {errors}; {drift}"


def share_lines(merged: Merged) -> Iterator[str]:
    """Whose each of the primary's waits is, or why that cannot be told."""
    for phase, split in merged.splits.items():
        mean = time_text(distribution(split.total_ns).mean)
        parts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares(split).items())
        yield f"of the primary's {phase.value}, mean {mean}: {parts or 'it took no time'}"
    for name, reason in merged.missing.items():
        yield f"the primary's {name} cannot be split: {reason}"
