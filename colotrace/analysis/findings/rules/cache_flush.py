"""The secondary's load is mostly the flush of its cache: colo_flush_ram_cache() (migration/ram.c).

The secondary receives pages into a copy of its memory, and on each checkpoint copies every page that either side has
written from there into the guest, one at a time, in one thread, while both guests stand still. The marks before and
after the call tell how much of load that is (QEMU 5.1 on; before, it is part of ram).
"""

from __future__ import annotations

from collections.abc import Iterator

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import known, median, percentile, ratio
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Mark, Role
from colotrace.recording.schema import mark_column
from colotrace.units import time_text

_LEAST_OF_LOAD = 0.5
_LEAST_OF_TOTAL = 0.1
"""Of the secondary's total: a flush that dominates a load which does not matter is no trouble."""


def _look(sample: Sample) -> Iterator[Finding]:
    table = sample.recent
    flush = table.between(Mark.CACHE_FLUSH, Mark.CACHE_FLUSHED)
    load, total = table["load_ns"], table["total_ns"]
    of_load, of_total = median(ratio(flush, load)), median(ratio(flush, total))
    if not (of_load >= _LEAST_OF_LOAD and of_total >= _LEAST_OF_TOTAL):
        return
    begin = table["begin_ns"] + total - load  # load ends with the transaction
    before = median(table[mark_column(Mark.CACHE_FLUSH)] - begin)
    after = median(table.between(Mark.CACHE_FLUSHED, Mark.VM_START))
    low, typical, high = percentile(flush, 0.1), median(flush), percentile(flush, 0.9)
    yield Finding(
        rule=RULE.name,
        phase="load",
        title=f"the flush of the secondary's cache makes {of_load:.0%} of load: {time_text(typical)}",
        numbers={
            "flush_ns": round(typical),
            "flush_p10_ns": round(low),
            "flush_p90_ns": round(high),
            "part_of_load": round(of_load, 4),
            "part_of_total": round(of_total, 4),
            "before_flush_ns": round(before),
            "device_state_ns": round(after) if after == after else None,
        },
        evidence=(
            f"colo_flush_ram_cache() took {time_text(low)} to {time_text(high)} (p10 to p90), {of_total:.0%} of the "
            "whole checkpoint here",
            f"before it load took {time_text(before)}, after it {time_text(after if after == after else None)} for "
            "device state; starting the VM is the rest",
        ),
        confidence=Confidence.HIGH,
        confidence_reason="probes before and after the call have measured it",
        advice="fewer pages per checkpoint: a shorter x-checkpoint-delay (colotrace remedy delay), or a guest that "
        "writes less; both guests' writes count, the secondary's own too",
        cost_ns=round(float(known(flush).sum()) / len(table)),
    )


RULE = Rule(
    "cache-flush",
    "the secondary's flush of its cache making most of load",
    _look,
    (Role.SECONDARY,),
    needs=("load_ns", "total_ns", mark_column(Mark.CACHE_FLUSH), mark_column(Mark.CACHE_FLUSHED)),
)
