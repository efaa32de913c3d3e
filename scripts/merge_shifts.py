"""See scripts/merge_shifts. `--recorded PRIMARY SECONDARY [COUNT]` takes recordings of one host."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colotrace.phases import PHASES, Role

PPM = 1e-6
LENGTHS = tuple(f"{name}_ns" for name in (*(phase.value for phase in PHASES), "total", "other", "pause"))


@dataclass(frozen=True)
class OtherClock:
    """A clock that is `ahead_ns` ahead of the true one at `at_ns`, and gains `drift` (50 ppm: 50e-6)."""

    ahead_ns: int
    drift: float
    at_ns: int

    def ahead(self, when_ns: int) -> int:
        """How far it is ahead at a true time."""
        return self.ahead_ns + round(self.drift * (when_ns - self.at_ns))

    def line(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """A recording's line as it would have been, had the host had this clock."""
        changed = dict(line)
        if line["type"] == "attached":
            changed |= {"host": "other", "boot_id": "other"}
        if line["type"] != "checkpoint":
            return changed
        if line["begin_ns"] is not None:
            changed["begin_ns"] += self.ahead(line["begin_ns"])
        changed["marks_ns"] = {mark: when + self.ahead(when) for mark, when in line["marks_ns"].items()}
        for name in LENGTHS:
            if line.get(name) is not None:
                changed[name] = line[name] + round(line[name] * self.drift)
        return changed


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """A recording's lines (.jsonl)."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def write_lines(path: str | Path, lines: Iterable[Mapping[str, Any]]) -> str:
    """Writes lines as a recording (.jsonl); its path."""
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def clocks(begin_ns: int, count: int) -> Iterator[OtherClock]:
    """The published case, and as many random ones as make `count`: up to 10 minutes away, up to 100 ppm off."""
    yield OtherClock(351_000_000_000, 50 * PPM, begin_ns)
    for seed in range(1, count):
        chance = random.Random(seed)
        yield OtherClock(chance.randint(-(10**9) * 600, 10**9 * 600), chance.uniform(-100, 100) * PPM, begin_ns)


def main() -> None:
    """Prints how many were recovered, and the errors that were stated; exits 1 unless all were."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        if arguments[:1] == ["--recorded"]:
            primary, secondary, *rest = arguments[1:]
        else:
            primary, secondary = record(folder)
            rest = arguments
        sys.exit(try_all(primary, secondary, folder, int(rest[0]) if rest else 100))


def record(folder: str) -> tuple[str, str]:
    """Both sides of the lab's pair, each by a tracer of its own."""
    paths = {role: f"{folder}/{role}.jsonl" for role in ("PRIMARY", "SECONDARY")}
    command = [sys.executable, "-m", "colotrace", "attach", "--checkpoints", "120", "--json"]
    tracers = [
        subprocess.Popen(
            [*command, "--pid", os.environ[f"COLO_{role}_PID"], "--output", path], stdout=subprocess.DEVNULL
        )
        for role, path in paths.items()
    ]
    if any(tracer.wait() for tracer in tracers):
        sys.exit("attach failed")
    return paths["PRIMARY"], paths["SECONDARY"]


def try_all(primary: str, secondary: str, folder: str, count: int) -> int:
    """Merges each; the exit code."""
    from colotrace.analysis.merge import merge, the_series
    from colotrace.recording import open_recording

    ours = the_series(open_recording(primary), Role.PRIMARY)
    lines = read_lines(secondary)
    begin = next(line["begin_ns"] for line in lines if line["type"] == "checkpoint" and line["begin_ns"])
    recovered, offsets, drifts, off = 0, [], [], []
    for number, clock in enumerate(clocks(begin, count)):
        path = write_lines(f"{folder}/other.jsonl", map(clock.line, lines))
        if number == 0:
            subprocess.run([sys.executable, "-m", "colotrace", "merge", primary, path], check=True)
            print(flush=True)
        merged = merge(ours, the_series(open_recording(path), Role.SECONDARY))
        (piece,) = merged.match.pieces
        errors = piece.error(merged.begin_ns).tolist()
        estimates = piece.offset(merged.begin_ns).tolist()
        wrong = [abs(e - clock.ahead(at)) for e, at in zip(estimates, merged.begin_ns.tolist(), strict=True)]
        within = all(w <= error for w, error in zip(wrong, errors, strict=True))
        recovered += within and abs(piece.drift - clock.drift) <= piece.drift_error
        offsets.append(max(errors))
        drifts.append(piece.drift_error)
        off.append(max(wrong))
    print(f"{recovered} of {count} clocks recovered within the error stated, from {len(merged.begin_ns)} checkpoints")
    print(f"stated: offset at most {max(offsets) / 1e3:.1f} us, drift {max(drifts) / PPM:.2f} ppm")
    print(f"true:   offset at most {max(off) / 1e3:.1f} us off")
    return recovered != count


if __name__ == "__main__":
    main()
