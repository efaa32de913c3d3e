"""The slowest checkpoints, and the phase that made each of them slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colotrace.analysis.statistics import Integers


@dataclass(frozen=True)
class Slow:
    """One of the slowest: `row_index` among the series' completed checkpoints, and its whole record.

    `time_ns` is what it is slow by. `phase` is the part of the total whose time exceeds its own median the most,
    `phase_ns` that time and `median_ns` the median; None if no median is known or nothing exceeds it. `when_ns` is when
    it began, in wall-clock nanoseconds (None if the recording does not tell).
    """

    row_index: int
    pid: int
    sequence: int
    when_ns: int | None
    time_ns: int
    phase: str | None
    phase_ns: int | None
    median_ns: int | None
    record: Mapping[str, Any]

    @property
    def excess_ns(self) -> int | None:
        """How much longer than its median the phase took."""
        return None if self.phase_ns is None or self.median_ns is None else self.phase_ns - self.median_ns

    def as_json(self) -> dict[str, object]:
        """An object of JSON types, with the whole record."""
        names = ("row_index", "pid", "sequence", "when_ns", "time_ns", "phase", "phase_ns", "median_ns", "excess_ns")
        return {name: getattr(self, name) for name in names} | {"record": dict(self.record)}


def slowest_indices(times: Integers, count: int) -> list[int]:
    """The indices of the largest values, largest first; the earlier first among equals."""
    if count <= 0 or not times.size:
        return []
    count = min(count, int(times.size))
    bound = np.partition(times, times.size - count)[times.size - count]
    above = np.flatnonzero(times > bound)
    equal = np.flatnonzero(times == bound)[: count - above.size]
    found = np.concatenate([above, equal])
    return [int(i) for i in found[np.lexsort((found, -times[found]))]]


def culprit(record: Mapping[str, Any], medians: Mapping[str, int | None]) -> tuple[str, int, int] | None:
    """(phase, its time, its median) with the greatest excess over the median; None if nothing exceeds one."""
    found = [
        (phase, record[f"{phase}_ns"], median)
        for phase, median in medians.items()
        if median is not None and record.get(f"{phase}_ns") is not None
    ]
    over = [one for one in found if one[1] > one[2]]
    return max(over, key=lambda one: one[1] - one[2], default=None)


def slow_ones(
    indices: Sequence[int],
    records: Sequence[Mapping[str, Any]],
    column: str,
    medians: Mapping[str, int | None],
    whens_ns: Sequence[int | None],
) -> tuple[Slow, ...]:
    """The records of these indices as Slow; `column` is what they are the slowest by, `whens_ns` when they began."""
    found = []
    for index, record, when in zip(indices, records, whens_ns, strict=True):
        blamed = culprit(record, medians)
        phase, time, median = blamed or (None, None, None)
        found.append(
            Slow(index, record["pid"], record["sequence"], when, record[column], phase, time, median, dict(record))
        )
    return tuple(found)
