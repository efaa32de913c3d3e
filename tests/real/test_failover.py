"""What a run shows when COLO ends: why, and who goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from colo_lab.pair import ColoPair
from support import (
    colotrace_running,
    in_transaction,
    json_lines,
    of_type,
    read_until,
    wait_for,
)


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
    """The secondary stands still, the primary hangs in a checkpoint; the secondary dies, and that checkpoint aborts."""
    pair = make_pair(dirty_mib=8, delay_ms=100)
    output = tmp_path / "run.jsonl"

    def seen(text: str) -> bool | None:
        return (output.exists() and text in output.read_text()) or None

    with colotrace_running("attach", "--pid", pair.primary.pid, "--output", output, "--json") as run:
        wait_for("a checkpoint", lambda: seen('"completed"'))
        os.kill(pair.secondary.pid, signal.SIGSTOP)
        wait_for("a checkpoint that hangs", lambda: in_transaction(pair.primary.pid) or None)
        pair.secondary.kill()
        wait_for("COLO's end", lambda: seen('"event":"colo-exit"'))
        pair.primary.execute("x-colo-lost-heartbeat")
        wait_for("the takeover", lambda: seen('"event":"takeover"'))
        run.terminate()
        assert run.wait(30) == 0
    lines = json_lines(output.read_text())
    notes = {note["event"]: note for note in of_type(lines, "note")}
    assert notes["colo-exit"]["role"] == notes["colo-exit"]["mode"] == "primary"
    assert notes["colo-exit"]["reason"] in ("request", "error")
    records = of_type(lines, "checkpoint")
    aborted = [record for record in records if record["outcome"] == "aborted"]
    assert len(aborted) == 1 and aborted[0] == records[-1]
    assert aborted[0]["aborted_in"] in ("stat", "ram", "put", "recv", "load")
    assert aborted[0]["total_ns"] is None and aborted[0]["missing"]["total_ns"] == "the checkpoint was aborted"
    (summary,) = of_type(lines, "summary")
    assert summary["aborted"] == 1
    completed = [record for record in records if record["outcome"] == "completed"]
    assert summary["checkpoints"] == len(completed), "an aborted checkpoint is in no average"
    info = summary["roles"]["primary"]["info_checkpoint"]
    assert info["tot_time"] == sum(record["total_ns"] for record in completed)


def test_the_targets_end_ends_the_run(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100)
    with colotrace_running("attach", "--pid", pair.primary.pid, "-n", 100000, "--json") as run:
        assert run.stdout
        read_until(run.stdout, '"outcome":"completed"')
        pair.primary.kill()
        lines = json_lines(run.stdout.read())
        assert run.wait(30) == 9, "fewer than asked for"
    assert "target-exited" in {note["event"] for note in of_type(lines, "note")}
    assert lines[-1]["type"] == "summary" and lines[-1]["checkpoints"] >= 1
