"""The report's PNG: really drawn by a Chromium; and the remedy where there is none."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from colotrace.analysis.summarise import report_of
from colotrace.analysis.summary import Report
from colotrace.errors import EnvironmentFault
from colotrace.recording import open_recording
from colotrace.report.figures import distributions, over_time
from colotrace.report.pagedata import gather
from colotrace.report.png import ROW_HEIGHT, WIDTH, combined, png

PAIR = Path(__file__).parents[1] / "data" / "recording_pair.jsonl"


@pytest.fixture(scope="module")
def report() -> Report:
    found = open_recording(PAIR)
    return report_of([str(PAIR)], found.problems, found.series())


def test_a_picture_with_a_row_per_series(report: Report) -> None:
    if not shutil.which("chromium"):
        pytest.skip("no chromium is installed")
    data = png(report)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (WIDTH * 3 // 2, 2 * ROW_HEIGHT * 3 // 2)
    assert len(data) > 50_000


def test_the_picture_has_the_pages_numbers(report: Report) -> None:
    series = [gather(one, source) for one, source in zip(report.series, report.source, strict=True)]
    whole = combined(series)
    parts = [trace for one in series for figure in (over_time(one), distributions(one)) for trace in figure["data"]]
    assert [(t["name"], t["x"], t["y"]) for t in whole["data"]] == [(t["name"], t["x"], t["y"]) for t in parts]
    axes = {(trace["xaxis"], trace["yaxis"]) for trace in whole["data"]}
    assert len(axes) == 6  # per series: time, the pause above it, distributions
    for x, y in axes:
        assert {f"{x[0]}axis{x[1:]}", f"{y[0]}axis{y[1:]}"} <= set(whole["layout"])


def test_stacked_phases_are_the_records_own(report: Report) -> None:
    data = gather(report.series[0], report.source[0])
    bars = {trace["name"]: trace["y"] for trace in over_time(data)["data"] if trace["type"] == "bar"}
    for at, record in enumerate(data.records):
        stacked = sum(round(values[at] * 1e6) for values in bars.values())
        assert stacked == record["total_ns"]


def test_without_a_browser_there_is_a_remedy(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nonexistent/chromium")
    with pytest.raises(EnvironmentFault) as caught:
        png(report)
    assert caught.value.remedy and "apt install chromium" in caught.value.remedy


def test_too_many_series_for_one_picture(report: Report) -> None:
    many = Report(report.sources, (), report.series * 7, (), report.source * 7)
    with pytest.raises(EnvironmentFault, match="14"):
        png(many)
