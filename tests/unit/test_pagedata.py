"""What a page has beyond its report: times of day are each run's own, whatever its host's clock said then."""

from __future__ import annotations

import json
from pathlib import Path

from colotrace.analysis.summarise import report_of
from colotrace.recording import open_recording
from colotrace.report.pagedata import gather

RECORDED = Path(__file__).resolve().parents[1] / "data/recording_pair.jsonl"
DAYS_NS = 3 * 86_400 * 10**9


def test_runs_of_different_days_have_their_own_times(tmp_path: Path) -> None:
    later = []
    for text in RECORDED.read_text().splitlines():
        line = json.loads(text)
        if line["type"] == "attached":
            line["realtime_minus_monotonic_ns"] += DAYS_NS
            line["started"] = "2099" + str(line.get("started", ""))[4:]
        later.append(json.dumps(line))
    (tmp_path / "later.jsonl").write_text("\n".join(later) + "\n")
    recording = open_recording(RECORDED, tmp_path / "later.jsonl")
    series = recording.series()
    report = report_of(("x",), recording.problems, series, slowest=5)
    assert len(series) == 2 and all(len(one.runs) == 2 for one in series)
    for one, source in zip(report.series, report.source, strict=True):
        data = gather(one, source)
        times = [bar.bin.begin_ns for bar in data.bars]
        half = len(times) // 2
        assert data.times_of_day and half
        assert all(b - a == DAYS_NS for a, b in zip(times[:half], times[half:], strict=True))
