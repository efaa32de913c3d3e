"""Recordings of a real pair: what is on standard output is in the file, and what killed tracers leave loads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

import colotrace as library
from colotrace.recording import open_recording
from colotrace.recording.run import open_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_the_file_holds_every_line(pair: ColoPair, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"run.{kind}"
    began = time.time_ns()
    done = colotrace(
        "attach", "--pid", pair.primary.pid, "-n", 4, "--json", "--output", path, "--qmp", pair.primary.qmp_path
    )
    assert done.returncode == 0, done.stderr
    run = open_run(str(path))
    said = json_lines(done.stdout)
    assert [json.dumps(line) for line in run.all_lines()] == [json.dumps(line) for line in said]
    assert run.ended and run.problems == () and not list(tmp_path.glob("*.journal"))
    header = run.header(pair.primary.pid)
    assert header.vm == "colo-primary" and header.run and header.boot_id and header.host and header.kernel
    assert header.checkpoint_delay_ms == 100
    assert header.probe_cost and header.probe_cost["emulated_warm_ns"] > 0
    assert header.plan and header.plan["probes"]["primary"]["transaction-begin"].startswith("0x")
    assert header.meanings["primary"]["live-state"] == "ram"
    assert header.missing == {"vm_uuid": "the VM has none (-uuid)"}
    (series,) = open_recording(path).series()
    walls = series.values("begin_wall_ns")
    assert len(walls) >= 4 and all(began < wall < time.time_ns() for wall in walls)
    totals = of_type(said, "summary")[0]["roles"]["primary"]
    assert series.counts.completed == totals["checkpoints"] and series.counts.lost_from == "kernel totals"
    assert int(series.values("total_ns").sum()) == totals["info_checkpoint"]["tot_time"]


def test_a_directory_of_both_vms(pair: ColoPair, tmp_path: Path) -> None:
    pids = (pair.primary.pid, pair.secondary.pid)
    done = colotrace("attach", "--pid", *pids, "-n", 2, "--output", f"{tmp_path}/all/")
    assert done.returncode == 0, done.stderr
    files = sorted(str(path.relative_to(tmp_path / "all").parent) for path in tmp_path.rglob("*.parquet"))
    host = open_recording(tmp_path / "all").series()[0].host
    assert files == [f"host={host}/vm=colo-primary", f"host={host}/vm=colo-secondary"]
    frame = library.load(tmp_path / "all")
    assert set(zip(frame["vm"], frame["role"], strict=True)) == {
        ("colo-primary", "primary"), ("colo-secondary", "secondary"),
    }  # fmt: skip
    assert frame.attrs["problems"] == []


def test_killed_tracers_leave_what_they_had_seen() -> None:
    """scripts/kill_recorder does the same fifty times."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/kill_recorder.py"), "--rounds", "6", "--most", "1.5"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 6 files load" in done.stdout


def test_attaching_does_not_import_what_only_reading_needs(pair: ColoPair, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom colotrace.cli import main\n"
        f"main(['attach', '--pid', '{pair.primary.pid}', '-n', '1', '--json', '--output', '{tmp_path}/run.jsonl'], "
        "standalone_mode=False)\n"
        "print(sorted({'pandas', 'pyarrow', 'plotly', 'bcc', 'rich'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip().endswith("[]"), done.stderr
