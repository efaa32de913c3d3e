"""Within the lab: records the primary, applies and reverts the remedy beside it, and draws the pauses over time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from colotrace.units import time_text

ROOT = Path(__file__).resolve().parent.parent
COLOTRACE = [sys.executable, "-m", "colotrace"]
PICTURE = ROOT / "docs" / "remedy.png"


def run(*words: str) -> dict[str, Any]:
    """A remedy's JSON object."""
    ends = [f"--pid={os.environ[f'COLO_{role}_PID']}" for role in ("PRIMARY", "SECONDARY")]
    done = subprocess.run(
        [*COLOTRACE, "remedy", "nodelay", *ends, *words, "--json"], stdout=subprocess.PIPE, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    """The argument is how many checkpoints to measure before and after."""
    count = int(sys.argv[1])
    record = Path(os.environ["COLO_LAB_DIR"]) / "story.jsonl"
    armed = Path(os.environ["COLO_LAB_DIR"]) / "story-armed"
    attach = [*COLOTRACE, "attach", "--pid", os.environ["COLO_PRIMARY_PID"], "--output", str(record)]
    with subprocess.Popen([*attach, "--armed-file", str(armed)], stdout=subprocess.DEVNULL) as recorder:
        while not armed.exists() and recorder.poll() is None:
            time.sleep(0.05)
        applied = run("--apply", "-n", str(count))
        reverted = run("--revert")
        time.sleep(count * int(os.environ["COLO_DELAY_MS"]) / 1000)
        recorder.send_signal(signal.SIGINT)
    (gains,) = [one for one in applied["gains"] if one["role"] == "primary"]
    print(f"primary, means of {gains['checkpoints_before']} checkpoints before and {gains['checkpoints_after']} after:")
    print(f"{'phase':8}{'before':>10}{'after':>10}  after/before, 95 %")
    for row in gains["rows"]:
        texts = [time_text(row[name]) for name in ("before_ns", "after_ns")]
        print(f"{row['row']:8}{texts[0]:>10}{texts[1]:>10}  {row['ratio_low']:.3f} to {row['ratio_high']:.3f}")
    lines = [json.loads(line) for line in record.read_text("ascii").splitlines()]
    done = [one for one in lines if one["type"] == "checkpoint" and one["outcome"] == "completed"]
    draw(done, applied["changes"][0]["when_ns"], reverted["reverted"][0]["when_ns"])


def draw(done: list[dict[str, Any]], applied_ns: int, reverted_ns: int) -> None:
    """The pause of each checkpoint over time, with the two moments marked."""
    start = done[0]["begin_ns"]
    figure = go.Figure(
        go.Scatter(
            x=[(one["begin_ns"] - start) / 1e9 for one in done],
            y=[one["pause_ns"] / 1e6 for one in done],
            mode="markers",
        )
    )
    for when, text in ((applied_ns, "remedy nodelay --apply"), (reverted_ns, "--revert")):
        figure.add_vline((when - start) / 1e9, line_dash="dash", annotation_text=text)
    figure.update_layout(
        template="plotly_white", width=900, height=320, margin={"l": 60, "r": 20, "t": 30, "b": 50},
        xaxis_title="seconds", yaxis_title="pause per checkpoint, ms", yaxis_rangemode="tozero",
    )  # fmt: skip
    PICTURE.parent.mkdir(exist_ok=True)
    figure.write_image(PICTURE)
    print(f"drawn: {PICTURE.relative_to(ROOT)}")


main()
