"""max-bandwidth: QEMU 5.2 keeps to it in a checkpoint, and waits as often as the bytes say; 7.2 does not, unless its
guest has huge pages."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

from colo_lab.pair import ColoPair
from colo_lab.trouble_rate import limited
from conftest import ROOT
from support import findings_of_primary, json_lines, of_type

LIMIT = 30_000_000
"""30 MB/s: of 8 MiB, 3 MB can go at once, and again after each of two waits."""
DIRTY_MIB = 8
PAGE_BYTES = 4104


def test_5_2_waits_for_it(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    run = subprocess.run([ROOT / "scripts/chroot", "bullseye"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    pair = make_pair(chroot=Path(run.stdout.strip()), dirty_mib=DIRTY_MIB, delay_ms=200)
    with limited(pair, LIMIT):
        unknown = findings_of_primary(pair, tmp_path, count=20)["unknown"]
        found = findings_of_primary(pair, tmp_path, "--qmp", pair.primary.qmp_path)
    assert "no QMP socket was given (--qmp)" in unknown["max-bandwidth"]
    (one,) = [one for one in found["found"] if one["rule"] == "max-bandwidth"]
    waits = math.ceil((DIRTY_MIB << 20) / 4096 * PAGE_BYTES / (LIMIT / 10)) - 1
    assert one["numbers"]["max_bandwidth_bytes_per_s"] == LIMIT and one["numbers"]["waits"] == waits
    assert 0.95 * waits * 100_000_000 < one["numbers"]["ram_ns"] < waits * 100_000_000 + 40_000_000
    assert one["numbers"]["part_of_checkpoints"] >= 0.8 and one["cost_ns"] > 0.7 * waits * 100_000_000
    assert "bandwidth" in found["not_found"]  # the network's: not told twice
    unlimited = findings_of_primary(pair, tmp_path, "--qmp", pair.primary.qmp_path)
    assert "max-bandwidth" in unlimited["not_found"]


def test_7_2_does_not(pair: ColoPair, tmp_path: Path) -> None:
    with limited(pair, LIMIT):
        found = findings_of_primary(pair, tmp_path, "--qmp", pair.primary.qmp_path)
        (header,) = of_type(json_lines((tmp_path / "run.jsonl").read_text()), "attached")
    assert "max-bandwidth" in found["not_found"]
    assert header["max_bandwidth_bytes_per_s"] == LIMIT and "max_bandwidth_bytes_per_s" not in header["missing"]


def test_without_qmp_it_is_unknown_and_need_not_be_known(pair: ColoPair, tmp_path: Path) -> None:
    assert "max-bandwidth" in findings_of_primary(pair, tmp_path)["not_found"]  # no ram phase was as long as a wait
    (header,) = of_type(json_lines((tmp_path / "run.jsonl").read_text()), "attached")
    assert header["max_bandwidth_bytes_per_s"] is None
    assert header["missing"]["max_bandwidth_bytes_per_s"] == "no QMP socket was given (--qmp)"
