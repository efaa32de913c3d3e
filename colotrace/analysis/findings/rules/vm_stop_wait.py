"""Stopping the VM takes long: requests of its block devices in flight, or vCPUs that do not come to a halt.

From VM_STOP to VM_STOPPED QEMU halts the vCPUs, then waits until no block device has a request in flight
(bdrv_drain_all) and flushes them: 5.2 to 11.1, both sides. Requests take their device's latency, so that these waits
have an upper limit. vCPUs that wait for a processor have none: their waits reach far beyond their median.
"""

from __future__ import annotations

from collections.abc import Iterator

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import known, mean_cost, median, percentile
from colotrace.analysis.findings.rule import Rule, Unknowable
from colotrace.analysis.findings.rules.bql_wait import LONG_NS as LOCK_NS
from colotrace.analysis.findings.rules.bql_wait import lock_waits
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Mark
from colotrace.units import time_text

LONG_NS = 10_000_000
"""A wait, where only some checkpoints have it: on a busy machine vCPUs take one or two ticks of 4 ms to halt."""
MOSTLY_NS = 2_000_000
"""A wait, where most checkpoints have it: the median is 0.3 to 0.8 ms on a busy machine."""
_LEAST_WAITS, _LEAST_PART = 5, 0.1
_MATTERS = 0.05
"""Of the median pause: what the waits must add to it, on the average."""
_LIMITED = 2.5
"""The 90th percentile of such waits over their median: 1.8 if evenly spread from 0 to a limit, 3.3 if exponential."""


def _look(sample: Sample) -> Iterator[Finding]:
    table = sample.recent
    times = table.between(Mark.VM_STOP, Mark.VM_STOPPED)
    if 2 * known(times).size < len(table):
        raise Unknowable("when the VM has stopped is known of less than half of the checkpoints")
    long = times >= (MOSTLY_NS if median(times) >= MOSTLY_NS else LONG_NS)
    waits, part = times[long], float(long.mean())
    if waits.size < _LEAST_WAITS or part < _LEAST_PART:
        return
    typical, most = median(waits), percentile(waits, 0.9)
    lock = lock_waits(table, sample.role)
    locked = float((lock >= LOCK_NS).mean())
    if part * typical < _MATTERS * median(table["pause_ns"]) or most > _LIMITED * typical or part < 2 * locked:
        return  # the last: stopping lets go of the lock and takes it again, so that it is the lock that is waited for
    least, start = float(waits.min()), median(table.between(Mark.VM_START, Mark.VM_STARTED))
    evidence = [
        f"from vm-stop to vm-stopped it takes over {time_text(LONG_NS if least >= LONG_NS else MOSTLY_NS)} in "
        f"{waits.size} of {len(table)} checkpoints: {time_text(least)} to {time_text(float(waits.max()))}, "
        f"90 % up to {time_text(most)}",
        "the waits have an upper limit, as those for a device's requests have",
        f"not the big lock: it is waited for in {locked:.0%} of the checkpoints",
    ]
    if start == start:
        evidence.append(f"starting the VM takes {time_text(start)}")
    pid = sample.header.pid
    yield Finding(
        rule=RULE.name,
        phase="stat",
        title=f"stopping the VM takes {time_text(typical)} in {part:.0%} of the checkpoints: requests in flight",
        numbers={
            "wait_ns": round(typical),
            "wait_min_ns": round(least),
            "wait_p90_ns": round(most),
            "wait_max_ns": round(float(waits.max())),
            "part_of_checkpoints": round(part, 4),
            "lock_part": round(locked, 4),
            "start_ns": round(start) if start == start else None,
        },
        evidence=tuple(evidence),
        confidence=Confidence.MEDIUM,
        confidence_reason="requests in flight wait like this; so would vCPUs that regularly lack a processor",
        advice=f"look for slow storage and block jobs of pid {pid}: query-block-jobs, and query-blockstats for the "
        "latencies; end, throttle or postpone the jobs. Without any: give the vCPUs processors of their own",
        cost_ns=mean_cost(times, long, 0),
    )


RULE = Rule("vm-stop-wait", "waits for block requests or vCPUs when the VM is stopped", _look, needs=("pause_ns",))
