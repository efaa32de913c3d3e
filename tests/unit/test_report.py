"""Reports as people read them: snapshots of text and markdown, and names that would be more than names."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from colotrace.analysis.findings.finding import Confidence, Finding, Findings
from colotrace.analysis.summarise import report_of
from colotrace.analysis.summary import Report
from colotrace.report.markdown import escape, markdown
from colotrace.report.outline import outline
from colotrace.report.text import print_text
from colotrace.report.wording import sparkline, when_text

from .standin import StandIn, arrays

SNAPSHOTS = Path(__file__).parents[1] / "data"
HOSTILE = "vm\x1b[31m|`<script>alert(1)</script>` [a](http://b) @all\u202e=cmd()\n# top"


def example(name: str = "vm") -> Report:
    """60 checkpoints of a primary with losses, a failover and notes, and an older QEMU's of the same VM."""
    failover = {
        "role": "primary", "pid": 17, "number": 1, "reason": "error", "last_good": 60, "died_in": "load",
        "exit_after_ns": 420_000_000, "takeover_after_ns": None, "takeover_ns": None,
        "missing": {"takeover_ns": "nobody had taken over when the run ended"},
    }  # fmt: skip
    notes = [{"event": "silent", "message": f"{name} is silent"}] * 2
    header = {
        "roles": {"primary": {"stat": "exact", "load": "partial"}}, "meanings": {"primary": {"lock-release": "other"}}
    }  # fmt: skip
    one = StandIn(
        arrays(60), vm=name, lost=3, incomplete=1, ended=False, failovers=[failover], notes=notes, header_values=header
    )
    older = StandIn(
        arrays(8) | {"ram_pages": None}, vm=name, qemu_version="11.1",
        header_values={"meanings": {"primary": {"lock-release": "ram"}}},
    )  # fmt: skip
    report = report_of(["run.parquet"], ["run.parquet: its end was cut off"], [one, older], slowest=3)  # type: ignore[list-item]
    found = Finding(
        "delayed-ack", "load", "load stands still for 42.0 ms", {"stall_ns": 42_000_000}, ("90% of them", "on ticks"),
        Confidence.HIGH, "no other timer", f"ask {name}", 36_000_000,
    )  # fmt: skip
    findings = Findings((found,), ("bimodal",), {"drift": "there are 60"}, "all 60 checkpoints")
    series = (replace(report.series[0], findings=findings), replace(report.series[1], findings=Findings()))
    return replace(report, series=series)


def text_of(report: Report, width: int) -> str:
    stream = io.StringIO()
    print_text(report, Console(file=stream, width=width, markup=False, emoji=False, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def compare(name: str, found: str) -> None:
    """Against a file; COLOTRACE_UPDATE_SNAPSHOTS=1 writes it, to be looked at before it is committed."""
    path = SNAPSHOTS / name
    if os.environ.get("COLOTRACE_UPDATE_SNAPSHOTS"):
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")


def test_the_text_is_as_it_was() -> None:
    compare("report.txt", text_of(example(), 100))


def test_the_markdown_is_as_it_was() -> None:
    compare("report.md", markdown(example()))


@pytest.mark.parametrize("width", [100, 128])
def test_text_fits_its_width_without_breaking_a_figure(width: int) -> None:
    lines = text_of(example(), width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert sum(line.startswith(("load", "total", "pause")) for line in lines) >= 3 * 2


def test_counts_and_problems_come_before_any_figure() -> None:
    text = text_of(example(), 100)
    places = [text.index(words) for words in ("its end was cut off", "3 lost", "no end", "Times per checkpoint")]
    assert places == sorted(places)


def test_names_are_only_names() -> None:
    report = example(HOSTILE)
    for text in (text_of(report, 128), markdown(report)):
        assert "\x1b" not in text and "\u202e" not in text
        assert not [line for line in text.splitlines() if line.startswith("# top")]
    page = markdown(report)
    assert "<script" not in page and "http://" not in page and "@all" not in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") >= 3 for line in tables)


def test_a_table_in_markdown_keeps_its_columns_whatever_is_in_a_cell() -> None:
    chapters = outline(example(HOSTILE))
    for chapter in chapters:
        for section in chapter.sections:
            for row in section.table.rows if section.table else ():
                assert section.table is not None and len(row) == len(section.table.columns)
    assert escape("a|b") == "a\\|b" and escape("<b>") == "&lt;b&gt;" and "`" not in escape("`").replace("\\`", "")


def test_an_empty_report_says_so() -> None:
    found = text_of(report_of(["x"], [], [StandIn(arrays(0))]), 100)  # type: ignore[list-item]
    assert "no checkpoint was completed" in found and "0 completed" in found


def test_moments_that_no_calendar_has() -> None:
    assert when_text(0) == "1970-01-01 00:00:00" and when_text(None) == "-"
    assert when_text((1 << 63) - 1).startswith("2262") and when_text(5 * 10**9, "CLOCK_MONOTONIC") == "5 s"


def test_a_spark_line_keeps_the_peaks_of_many() -> None:
    line = sparkline([1] * 500 + [1000] + [1] * 500)
    assert len(line) <= 100 and line.count("█") == 1 and sparkline([]) == ""
