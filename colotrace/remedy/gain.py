"""What a remedy gained: means before and after, their ratio, and its 95 % confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from colotrace.privileges import keep_numpy_to_one_thread
from colotrace.remedy.measuring import ROWS, Sample


@dataclass(frozen=True)
class Gain:
    """One row. Nanoseconds; `low` and `high` bound after / before. Significant if 1 lies outside."""

    row: str
    before_ns: float
    after_ns: float
    low: float | None
    high: float | None

    @property
    def significant(self) -> bool | None:
        """None where there are too few checkpoints to tell."""
        return None if self.low is None or self.high is None else not self.low <= 1 <= self.high

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "row": self.row, "before_ns": round(self.before_ns), "after_ns": round(self.after_ns),
            "saved_ns": round(self.before_ns - self.after_ns), "ratio_low": self.low, "ratio_high": self.high,
            "significant": self.significant,
        }  # fmt: skip


def gains(before: Sample, after: Sample) -> list[Gain]:
    """A gain for each row that was seen in both."""
    found = []
    for row in ROWS:
        mean_before, mean_after = before.mean(row), after.mean(row)
        if mean_before is not None and mean_after is not None:
            low, high = ratio_interval(before.rows[row], after.rows[row])
            found.append(Gain(row, mean_before, mean_after, low, high))
    return found


def load_gains() -> None:
    """Loads all that gains take, while it can certainly be read: also what numpy would load only when it is used."""
    keep_numpy_to_one_thread()
    import numpy.random  # noqa: F401

    from colotrace.analysis import bootstrap  # noqa: F401


def ratio_interval(before: Sequence[int], after: Sequence[int]) -> tuple[float | None, float | None]:
    """The 95 % interval of mean(after) / mean(before), as compare has it; (None, None) where none can be."""
    import numpy as np

    from colotrace.analysis import bootstrap

    first = bootstrap.estimate(np.asarray(before, np.int64), seed=1, capped=True)
    second = bootstrap.estimate(np.asarray(after, np.int64), seed=2, capped=True)
    found = bootstrap.ratio_interval(first, second)
    return found.low, found.high
