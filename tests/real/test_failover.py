"""What a run shows when COLO ends: why, and who goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from colo_lab.pair import ColoPair
from support import colotrace_running, json_lines, of_type, wait_for


def test_the_secondary_takes_over(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100)
    output = tmp_path / "run.jsonl"

    def seen(text: str) -> Callable[[], bool | None]:
        return lambda: text in output.read_text() or None

    with colotrace_running("attach", "--pid", pair.secondary.pid, "--output", output, "--json") as run:
        wait_for("the file", output.exists)
        wait_for("a completed checkpoint", seen('"outcome":"completed"'))
        pair.primary.kill()
        pair.secondary.execute("x-colo-lost-heartbeat")
        wait_for("the takeover", seen('"event":"takeover"'))
        run.terminate()
        assert run.wait(30) == 0
    notes = {note["event"]: note for note in of_type(json_lines(output.read_text()), "note")}
    assert notes["colo-exit"]["role"] == "secondary"
    assert notes["colo-exit"]["mode"] == "secondary"
    assert notes["colo-exit"]["reason"] in ("request", "error")
    assert notes["takeover"]["when_ns"] > notes["takeover"]["exit_ns"] == notes["colo-exit"]["when_ns"]


def test_the_primary_goes_on_alone(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100)
    output = tmp_path / "run.jsonl"
    with colotrace_running("attach", "--pid", pair.primary.pid, "--output", output, "--json") as run:
        wait_for("a checkpoint", lambda: output.exists() and '"completed"' in output.read_text() or None)
        pair.secondary.kill()
        wait_for("COLO's end", lambda: '"event":"colo-exit"' in output.read_text() or None)
        pair.primary.execute("x-colo-lost-heartbeat")
        wait_for("the takeover", lambda: '"event":"takeover"' in output.read_text() or None)
        run.terminate()
        assert run.wait(30) == 0
    lines = json_lines(output.read_text())
    notes = {note["event"]: note for note in of_type(lines, "note")}
    assert notes["colo-exit"]["role"] == notes["colo-exit"]["mode"] == "primary"
    (summary,) = of_type(lines, "summary")
    assert summary["aborted"] == len([r for r in of_type(lines, "checkpoint") if r["outcome"] == "aborted"])


def test_the_targets_end_ends_the_run(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100)
    with colotrace_running("attach", "--pid", pair.primary.pid, "-n", 100000, "--json") as run:
        assert run.stdout
        while '"outcome":"completed"' not in run.stdout.readline():
            pass
        pair.primary.kill()
        lines = json_lines(run.stdout.read())
        assert run.wait(30) == 9, "fewer than asked for"
    assert "target-exited" in {note["event"] for note in of_type(lines, "note")}
    assert lines[-1]["type"] == "summary" and lines[-1]["checkpoints"] >= 1
