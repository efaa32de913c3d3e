"""Makes a long recording and measures `colotrace report` on it, each format in a child; see scripts/bench_report."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FORMATS = ("text", "markdown", "json", "html", "png")
SHAPE = "1"
"""Changes with what scripts/synthetic.py writes, so that an older recording is not taken for it."""
MOST_S, MOST_BYTES, MOST_OUTPUT = 60.0, 1 << 30, 1 << 26


def measure(recording: Path, form: str) -> tuple[int, float, int, int]:
    """(exit status, seconds, peak resident bytes of the child, bytes of output)."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / f"report.{form}"
        words = [sys.executable, "-m", "colotrace", "report", str(recording), "--format", form, "--output", str(output)]
        began = time.monotonic()
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        size = output.stat().st_size if output.exists() else 0
        return child.returncode, seconds, usage.ru_maxrss << 10, size


def main(checkpoints: int, formats: list[str]) -> int:
    """Prints the table; 1 if a format failed or is over a limit."""
    folder = Path(os.environ["COLOTRACE_CACHE"]) / "bench_report"
    folder.mkdir(parents=True, exist_ok=True)
    recording = folder / f"synthetic-{SHAPE}-{checkpoints}.parquet"
    if not recording.exists():
        import synthetic  # not in this process if it can be helped: a child's ru_maxrss begins with its parent's

        began = time.monotonic()
        part = recording.with_suffix(".part")
        synthetic.write(part, checkpoints)
        part.rename(recording)
        print(f"# made {recording} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    load = " ".join(f"{one:.2f}" for one in os.getloadavg()[:2])
    size = f"{recording.stat().st_size / 2**20:,.0f} MiB"
    print(f"# {checkpoints:,} checkpoints, a file of {size}; {os.cpu_count()} CPUs, load {load}")
    print(f"{'format':<9} {'seconds':>8} {'peak MiB':>9} {'output KiB':>11}")
    bad = 0
    for form in formats:
        code, seconds, peak, size = measure(recording, form)
        fits = code == 0 and seconds <= MOST_S and peak <= MOST_BYTES and size <= MOST_OUTPUT
        bad += not fits
        mark = "" if fits else f"  FAILED with {code}" if code else "  OVER"
        print(f"{form:<9} {seconds:>8.1f} {peak / 2**20:>9.0f} {size / 2**10:>11.1f}{mark}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000, sys.argv[2:] or list(FORMATS)))
