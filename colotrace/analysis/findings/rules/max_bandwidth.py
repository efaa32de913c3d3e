"""QEMU's own limit, max-bandwidth, holds a checkpoint's RAM up.

migration_rate_limit() (migration/migration.c) lets a tenth of max-bandwidth through and then sleeps until 100 ms are
over (BUFFER_DELAY). So the waits can be told from the bytes: a checkpoint of 2.5 windows has two of them. QEMU 5.2
calls it for every page that it sends, in a checkpoint as well: its default of 128 MiB/s costs 32 MiB 200 ms. Later ones
call it amid huge pages only (ram_save_host_page()): at 4 MB/s 7.2, 10.0 and 11.1 were seen to send 8 MiB of small pages
in 5 ms; but with the guest's memory on huge pages (hugetlb) each of them took 801 ms for 16 MiB at 20 MB/s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import median, percentile
from colotrace.analysis.findings.rule import Rule, Unknowable
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Role
from colotrace.units import rate_text, size_text, time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Flags, Floats

WAIT_NS = 100_000_000
_PER_S = 10
_BYTES_PER_NS = 1.0
"""Copying takes about so long besides (a page of 4 KiB in 1.3 to 5 us here), but not the copying of whole windows."""
_TOLERANCE, _MOST_COPYING_NS = 0.1, 40_000_000
_FITTING = 0.8
"""Of the checkpoints that are larger than a window."""
_LEAST = 10


def waits(sample: Sample) -> tuple[Floats, Flags] | None:
    """How often QEMU has to wait in each checkpoint, by its bytes, and in which the ram phase has taken just so long.

    None where max-bandwidth is unknown, or does not explain the times.
    """
    limit = sample.header.max_bandwidth_bytes_per_s
    if not limit or limit < 0:
        return None
    size, ram = sample.recent["ram_bytes"], sample.recent["ram_ns"]
    window = limit / _PER_S
    count = np.ceil(size / window) - 1
    tolerance = _TOLERANCE * WAIT_NS * count + min(window * _BYTES_PER_NS, _MOST_COPYING_NS)
    limited = count >= 1
    fitting = limited & (np.abs(ram - WAIT_NS * count) <= tolerance)
    if fitting.sum() < max(_LEAST, _FITTING * limited.sum()):
        return None
    return count, fitting


def _look(sample: Sample) -> Iterator[Finding]:
    limit = sample.header.max_bandwidth_bytes_per_s
    if percentile(sample.recent["ram_ns"], 0.9) < WAIT_NS / 2:
        return  # whatever the limit is, nothing has waited for it
    if limit is None:
        reason = sample.header.missing.get("max_bandwidth_bytes_per_s", "")
        raise Unknowable(f"it is not known: {reason}" if reason else "it is not known")
    found = waits(sample)
    if found is None:
        return
    count, fitting = found
    size, ram, recv = (sample.recent[name][fitting] for name in ("ram_bytes", "ram_ns", "recv_ns"))
    typical, largest = median(ram), float(size.max())
    confidence, reason = _confidence(median(recv), typical)
    yield Finding(
        rule=RULE.name,
        phase="ram",
        title=f"ram waits {time_text(median(count[fitting]) * WAIT_NS)} for max-bandwidth, {rate_text(limit)}",
        numbers={
            "max_bandwidth_bytes_per_s": limit,
            "part_of_checkpoints": round(float(fitting.mean()), 4),
            "waits": round(median(count[fitting])),
            "ram_ns": round(typical),
            "ram_bytes": round(median(size)),
            "no_wait_from_bytes_per_s": round(largest * _PER_S),
        },
        evidence=(
            f"QEMU sends {size_text(limit / _PER_S)}, then waits until 100 ms are over: in checkpoints of "
            f"{size_text(median(size))} that is {median(count[fitting]):.0f} times; ram takes {time_text(typical)}",
            f"{float(fitting.mean()):.0%} of the checkpoints take what their bytes say, give or take "
            f"{_TOLERANCE:.0%} and the time of copying",
        ),
        confidence=confidence,
        confidence_reason=reason,
        advice=f"sudo colotrace remedy bandwidth --pid {sample.header.pid} --qmp SOCKET --value {largest * _PER_S:.0f} "
        "--apply: from that rate on no checkpoint of this run would wait",
        cost_ns=round(float(np.sum(np.maximum(ram - size * _BYTES_PER_NS, 0))) / len(sample.recent)),
    )


def _confidence(recv: float, ram: float) -> tuple[Confidence, str]:
    if recv <= 0.1 * ram:
        reason = f"recv takes {time_text(recv)} only: nothing was queued when ram ended, so that QEMU itself has waited"
        return Confidence.HIGH, reason
    return Confidence.MEDIUM, "a network of the same rate would look alike"


RULE = Rule(
    "max-bandwidth",
    "QEMU's own limit of the rate at which it sends RAM",
    _look,
    (Role.PRIMARY,),
    needs=("ram_ns", "ram_bytes", "recv_ns"),
)
