"""Both sides of two real pairs, as a tracer each has recorded them (tests/data/pair: the lab's, Debian's 7.2; the
secondary's tracer began 2 s later), and copies of them."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from colotrace.analysis.merge import the_series
from colotrace.phases import Role
from colotrace.recording import Series, open_recording

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from merge_shifts import OtherClock, clocks, write_lines  # noqa: E402

__all__ = ["SHIFTS", "OtherClock", "checkpoints", "clocks", "lines", "series", "write_lines"]

SHIFTS = {"tcp": -11, "unix": -21}
"""secondary's sequence - primary's, by transport; by the checkpoints that were done when the second tracer came in."""
Lines = list[dict[str, Any]]


def lines(transport: str, role: Role) -> Lines:
    """A side's recording."""
    text = gzip.decompress((ROOT / f"tests/data/pair/{transport}-{role.value}.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.splitlines()]


def series(folder: Path, role: Role, recorded: Iterable[Mapping[str, Any]]) -> Series:
    """Lines as the series that they are when read from a file."""
    return the_series(open_recording(write_lines(folder / f"{role.value}.jsonl", recorded)), role)


def checkpoints(recorded: Iterable[dict[str, Any]]) -> Lines:
    """Those of the lines that are completed checkpoints."""
    return [line for line in recorded if line["type"] == "checkpoint" and line["outcome"] == "completed"]
