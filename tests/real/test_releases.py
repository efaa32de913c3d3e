"""Real pairs of other releases, each in a system of its own: a container in small. Held against QMP like the host's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from conftest import ROOT
from witness import hold_against_qmp

from colotrace.phases import ROLE_PHASES, Role

PAGE_BYTES = 4104
"""A page in the stream: its 4096 bytes and the 8 of its address."""


@pytest.mark.parametrize("release", ["bullseye", "trixie", "sid"])
def test_another_release_is_timed_in_its_chroot(release: str, make_pair: Callable[..., ColoPair]) -> None:
    run = subprocess.run([ROOT / "scripts/chroot", release], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    pair = make_pair(chroot=Path(run.stdout.strip()), dirty_mib=8, delay_ms=100)
    records = hold_against_qmp(pair, 30)
    completed = [record for record in records if record["outcome"] == "completed"]
    assert len(completed) >= 2 * 29
    for record in completed:
        for phase in ROLE_PHASES[Role(record["role"])][1:]:
            assert record[f"{phase.value}_ns"] is not None, (phase, record)
    pages = [(record["ram_pages"], record["ram_bytes"]) for record in completed if record["role"] == "primary"]
    assert all(count and abs(size - count * PAGE_BYTES) <= 4096 for count, size in pages), pages
