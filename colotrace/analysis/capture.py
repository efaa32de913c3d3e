"""An answer of info_checkpoint as one side of a comparison: its means, but for those that cannot be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colotrace.analysis.compare import LEVEL, MARGIN, Comparison, SeriesLike, Side, compare_with_means
from colotrace.crosscheck.plausible import judge

if TYPE_CHECKING:
    from colotrace.crosscheck.capture import Capture
    from colotrace.phases import Role


def means_of(capture: Capture, role: Role) -> tuple[dict[str, float], tuple[str, ...]]:
    """Means in nanoseconds by the figures' names, and notes on the defects that the answer gives away.

    A field that is negative, zero or too short to be right is left out, and the note says so.
    """
    values = capture.reading.values
    findings = judge(capture.reading, role)
    worthless = [one for one in findings if one.code in _WORTHLESS or one.code.startswith("negative-")]
    wrong = {name for one in worthless for name in one.fields}
    names = {"avg_time": "total"} | {f"{name}_time": name for name in _PHASES}
    right = [(field, value) for field, value in values.items() if field in names and field not in wrong and value > 0]
    means = {names[field]: float(value) for field, value in right}
    return means, tuple(f"capture: {one.message} ({one.arithmetic})" for one in findings)


_PHASES = ("stat", "dev", "ram", "put", "recv", "load", "resume")
_WORTHLESS = ("always-zero", "recv-below-round-trip", "wrong-unit", "averages-mixed-with-totals")


def compare_capture(
    series: SeriesLike, capture: Capture, *, capture_first: bool, margin: float = MARGIN, level: float = LEVEL
) -> Comparison:
    """A series against an answer; `capture_first` if the answer is A."""
    means, notes = means_of(capture, series.role)
    if "recv" not in means and "put" in means:
        notes = (*notes, "capture: a known defect of the patch adds recv to put: where it has it, put holds both")
    side = Side(
        capture.label, series.role, capture.reading.num, None, None, None, None,
        {key: str(value) for key, value in (capture.about or {}).items()}, {}, is_capture=True, notes=notes,
    )  # fmt: skip
    return compare_with_means(series, side, means, capture_first=capture_first, margin=margin, level=level)
