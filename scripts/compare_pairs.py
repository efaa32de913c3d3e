"""Compares pairs of real runs, of one setting and of two; see scripts/compare_pairs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from colotrace.analysis.compare import Comparison, Verdict, compare_series
from colotrace.recording import Series, open_recording

LESS_MIB, MORE_MIB = 8, 32
CHECKPOINTS, DELAY_MS = 120, 60
SIDES = {"a": LESS_MIB, "same": LESS_MIB, "more": MORE_MIB}
"""Run one after the other, pair by pair, so that what drifts on the machine meets all of them."""


def record(path: Path, dirty_mib: int) -> None:
    """A run of one pair of VMs, unless it is there already; an unfinished file never has the name."""
    if path.exists():
        return
    partial = path.with_name(f"partial-{path.name}")
    partial.unlink(missing_ok=True)
    attach = f"scripts/colotrace attach --pid $COLO_PRIMARY_PID -n {CHECKPOINTS} --duration 60 --output {partial}"
    lab = ["scripts/lab", "--dirty-mib", str(dirty_mib), "--delay-ms", str(DELAY_MS), "--", "sh", "-c", attach]
    done = subprocess.run(lab, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(lab)} failed:\n{done.stderr}")
    partial.rename(path)


def primary(*paths: Path) -> Series:
    """The primary of some runs, read together."""
    (found,) = (one for one in open_recording(*paths).series() if one.role.value == "primary")
    return found


def told(comparison: Comparison) -> str:
    """The flags of a pair, and what the three figures of interest have done."""
    ratios = [f"{name} {comparison.row(name).ratio.value:.2f}" for name in ("ram", "total", "pause")]
    return f"{comparison.summary.removeprefix('B beside A: ')}  [{', '.join(ratios)}]"


def main(folder: Path, pairs: int) -> int:
    """Prints the table; 1 if any pair is judged wrongly."""
    folder.mkdir(parents=True, exist_ok=True)
    flagged = seen = 0
    print(f"# {CHECKPOINTS} checkpoints a run, {LESS_MIB} MiB dirtied; B: the same, or {MORE_MIB} MiB")
    for number in range(1, pairs + 1):
        series = {}
        for side, dirty in SIDES.items():
            path = folder / f"{side}-{number}.jsonl"
            record(path, dirty)
            series[side] = primary(path)
        same, more = (compare_series(series["a"], series[side]) for side in ("same", "more"))
        flagged += bool(same.named(Verdict.WORSE) or same.named(Verdict.BETTER))
        seen += "ram" in more.named(Verdict.WORSE)
        print(f"{number:>2} same: {told(same)}\n   more: {told(more)}", flush=True)
    print(f"of {pairs} pairs of one setting {flagged} flagged; of {pairs} with more dirtied {seen} flagged for ram")
    pooled = {side: primary(*(folder / f"{side}-{n}.jsonl" for n in range(1, pairs + 1))) for side in SIDES}
    for side in ("same", "more"):
        print(f"all {pairs} runs a side, {side}: {told(compare_series(pooled['a'], pooled[side]))}")
    return 1 if flagged or seen < pairs else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 10))
