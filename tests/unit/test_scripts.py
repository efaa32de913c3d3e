"""The scripts that measure and fuzz still run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .coloprogram import Recipe, build

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_fuzzer_says_what_came_out() -> None:
    done = run("fuzz.py", "elf", 2, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    rounds, _, rest = done.stdout.partition(" rounds from 7 on, 0 failures: ")
    assert int(rounds) > 5 and "ProbePlan" in rest


def test_the_benchmark_has_a_line_for_each_variant(tmp_path: Path) -> None:
    binary = tmp_path / "qemu"
    binary.write_bytes(build(Recipe(dynamic="gnu")).data)
    done = run("bench_inspect.py", binary)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(binary)[-44:])]
    assert len(lines) == 4 and "[9, 7]" in lines[0] and "[9, 7]" in lines[1] and "kept" in lines[3]
