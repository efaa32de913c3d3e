"""The seed's nine measured results: a patched QEMU's primary, a kernel build in the guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colotrace.crosscheck.capture import captures

RESULTS = Path(__file__).resolve().parents[2] / "tests" / "data" / "seed_results.jsonl"
UNKNOWN = "ram_size"
"""The seed's patch never fills it: always 0."""


@dataclass(frozen=True)
class SeedResult:
    """One answer of info_checkpoint, in nanoseconds and bytes; None where the patch did not measure."""

    vcpus: int
    memory_mib: int
    columns: Mapping[str, int | None]


def seed_results(path: Path = RESULTS) -> list[SeedResult]:
    """In the seed's order."""
    found = []
    for capture in captures(path.read_text(), path.name):
        assert capture.about is not None and capture.vcpus is not None
        columns: dict[str, int | None] = {**capture.reading.values, UNKNOWN: None}
        found.append(SeedResult(capture.vcpus, int(str(capture.about["memory_gib"])) << 10, columns))
    return found
