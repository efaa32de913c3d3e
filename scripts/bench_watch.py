"""Measures the CPU that `colotrace attach` itself needs, by how it shows what it sees; see scripts/bench_watch."""

from __future__ import annotations

import sys
import tempfile
import time

from colo_target.target import ColoTarget
from colo_target.tracer import Tracer, load

RATES = (10.0, 1000.0)
SETTLE_S = 3.0
LIMITS = {10.0: 0.05, 1000.0: 0.25}
"""Parts of one CPU, by checkpoints per second."""
WAYS = {
    "live view": ([], True),
    "lines": ([], False),
    "--json": (["--json"], False),
    "--output FILE, live view": (["--output", "FILE"], True),
}


def measure(rate: float, arguments: list[str], terminal: bool, seconds: float) -> tuple[float, float, int]:
    """(part of one CPU, checkpoints per second that there really were, KiB)."""
    with tempfile.NamedTemporaryFile() as file, ColoTarget("primary", rate) as target:
        words = [file.name if word == "FILE" else word for word in arguments]
        with Tracer(["--pid", str(target.pid), *words], terminal=terminal) as tracer:
            target.go()
            time.sleep(SETTLE_S)
            before, began = target.counts()["completed"], time.monotonic()
            share = tracer.cpu_share(seconds)
            done = (target.counts()["completed"] - before) / (time.monotonic() - began)
            return share, done, tracer.memory_kib()


def main(seconds: float, rates: list[float]) -> int:
    """Prints the table; 1 if anything is over its limit."""
    print(f"# {load()}; {seconds:g} s each, one VM's primary")
    print(f"{'shown as':<26} {'checkpoints/s':>13} {'CPU':>7} {'us each':>8} {'MiB':>6}")
    over = 0
    for rate in rates:
        for name, (arguments, terminal) in WAYS.items():
            share, done, memory = measure(rate, arguments, terminal, seconds)
            fits = share <= LIMITS.get(rate, 1.0)
            over += not fits
            mark = "" if fits else f"  OVER {LIMITS[rate]:.0%}"
            figures = f"{done:>13,.0f} {share:>7.2%} {share / done * 1e6:>8.0f} {memory / 1024:>6.1f}"
            print(f"{name:<26} {figures}{mark}", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    numbers = [float(word) for word in sys.argv[1:]] or [10.0]
    sys.exit(main(numbers[0], numbers[1:] or list(RATES)))
