"""kill -9 of a recording tracer at random moments: does every file load, and how much of the run is in it?

Each round attaches to a VM with --output, kills the tracer, and reads the recording with colotrace's own reader. It
must hold all checkpoints since the first, none missing in between; what lies between the last one's end and the kill is
lost.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from colo_target.target import ColoTarget

from colotrace.recording import open_recording

FORMATS = ("parquet", "jsonl", "csv")
DEADLINE_S = 30.0


@dataclass(frozen=True)
class Round:
    """What one killed run has left: checkpoints, gaps in their sequence, and nanoseconds from the last to the kill."""

    kind: str
    checkpoints: int
    gaps: int
    lost_ns: int
    row_groups: bool


def kill_once(pid: int, folder: Path, kind: str, after_s: float) -> Round:
    """One round; AssertionError if the tracer does not arm, or ends by itself."""
    file, armed = folder / f"run.{kind}", folder / "armed"
    armed.unlink(missing_ok=True)
    for old in folder.glob("run.*"):
        old.unlink()
    command = [sys.executable, "-m", "colotrace", "attach", "--pid", str(pid), "--output", str(file)]
    tracer = subprocess.Popen([*command, "--armed-file", str(armed)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + DEADLINE_S
    while not armed.exists():
        assert tracer.poll() is None and time.monotonic() < until, tracer.stderr.read() if tracer.stderr else ""
        time.sleep(0.01)
    time.sleep(after_s)
    assert tracer.poll() is None, "the tracer ended by itself"
    tracer.kill()
    killed_ns = time.monotonic_ns()
    tracer.communicate()
    recording = open_recording(file)
    series = recording.series()
    assert len(series) == 1, f"{len(series)} series in a killed run of {after_s:.2f} s"
    columns = series[0].columns("sequence", "begin_ns", "total_ns")
    steps = np.diff(columns["sequence"])
    ends = columns["begin_ns"] + columns["total_ns"]
    gaps = int(np.sum(steps - 1)) - series[0].counts.incomplete - series[0].counts.aborted
    return Round(kind, len(ends), max(gaps, 0), killed_ns - int(ends[-1]), file.stat().st_size > 1 << 20)


@contextmanager
def _vm(rate: float | None) -> Iterator[int]:
    if rate is None:
        with ColoPair(Settings(dirty_mib=8, delay_ms=50)) as pair:
            yield pair.primary.pid
    else:
        with ColoTarget("primary", rate) as target:
            target.go()
            yield target.pid


@click.command()
@click.option("--rounds", default=50, show_default=True, help="How often.")
@click.option("--rate", type=float, help="Checkpoints per second of a synthetic target, instead of a real pair.")
@click.option("--most", default=3.0, show_default=True, help="Kill after 0.5 to so many seconds.")
@click.option("--format", "only", type=click.Choice(FORMATS), help="Only this format; else they take turns.")
@click.option("--seed", default=6, show_default=True)
def main(rounds: int, rate: float | None, most: float, only: str | None, seed: int) -> None:
    """Kills a recording tracer ROUNDS times; exits with 1 if a file does not load or lacks something in its middle."""
    chance = random.Random(seed)
    found: list[Round] = []
    with _vm(rate) as pid, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            kind = only or FORMATS[number % len(FORMATS)]
            found.append(kill_once(pid, Path(folder), kind, chance.uniform(0.5, most)))
            if sys.stderr.isatty():
                click.echo(f"\r{number + 1} of {rounds}\x1b[K", err=True, nl=False)
    click.echo("format    rounds  checkpoints  missing inside  last one before the kill: median, most")
    for kind in FORMATS:
        mine = [one for one in found if one.kind == kind]
        if mine:
            lost = sorted(one.lost_ns / 1e9 for one in mine)
            total, gaps = sum(one.checkpoints for one in mine), sum(one.gaps for one in mine)
            click.echo(f"{kind:9}{len(mine):7}{total:13,}{gaps:16,}{lost[len(lost) // 2]:35.2f} s {lost[-1]:.2f} s")
    click.echo(f"all {len(found)} files load; {sum(one.row_groups for one in found)} had been written past a row group")
    sys.exit(any(one.gaps for one in found))


if __name__ == "__main__":
    main()
