"""colotrace compare on real pairs: a run of one setting beside another, and beside one with more memory dirtied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from support import colotrace

CHECKPOINTS = 120


def record(path: Path, dirty_mib: int) -> None:
    with ColoPair(Settings(dirty_mib=dirty_mib, delay_ms=40)) as pair:
        done = colotrace("attach", "--pid", pair.primary.pid, "-n", CHECKPOINTS, "--output", path)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    found = {name: folder / f"{name}.jsonl" for name in ("a", "same", "more")}
    for name, path in found.items():
        record(path, 24 if name == "more" else 8)
    return found


def test_a_longer_ram_phase_is_flagged_and_fails_a_pipeline(runs: dict[str, Path]) -> None:
    done = colotrace("compare", "--json", "--fail-if-slower", "20%", "--on", "ram", runs["a"], runs["more"])
    assert done.returncode == 1, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["ram"]["verdict"] == "worse"
    assert rows["ram"]["low"] > 1.2


def test_a_run_of_the_same_setting_has_no_longer_ram_phase(runs: dict[str, Path]) -> None:
    """Only ram, and by a margin: what else runs on a shared machine may change the other phases between two runs."""
    limits = ("--margin", "50%", "--fail-if-slower", "50%", "--on", "ram")
    done = colotrace("compare", "--json", *limits, runs["a"], runs["same"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "ram" not in [row["name"] for row in found["rows"] if row["verdict"] in ("worse", "better")]
    assert found["a"]["completed"] >= CHECKPOINTS
