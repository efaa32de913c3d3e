"""colotrace compare as a command: files of both kinds, choices, formats and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from colotrace.cli import main

SEED = Path(__file__).parents[1] / "data" / "seed_results.jsonl"
MEANS = {"stat": 1.2e6, "dev": 5e5, "ram": 6e6, "put": 2e4, "recv": 4e4, "load": 16e6, "resume": 2e6, "other": 1e4}


def recording(path: Path, seed: int, ram: float = 1.0, names: tuple[str, ...] = ("vm",), n: int = 200) -> str:
    """A recording of JSON lines, written as a version 1 attach did."""
    random = np.random.default_rng(seed)
    lines: list[dict[str, object]] = []
    for pid, name in enumerate(names, 100):
        lines.append({"type": "attached", "pid": pid, "name": name, "qemu_version": "7.2.22"})
        for number in range(1, n + 1):
            scale = {"ram": ram}
            parts = {f"{k}_ns": int(v * scale.get(k, 1) * random.lognormal(0, 0.15)) for k, v in MEANS.items()}
            total = sum(parts.values())
            lines.append(
                {
                    "type": "checkpoint", "role": "primary", "pid": pid, "tid": pid, "sequence": number,
                    "outcome": "completed", "begin_ns": number * 10**8, "wait_ns": 10**7, "total_ns": total, **parts,
                    "pause_ns": total - 10**6, "marks_ns": {}, "missing": {},
                }
            )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return recording(tmp_path / "a.jsonl", 1), recording(tmp_path / "b.jsonl", 2, ram=1.8)


@pytest.mark.parametrize(("limit", "code"), [("5%", 1), ("5", 1), ("50%", 0)])
def test_slower_beyond_a_limit_is_exit_code_1(pair: tuple[str, str], limit: str, code: int) -> None:
    assert run("--fail-if-slower", limit, *pair).exit_code == code
    assert run("--fail-if-slower", limit, *reversed(pair)).exit_code == 0
    assert run(*pair).exit_code == 0


def test_what_cannot_be_judged_does_not_pass_silently(tmp_path: Path) -> None:
    done = run("--fail-if-slower", "5%", *(recording(tmp_path / f"{n}.jsonl", n, n=5) for n in (1, 2)))
    assert done.exit_code == 0
    assert "could not judge pause: 5 checkpoints are too few" in done.output


def test_formats(pair: tuple[str, str]) -> None:
    found = json.loads(run("--json", *pair).stdout)
    assert {row["name"] for row in found["rows"] if row["verdict"] == "worse"} == {"ram", "total", "pause"}
    assert run("--format", "json", *pair).stdout == run("--json", *pair).stdout
    assert run("--format", "html", *pair).stdout.startswith("<!doctype html>")
    assert "| ram |" in run("--format", "markdown", *pair).stdout
    assert "ram, total, pause are worse" in run(*pair).stdout


def test_an_answer_of_the_seed_beside_a_recording(pair: tuple[str, str]) -> None:
    done = run(SEED, pair[0])
    assert done.exit_code == 11 and "9 answers: 1 (1 vCPUs, kernel build)" in done.output and "--answer" in done.output
    found = json.loads(run("--json", "--answer", "2", SEED, pair[0]).stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["ram"]["verdict"] == "better" and rows["ram"]["a_ns"] == 154_303_144
    assert rows["recv"]["verdict"] == "not compared"
    assert any("recv_time is shorter than any round trip" in note for note in found["notes"])
    assert found["a"]["completed"] == 6 and found["a"]["lost"] is None
    assert run("--answer", "1", SEED, SEED).exit_code == 11


def test_several_vms_are_to_be_chosen_from(tmp_path: Path) -> None:
    a = recording(tmp_path / "a.jsonl", 1, names=("one", "two"))
    b = recording(tmp_path / "b.jsonl", 2, names=("three",))
    done = run(a, b)
    assert done.exit_code == 11 and "one primary" in done.output and "two primary" in done.output
    assert run("--vm", "two", "--vm-b", "three", a, b).exit_code == 0
    assert "no series fits" in run("--vm", "two", a, b).output


@pytest.mark.parametrize("wrong", [("--on", "wait"), ("--fail-if-slower", "much"), ("--margin", "-1")])
def test_wrong_usage(pair: tuple[str, str], wrong: tuple[str, str]) -> None:
    assert run(*wrong, *pair).exit_code == 2


def test_files_that_are_none(pair: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("nothing of the kind\n")
    assert run(tmp_path / "words.txt", pair[0]).exit_code == 11
    assert run(tmp_path / "absent.jsonl", pair[0]).exit_code == 11
