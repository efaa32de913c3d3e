"""Stopping the VM takes long, because its block devices have requests in flight, or flush.

From VM_STOP to VM_STOPPED QEMU halts the vCPUs, then waits until no block device has a request in flight
(bdrv_drain_all) and flushes them: 5.2 to 11.1, both sides. Such waits take what the device takes, and gather there. If
vCPUs do not come to a halt because they lack a processor, stopping takes any time between next to nothing and many of
the scheduler's time slices.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import known, mean_cost, median, percentile
from colotrace.analysis.findings.rule import Rule, Unknowable
from colotrace.analysis.findings.rules.bql_wait import LONG_NS as LOCK_NS
from colotrace.analysis.findings.rules.bql_wait import lock_waits
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Mark
from colotrace.units import time_text

ALWAYS_NS = 2_000_000
"""A wait, if nine of ten checkpoints have it: with four busy processes on two processors, one in ten takes 0.4 ms."""
SOME_NS = 10_000_000
"""A wait, if only some have it: on a busy machine vCPUs often take one or two time slices of 4 ms to halt."""
_NINE_OF_TEN = 0.1
_LEAST_WAITS, _LEAST_PART = 5, 0.1
_MATTERS = 0.05
"""Of the median pause: what the waits must add to it, on the average."""
_ALIKE = 2
"""Waits gather between the typical one divided by this and multiplied by it."""
_GATHERED = 3
"""So many times more waits there than elsewhere; evenly spread from 0 to a limit, it is 3, for vCPUs 1 to 2."""


def _look(sample: Sample) -> Iterator[Finding]:
    table = sample.recent
    times = table.between(Mark.VM_STOP, Mark.VM_STOPPED)
    if 2 * known(times).size < len(table):
        raise Unknowable("when the VM has stopped is known of less than half of the checkpoints")
    always = percentile(times, _NINE_OF_TEN) >= ALWAYS_NS
    long = times >= (ALWAYS_NS if always else SOME_NS)
    waits, part = times[long], float(long.mean())
    if waits.size < _LEAST_WAITS or part < _LEAST_PART:
        return
    typical = median(waits)
    alike = (times >= typical / _ALIKE) & (times <= typical * _ALIKE)
    others = np.count_nonzero((times >= ALWAYS_NS) & ~alike)
    locked = float((lock_waits(table, sample.role) >= LOCK_NS).mean())
    if part * typical < _MATTERS * median(table["pause_ns"]) or np.count_nonzero(alike) < _GATHERED * others:
        return
    if part < 2 * locked:
        return  # stopping lets go of the lock and takes it again: it is the lock that is waited for
    start = median(table.between(Mark.VM_START, Mark.VM_STARTED))
    evidence = [
        f"from vm-stop to vm-stopped it takes {time_text(waits.min())} to {time_text(waits.max())} in {waits.size} of "
        f"{len(table)} checkpoints, 90 % of these up to {time_text(percentile(waits, 0.9))}",
        f"{np.count_nonzero(alike)} are alike, within a factor of {_ALIKE}, and {others} other waits are not: so does "
        "a device's latency gather, rather than what the scheduler makes",
        f"it is not the big lock, which is waited for in {locked:.0%} of the checkpoints",
    ]
    if start == start:
        evidence.append(f"starting the VM takes {time_text(start)}")
    yield Finding(
        rule=RULE.name,
        phase="stat",
        title=f"stopping the VM takes {time_text(typical)} in {part:.0%} of the checkpoints: it waits for block "
        "devices",
        numbers={
            "wait_ns": round(typical),
            "wait_min_ns": round(float(waits.min())),
            "wait_p90_ns": round(percentile(waits, 0.9)),
            "wait_max_ns": round(float(waits.max())),
            "part_of_checkpoints": round(part, 4),
            "alike": int(np.count_nonzero(alike)),
            "other_waits": int(others),
            "lock_part": round(locked, 4),
            "start_ns": round(start) if start == start else None,
        },
        evidence=tuple(evidence),
        confidence=Confidence.MEDIUM if always else Confidence.LOW,
        confidence_reason="requests in flight, or a flush, take so long; so would vCPUs that lack a processor each time"
        if always
        else "requests in flight, or a flush, take so long now and then; so may vCPUs that lack a processor",
        advice=f"look for slow storage and block jobs of pid {sample.header.pid}: query-block-jobs, and "
        "query-blockstats for latencies; end, throttle or postpone the jobs. Without any: give the vCPUs processors of "
        "their own",
        cost_ns=mean_cost(times, long, 0),
    )


RULE = Rule("vm-stop-wait", "waits for block devices' requests when the VM is stopped", _look, needs=("pause_ns",))
