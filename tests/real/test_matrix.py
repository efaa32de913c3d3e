"""A small scripts/matrix on real pairs: killed in its middle, gone on with, a cell that cannot be, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from pathlib import Path

from conftest import ROOT
from support import json_lines, read_until, wait_for

SMALL = ("--vcpus", "1,2", "--memory-mib", "128", "--dirty-mib", "4", "-n", "4", "--delay-ms", "100")
CHECKPOINTS = 4


def matrix(*words: object) -> subprocess.Popen[str]:
    command = [str(ROOT / "scripts/matrix"), *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, said = process.communicate(timeout=60)
    assert "Traceback" not in said, said
    return process.returncode, out, said


def begun(results: Path) -> list[int]:
    """The pids of the pair whose recording is under way, once both of them are in it."""
    lines = [one for file in results.rglob("unfinished-*") for one in file.read_text().splitlines(keepends=True)]
    return [json.loads(line)["pid"] for line in lines if line.endswith("\n") and '"attached"' in line]


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    with matrix(*SMALL, "--results", tmp_path) as process:
        read_until(process.stderr, "[1/2]")
        pids = wait_for("the second cell's pair", lambda: len(found := begun(tmp_path)) == 2 and found)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        wait_for("the pair's end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    (kept,) = tmp_path.rglob("run-*.jsonl")
    before = kept.read_bytes(), kept.stat().st_mtime_ns
    code, listed, _ = ended(matrix(*SMALL, "--results", tmp_path, "--list"))
    assert code == 0 and sorted(line.split(None, 3)[3] for line in listed.splitlines()) == ["done", "to do"]

    # 300 MiB do not fit into a guest of 128: that cell is reported and does not end the run
    wider = (*SMALL, "--dirty-mib", "4,300", "--only", "*x4", "--only", "1x128x300", "--results", tmp_path)
    code, out, said = ended(matrix(*wider, "--json", "--pictures", tmp_path / "pictures"))
    assert code == 1 and "2 of 3 runs to do" in said and "1x128x300 run 1 failed: 300 MiB of dirty memory do" in said
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == before and not list(tmp_path.rglob("unfinished-*"))
    result = json.loads(out)
    assert [one["vcpus"] for one in result["cells"]] == [1, 2] and len(result["failed"]) == 1
    for one in result["cells"]:
        primary, secondary = one["roles"]["primary"], one["roles"]["secondary"]
        assert primary["tot_num"] == secondary["tot_num"] == CHECKPOINTS
        assert primary["ram_size"] > 0 and secondary["ram_size"] is None and primary["init_time"] > 0
        phases = sum(primary[f"{phase}_time"] for phase in ("stat", "dev", "ram", "put", "recv", "load", "resume"))
        assert 0 < phases <= primary["avg_time"]
    sizes = [one["roles"]["primary"]["dev_size"] for one in result["cells"]]
    assert 1500 < sizes[1] - sizes[0] < 3000, "a vCPU's state"
    picture = (tmp_path / "pictures" / "matrix-vcpus-secondary.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", picture[16:24]) == (920, 480)


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    with matrix(*SMALL, "--results", tmp_path) as process:
        wait_for("the first cell's pair", lambda: len(begun(tmp_path)) == 2)
        process.send_signal(signal.SIGINT)
        code, _, said = ended(process)
    assert code == 130 and "stopped by SIGINT; the same command goes on from here" in said
    assert [line["type"] for line in json_lines((tmp_path / "manifest.jsonl").read_text())] == ["matrix"]
