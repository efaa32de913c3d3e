"""What compare says of two series: seen where it is there, silent where it is not, and never across meanings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from colotrace.analysis.compare import Side, Verdict, compare_series, compare_with_means, figures
from colotrace.phases import Role
from colotrace.report.compare_html import as_html
from colotrace.report.compare_text import as_markdown, as_text

MEANS = {"stat": 1.2e6, "dev": 5e5, "ram": 6e6, "put": 2e4, "recv": 4e4, "load": 16e6, "resume": 2e6, "other": 1e4}


@dataclass
class Series:
    """Stands in for a recording's; `times` scales phases."""

    seed: int
    n: int = 60
    times: dict[str, float] = field(default_factory=dict)
    role: Role = Role.PRIMARY
    label: str = "vm primary"
    qemu_version: str | None = "7.2.22"
    build_id: str | None = "ab"
    kernel: str = "6.18"
    meanings: dict[str, str] = field(default_factory=lambda: {"live-state": "ram"})
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.counts = SimpleNamespace(completed=self.n, incomplete=1, aborted=2, lost=3, lost_from="kernel totals")
        self.header = SimpleNamespace(
            kernel=self.kernel, checkpoint_delay_ms=60, clock="CLOCK_MONOTONIC", host="h", vm="vm", probe_cost=None,
            probes=43, meanings={self.role.value: self.meanings},
        )  # fmt: skip
        self.data = {
            f"{name}_ns": (mean * self.times.get(name, 1) * random.lognormal(0, 0.15, self.n)).astype(np.int64)
            for name, mean in MEANS.items()
        }
        whole = np.sum(list(self.data.values()), axis=0)
        self.data |= {"total_ns": whole, "pause_ns": whole - self.data["stat_ns"] // 2}

    def values(self, column: str) -> Any:
        return np.zeros(0, np.int64) if column[:-3] in self.without else self.data[column]

    def missing(self, column: str) -> str | None:
        return "the probe was lost" if column[:-3] in self.without else None


def test_a_stall_in_a_third_of_the_checkpoints_is_seen_by_the_mean_alone() -> None:
    a, b = Series(1, n=200), Series(2, n=200)
    stalled = np.random.default_rng(3).random(200) < 0.33
    for column in ("recv_ns", "total_ns", "pause_ns"):
        b.data[column][stalled] += 41_000_000
    assert "pause" in compare_series(a, b, statistic="mean").named(Verdict.WORSE)
    assert not compare_series(a, b, statistic="median").is_slower("pause", 0.5)


def test_a_longer_ram_phase_is_worse_and_nothing_else_is() -> None:
    found = compare_series(Series(1), Series(2, times={"ram": 1.8}))
    assert found.row("ram").verdict is Verdict.WORSE
    assert set(found.named(Verdict.WORSE)) <= {"ram", "total", "pause"}
    assert not found.named(Verdict.BETTER)
    assert "ram" in found.summary and "worse" in found.summary
    assert "ram" in compare_series(Series(2, times={"ram": 1.8}), Series(1)).named(Verdict.BETTER)


def test_runs_of_one_setting_are_flagged_in_at_most_one_of_twenty_families() -> None:
    """Margin 0 on purpose: the level alone has to hold."""
    flagged = 0
    for seed in range(60):
        found = compare_series(Series(2 * seed), Series(2 * seed + 1), margin=0)
        flagged += bool(found.named(Verdict.WORSE) or found.named(Verdict.BETTER))
    assert flagged <= 8  # 3 expected; more than 8 has a chance of 0.3%


def test_what_a_phase_adds_must_matter_to_the_checkpoint() -> None:
    found = compare_series(Series(1), Series(2, times={"put": 3}))
    assert found.row("put").verdict is Verdict.NO_EVIDENCE
    assert "less than 5%" in (found.row("put").reason or "")


def test_a_limit_counts_only_with_evidence() -> None:
    found = compare_series(Series(1), Series(2, times={"ram": 3}))
    assert found.is_slower("pause", 0.05) and found.is_slower("ram", 1.0) and not found.is_slower("pause", 3.0)
    few = compare_series(Series(1, n=5), Series(2, n=5, times={"ram": 3}))
    assert not few.is_slower("pause", 0.05)
    assert all(row.verdict is Verdict.NO_EVIDENCE and "too few" in (row.reason or "") for row in few.rows)


def test_phases_that_mean_different_things_are_not_compared() -> None:
    other = Series(2, qemu_version="11.1.3", meanings={"live-state": "put"}, times={"ram": 2})
    found = compare_series(Series(1), other)
    assert found.row("ram").verdict is found.row("put").verdict is Verdict.NOT_COMPARED
    assert found.row("ram").reason == "live-state: ram in A, put in B"
    assert found.row("total").verdict is not Verdict.NOT_COMPARED
    assert ("qemu_version", "7.2.22", "11.1.3") in found.differs
    assert any("not recorded" in note for note in compare_series(Series(1), Series(2, meanings={})).notes)


def test_what_was_not_seen_has_its_reason() -> None:
    found = compare_series(Series(1), Series(2, without=("dev",)))
    row = found.row("dev")
    assert (row.verdict, row.b, row.reason) == (Verdict.NOT_COMPARED, None, "the probe was lost")


def test_two_roles_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different phases"):
        compare_series(Series(1), Series(2, role=Role.SECONDARY))
    assert "dev" not in figures(Role.SECONDARY) and "wait" not in figures(Role.PRIMARY)


@pytest.mark.parametrize("first", [True, False])
def test_a_capture_has_means_only(first: bool) -> None:
    capture = Side("seed", Role.PRIMARY, 6, None, None, None, None, {}, {}, is_capture=True)
    means = {"ram": 12e6, "total": 32e6, "stat": 1.2e6}
    found = compare_with_means(Series(1), capture, means, capture_first=first)
    assert found.row("ram").verdict is (Verdict.BETTER if first else Verdict.WORSE)
    assert found.row("stat").verdict is Verdict.NO_EVIDENCE
    assert found.row("recv").verdict is Verdict.NOT_COMPARED
    assert any("own uncertainty is unknown" in note for note in found.notes)
    one = found.row("ram").ratio
    assert one.low and one.high and one.value and one.low < one.value < one.high


def test_counts_come_first_and_names_are_only_text() -> None:
    bad = '<script>alert(1)</script>\x1b[2J|`x`'
    found = compare_series(Series(1, label=bad), Series(2, kernel="6.19"))
    text, page, mark = as_text(found), as_html(found), as_markdown(found)
    assert text.splitlines()[0].endswith("60 completed, 1 incomplete, 2 aborted, 3 lost (kernel totals)")
    assert "differs: kernel: 6.18 / 6.19" in text
    for shown in (text, page, mark):
        assert "\x1b" not in shown
    assert "<script" not in page and "<script" not in mark and "\\|" in mark
    assert "http" not in page
    json.dumps(found.as_json(), allow_nan=False)
