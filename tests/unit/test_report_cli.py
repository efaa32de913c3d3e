"""colotrace report on recordings that colotrace's own writers made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from colotrace.cli import main
from colotrace.recording import open_recording
from colotrace.recording.schema import SCHEMA_VERSION
from colotrace.recording.writing import open_writer

from .standin import PARTS, arrays

PID = 17
LATER = "2026-11-25T11:00:00Z"


def attached(vm: str = "vm", **more: Any) -> dict[str, Any]:
    return {
        "type": "attached", "schema_version": SCHEMA_VERSION, "pid": PID, "name": vm, "host": "here",
        "qemu_version": "7.2.22", "build_id": "ab", "kernel": "6.18", "clock": "CLOCK_MONOTONIC",
        "started": "2026-11-25T10:00:00Z", "realtime_minus_monotonic_ns": 1_795_600_000_000_000_000,
        "roles": {"primary": {part: "exact" for part in PARTS[:-1]}}, "meanings": {"primary": {}}, "missing": {},
    } | more  # fmt: skip


def record(path: Path, n: int, vm: str = "vm", lost: int = 0, summary: bool = True, **more: Any) -> dict[str, Any]:
    """Writes n completed checkpoints, an incomplete and an aborted one; gives the arrays that they were made of."""
    data = arrays(n)
    writer = open_writer(str(path))
    writer.write(attached(vm, **more))
    for i in range(n):
        line = {name: int(column[i]) for name, column in data.items()}
        writer.write(checkpoint(i + 1, "completed", line))
    writer.write(checkpoint(n + 1, "incomplete", {"begin_ns": 5 * 10**12}))
    writer.write(checkpoint(n + 2, "aborted", {"begin_ns": 6 * 10**12, "aborted_in": "load"}))
    if summary:
        writer.write({"type": "summary", "pid": PID, "roles": {"primary": {"lost_records": lost}}})
    writer.close()
    return data


def checkpoint(sequence: int, outcome: str, values: dict[str, Any]) -> dict[str, Any]:
    names = ("begin_ns", "wait_ns", "total_ns", *(f"{part}_ns" for part in PARTS), "pause_ns")
    nulls = dict.fromkeys((*names, "device_bytes", "ram_bytes", "ram_pages"))
    who = {"type": "checkpoint", "role": "primary", "pid": PID, "tid": 18, "sequence": sequence, "outcome": outcome}
    return who | nulls | {"marks_ns": {}, "missing": {}} | values


def report(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["report", *words])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_every_format_of_a_recording_has_the_same_report(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run.{suffix}"
    data = record(path, 150, lost=4)
    found = json.loads(report(str(path), "--format", "json"))
    (series,) = found["series"]
    assert series["outcomes"] == {
        "completed": 150, "incomplete": 1, "aborted": 1, "lost": 4, "lost_from": "kernel totals"
    }  # fmt: skip
    rows = {row["name"]: row for row in series["rows"]}
    for part in (*PARTS, "total", "pause", "wait"):
        column = data[f"{part}_ns"]
        assert rows[part]["n"] == 150 and rows[part]["sum_ns"] == int(column.sum())
        assert rows[part]["p99_ns"] == int(np.percentile(column, 99, method="inverted_cdf"))
        assert rows[part]["p999_ns"] is None and "1,000" in rows[part]["missing"]["p999"]
    assert series["slowest"][0]["time_ns"] == int(data["pause_ns"].max())
    assert series["slowest"][0]["record"]["sequence"] == int(data["pause_ns"].argmax()) + 1
    assert found["schema_version"] == 1 and not found["problems"]


def test_text_and_markdown_go_to_standard_output_and_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(path, 30)
    text = report(str(path))
    assert text.startswith("vm primary\n30 completed, 1 incomplete, 1 aborted, 0 lost")
    assert max(map(len, text.splitlines())) <= 128
    output = tmp_path / "report.md"
    assert report(str(path), "--format", "markdown", "--output", str(output)) == ""
    assert output.read_text("utf-8") == report(str(path), "--format", "markdown")
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_run_without_an_end_says_so_before_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(path, 30, summary=False)
    text = report(str(path))
    assert text.index("have no end") < text.index("Times per checkpoint")


def test_one_of_several_vms_can_be_chosen(tmp_path: Path) -> None:
    record(tmp_path / "a.jsonl", 20, vm="a")
    record(tmp_path / "b.jsonl", 20, vm="b", started=LATER)
    found = json.loads(report(str(tmp_path), "--format", "json", "--vm", "b"))
    assert [series["label"] for series in found["series"]] == ["b primary"]
    assert "a primary" in report(str(tmp_path), "--vm", "c", code=11)
    report(str(tmp_path), "--role", "secondary", code=11)


def test_runs_of_two_versions_are_apart_and_said_to_be_so(tmp_path: Path) -> None:
    record(tmp_path / "a.jsonl", 20, meanings={"primary": {"lock-release": "other"}})
    newer = {"qemu_version": "11.1.3", "build_id": "cd", "meanings": {"primary": {"lock-release": "ram"}}}
    record(tmp_path / "b.jsonl", 20, started=LATER, **newer)
    found = json.loads(report(str(tmp_path), "--format", "json"))
    assert len(found["series"]) == 2 and "lock-release (other / ram)" in found["differences"][0]


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b'{"a": 1}\n'])
def test_what_is_no_recording_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    report(str(path), code=11)
    report(str(tmp_path / "absent.parquet"), code=11)


def test_the_record_of_a_slow_one_is_the_recorded_line(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    record(path, 40)
    (series,) = open_recording(path).series()
    slow = json.loads(report(str(path), "--format", "json"))["series"][0]["slowest"][0]
    assert slow["record"] == series.records([slow["row_index"]])[0]
