"""What colotrace itself costs: found where a pause is so short that it matters, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from colo_lab.pair import ColoPair
from support import colotrace, findings_of_primary, json_lines, of_type

IN_PAUSE, TAKEOVER = 14, 1
"""Probes of the primary from vm-stop to vm-started, of which the two ends count as one; and that in vm_start()."""


def test_in_the_shortest_pause_there_is_it_matters(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """A machine without a processor or a device has hardly anything to stop, save, load or start."""
    pair = make_pair(dirty_mib=0, delay_ms=50, memory_mib=32, qemu_options=("-M", "none"))
    found = findings_of_primary(pair, tmp_path)
    (one,) = [one for one in found["found"] if one["rule"] == "probe-cost"]
    (header,) = of_type(json_lines((tmp_path / "run.jsonl").read_text()), "attached")
    assert header["plan"]["stepped"] == {"primary": [], "secondary": [], "process": []}
    numbers, cost = one["numbers"], header["probe_cost"]
    assert numbers["hits"] == IN_PAUSE - 1 + TAKEOVER and numbers["stepped_hits"] == 0
    assert numbers["warm_ns"] == numbers["hits"] * cost["emulated_warm_ns"] == one["cost_ns"]
    assert numbers["cold_ns"] == numbers["hits"] * cost["emulated_cold_ns"]
    records = [r for r in of_type(json_lines((tmp_path / "run.jsonl").read_text()), "checkpoint") if r["pause_ns"]]
    assert numbers["pause_ns"] in {record["pause_ns"] for record in records}
    assert one["confidence"] == "high"
    assert numbers["warm_part"] == round(numbers["warm_ns"] / numbers["pause_ns"], 4) >= 0.01


def test_in_a_pause_of_tcp_it_does_not(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(transport="tcp", dirty_mib=0, delay_ms=100)
    assert "probe-cost" in findings_of_primary(pair, tmp_path)["not_found"]
    without = colotrace("attach", "--pid", pair.primary.pid, "-n", 20, "--json")
    (summary,) = of_type(json_lines(without.stdout), "summary")
    assert "(--output)" in summary["findings"]["primary"]["unknown"]["probe-cost"]
