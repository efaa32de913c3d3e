"""Findings of attach and report: delayed acknowledgements on a pair over TCP, and none on one over a unix socket.

The other rules have files of their own (test_finding_*.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

COUNT = 40


def attach(pair: ColoPair, tmp_path: Path, *more: object) -> tuple[dict[str, Any], Path]:
    """The summary's findings of the primary, and the recording."""
    output = tmp_path / "run.jsonl"
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", COUNT, "--json", "--output", output, *more)
    assert run.returncode == 0, run.stderr
    (summary,) = of_type(json_lines(run.stdout), "summary")
    findings: dict[str, Any] = summary["findings"]["primary"]
    return findings, output


def delayed_acks(findings: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in findings["found"] if one["rule"] == "delayed-ack"]


def test_over_tcp_the_stall_is_found_with_its_number(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(transport="tcp", dirty_mib=4, delay_ms=200)
    findings, output = attach(pair, tmp_path)
    found = {one["phase"]: one for one in delayed_acks(findings)}
    assert "load" in found
    numbers = found["load"]["numbers"]
    assert 40_000_000 <= numbers["stall_ns"] < 48_000_000
    records = [r for r in of_type(json_lines(output.read_text()), "checkpoint") if r["outcome"] == "completed"]
    stalls = [r["load_ns"] for r in records if 39_500_000 <= r["load_ns"] < 50_000_000]
    assert numbers["part_of_checkpoints"] == round(len(stalls) / len(records), 4)
    assert numbers["stall_ns"] in stalls
    # the kernel's tick ends it: this kernel's CONFIG_HZ is not known to the rule
    assert found["load"]["confidence"] == "high" and numbers["tick_concentration"] > 0.6
    report = colotrace("report", output, "--format", "json")
    (series,) = json_lines(report.stdout)[0]["series"]
    assert series["findings"]["found"] == findings["found"]
    text = colotrace("report", output).stdout
    assert "TCP's delayed acknowledgement" in text and "remedy nodelay" in text


def test_over_a_unix_socket_there_is_none(pair: ColoPair, tmp_path: Path) -> None:
    findings, output = attach(pair, tmp_path)
    assert delayed_acks(findings) == [] and "delayed-ack" in findings["not_found"]
    assert "delayed-ack" in colotrace("report", output).stdout


def test_for_people_the_summary_ends_with_them(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(transport="tcp", dirty_mib=1, delay_ms=100)
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", 30)
    assert run.returncode == 0
    _, found = run.stdout.split("findings, primary:")
    assert "delayed acknowledgement" in found and "confidence" in found and "advice: sudo colotrace remedy" in found
    few = colotrace("attach", "--pid", pair.primary.pid, "-n", 2)
    (line,) = [line for line in few.stdout.splitlines() if "it takes 20 checkpoints; there are" in line]
    assert "could not be looked for:" in line and "delayed-ack" in line
