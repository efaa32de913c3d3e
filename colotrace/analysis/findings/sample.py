"""What rules look at: the completed checkpoints of one process (or VM) in one role, and what its run says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.recent import NUMERIC, RECENT, SPREAD, Recent, Rows, values_of_record
from colotrace.phases import Mark, Role, Trigger
from colotrace.recording.schema import mark_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from colotrace.recording.header import Header
    from colotrace.recording.series import Series

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

LONG = 100_000
STRETCHES = 40
_AT = {name: at for at, name in enumerate(NUMERIC)}


class Table:
    """Checkpoints in the order of time, a column each for what recent.NUMERIC names; NaN where a value is null.

    Moments (`begin_ns` and marks) are nanoseconds since `base_ns` of CLOCK_MONOTONIC, everything else as in recordings.
    """

    def __init__(self, rows: Rows) -> None:
        self._values: Floats = np.frombuffer(rows.flat, dtype=np.float64).reshape(-1, len(NUMERIC))
        self.base_ns = rows.base_ns or 0

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, name: str) -> Floats:
        return self._values[:, _AT[name]]

    def between(self, first: Mark, second: Mark) -> Floats:
        """Nanoseconds from one mark to another, by checkpoint; NaN where either was not seen."""
        return self[mark_column(second)] - self[mark_column(first)]

    def triggered_by(self, trigger: Trigger) -> Flags:
        """Which checkpoints began for this reason."""
        found: Flags = self["trigger"] == trigger.number
        return found


@dataclass(frozen=True)
class Sample:
    """`recent` are the last checkpoints, consecutive ones; `spread` are some of the whole run, evenly spread over it.

    `completed` is how many there were in all. `header` is what the run said of itself: versions, probe cost, plan.
    """

    role: Role
    completed: int
    header: Header
    recent: Table
    spread: Table


def sample_of(series: Series) -> Sample:
    """The sample of a recording's series; reads its last RECENT checkpoints and SPREAD more.

    Of a long series the latter come in STRETCHES of consecutive ones: not all of a file is read then. Of several runs
    the header is the last one's: advice names a process, and earlier ones are gone.
    """
    n = series.counts.completed
    last = series.records(range(max(0, n - RECENT), n))
    spread = series.records(_spread(n)) if n else []
    return Sample(series.role, n, series.last_header, Table(_rows(last)), Table(_rows(spread)))


def sample_of_recent(role: Role, header: Header, recent: Recent) -> Sample:
    """The sample of what attach has kept."""
    last, spread = recent.rows()
    return Sample(role, recent.completed, header, Table(last), Table(spread))


def _spread(n: int) -> list[int]:
    """Which of n checkpoints to look at for what changes slowly."""
    if n <= LONG:
        return sorted({int(i) for i in np.linspace(0, n - 1, min(n, SPREAD))})
    length = SPREAD // STRETCHES
    starts = np.linspace(0, n - length, STRETCHES).astype(int)
    return [int(start) + i for start in starts for i in range(length)]


def _rows(records: Iterable[dict[str, object]]) -> Rows:
    rows = Rows()
    for record in records:
        rows.flat.extend(rows.row(values_of_record(record)))
    return rows
