"""Measures what `colotrace inspect` costs, each time in a process of its own; see scripts/bench_inspect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "real"))

from elfedit import without_names, without_section_headers  # noqa: E402

LIMIT_S, LARGE_LIMIT_S, LARGE_BYTES, LIMIT_MIB = 0.5, 1.0, 50 << 20, 150
ROUNDS = 3

_RESOLVE = """
import json, sys, time
began = time.process_time()
import colotrace.cli.inspect
imported = time.process_time()
from colotrace.errors import ColotraceError
from colotrace.resolve.resolver import resolve
try:
    roles = resolve(sys.argv[1]).roles.values()
    exact = [sum(q is not None and q.value == "exact" for q in role.phases.values()) for role in roles]
except ColotraceError as error:
    exact = type(error).__name__
done = time.process_time()
"""
_CACHED = """
import json, sys, time
began = time.process_time()
from colotrace.plancache import plan_for
imported = time.process_time()
plan_for(sys.argv[1], sys.argv[1])
done = time.process_time()
exact = "kept"
"""


_REPORT = """
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([imported - began, done - imported, peak / 1024, exact]))
"""


def measure(script: str, path: Path, environment: dict[str, str]) -> tuple[float, float, float, object]:
    """(seconds of imports, seconds of work, MiB, result): the best of a few rounds, since the rest is other load."""
    rounds = []
    for _ in range(ROUNDS):
        run = subprocess.run(
            [sys.executable, "-c", script + _REPORT, path], capture_output=True, text=True, check=True, env=environment
        )
        rounds.append(json.loads(run.stdout))
    best = min(rounds, key=lambda one: one[1])
    return best[0], best[1], max(one[2] for one in rounds), best[3]


def main(paths: list[str]) -> int:
    """Prints the table; 1 if anything is over its limit."""
    print(f"{'binary':<44} {'MiB':>5}  {'variant':<20} {'import s':>8} {'resolve s':>9} {'peak MiB':>8}  exact phases")
    over = 0
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        for name in paths:
            data = Path(name).read_bytes()
            variants = [("as it is", _RESOLVE, data), ("no section headers", _RESOLVE, without_section_headers(data))]
            variants += [("no names", _RESOLVE, without_names(data)), ("from the plan cache", _CACHED, data)]
            for title, script, contents in variants:
                path = Path(folder) / "binary"
                path.write_bytes(contents)
                imports, work, peak, result = measure(script, path, environment)
                limit = LARGE_LIMIT_S if len(contents) > LARGE_BYTES else LIMIT_S
                fits = work <= limit and peak <= LIMIT_MIB
                over += not fits
                print(
                    f"{name[-44:]:<44} {len(contents) / (1 << 20):5.1f}  {title:<20} {imports:8.3f} {work:9.3f} "
                    f"{peak:8.1f}  {result}{'' if fits else '  OVER THE LIMIT'}",
                    flush=True,
                )
    large = f"{LARGE_LIMIT_S} s above {LARGE_BYTES >> 20} MiB"
    print(f"limits: {LIMIT_S} s, {large}, {LIMIT_MIB} MiB; best of {ROUNDS} rounds")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["/usr/bin/qemu-system-x86_64"]))
