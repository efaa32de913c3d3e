"""Both sides of a pair in one Perfetto trace, on the primary's clock, their messages joined by flows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from colotrace.analysis.merge import Merged
from colotrace.export.perfetto import Line, Progress, Side, write_trace
from colotrace.recording import Series


def write_merged(merged: Merged, path: str, progress: Progress = lambda _rows: None) -> int:
    """Writes the trace; how many checkpoints are not in it. Raises OutputError, also where it would overwrite a
    recording."""
    shift = merged.match.shift
    matched = set(merged.match.sequence.tolist())

    def align(line: Line, times: list[int]) -> list[int]:
        number = line.get("sequence", line.get("last_good")) or 0
        sequence = np.full(len(times), number - shift, np.int64)
        return [int(when) for when in merged.to_primary(sequence, np.array(times, np.int64))]

    def number(away: int) -> Any:
        return lambda line: line["sequence"] - away if line["sequence"] - away in matched else None

    sides = [
        Side(_lines(merged.primary), number=number(0)),
        Side(_lines(merged.secondary), align=align, number=number(shift)),
    ]
    return write_trace(
        path, sides, progress, sources=[run.path for s in (merged.primary, merged.secondary) for run in s.runs]
    )


def _lines(series: Series) -> Iterator[Mapping[str, Any]]:
    """The lines of a series' own process and role."""
    for run in series.runs:
        for line in run.all_lines():
            if line.get("pid") == series.header.pid and line.get("role") in (series.role.value, None):
                yield line
