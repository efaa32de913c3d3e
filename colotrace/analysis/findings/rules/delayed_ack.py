"""Nagle's algorithm against delayed acknowledgement: a stall of 40 ms and some, in the primary's recv or load.

QEMU 7.2 to 11.1 leave Nagle's algorithm on for the migration stream. A side's small message then waits until all that
it sent before is acknowledged, and the kernel of the other, which has nothing to say, delays that acknowledgement by
TCP_DELACK_MIN: 40 ms on Linux (include/net/tcp.h), to the next tick of its clock. So the times gather between 40 ms and
one or two ticks above. The acknowledgement of VMSTATE_RECEIVED, which holds up VMSTATE_LOADED, is the primary's own
kernel's: the load phase then ends just after a tick of this host, which no work on the secondary would do. (What holds
up recv is the secondary's kernel: its ticks are this host's only where both run on one.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import concentration, known, median
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Mark, Phase, Role
from colotrace.recording.schema import mark_column
from colotrace.units import time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Flags, Floats

DELAY_NS = 40_000_000
_FROM_NS, _WIDTH_NS = 39_500_000, 10_500_000
"""The window of a stall: the timer, less the time until the mark before it, to two ticks of 4 ms and a wake-up more."""
_LEAST_PART = 0.2
"""Of the checkpoints; a stall is in nearly all of them or, where segments fall out so, in some."""
_EDGE = 4
"""A window holds so many times what the windows of the same width on either side of it hold."""
_EDGE_ON_TICK = 1.5
"""The same of waits that end on ticks: on a host without a free processor, work of any length ends on them too."""
_TICKS_NS = tuple(float(10**9 // hz) for hz in (100, 250, 300, 1000))
"""By CONFIG_HZ, in whole nanoseconds as the kernel has it; what keeps to a longer one fits a shorter one less well."""
_ON_TICK = 0.6
"""Circular concentration of moments that keep to a tick; without one, n moments give about 1 / sqrt(n)."""
_BEYOND_CHANCE = 9.0
"""Of n R^2: random moments have as much for one tick in 8,000 (Rayleigh: exp(-n R^2)), and four are tried, twice."""
_NOISE = 0.01
_PHASES = {Phase.RECV: Mark.VMSTATE_RECEIVED, Phase.LOAD: Mark.VMSTATE_LOADED}
_WHOSE_TICK = {
    Phase.RECV: "a clock tick of {tick} (R = {r:.2f} of at most 1): a timer of the secondary's kernel ends them",
    Phase.LOAD: "this host's clock tick of {tick} (R = {r:.2f} of at most 1): a timer of this kernel ends them",
}


def _look(sample: Sample) -> Iterator[Finding]:
    for phase, mark in _PHASES.items():
        times = sample.recent[f"{phase.value}_ns"]
        stalled = _between(times, _FROM_NS)
        if stalled.mean() >= _LEAST_PART:
            ends = sample.recent[mark_column(mark)][stalled]
            tick_ns, clustered = _tick(ends, ends - times[stalled], sample.recent["begin_ns"][stalled])
            on_tick = clustered >= _ON_TICK
            if _has_edges(times, stalled, _EDGE_ON_TICK if on_tick else _EDGE) and (on_tick or not _is_far(sample)):
                yield _finding(sample, phase, times[stalled], tick_ns, clustered)


def _between(times: Floats, begin_ns: int) -> Flags:
    return (times >= begin_ns) & (times < begin_ns + _WIDTH_NS)


def _has_edges(times: Floats, stalled: Flags, least: float) -> bool:
    beside = max(int(_between(times, _FROM_NS + side * _WIDTH_NS).sum()) for side in (-1, 1))
    return int(stalled.sum()) >= least * beside


def _reply(sample: Sample) -> float:
    """What it takes there and back, typically, with the secondary's part; NaN if unknown."""
    return median(sample.recent.between(Mark.CHECKPOINT_REQUEST, Mark.CHECKPOINT_REPLY))


def _is_far(sample: Sample) -> bool:
    """Whether the way there and back alone takes about so long: then every wait for the peer does."""
    return _reply(sample) >= DELAY_NS / 2


def _finding(sample: Sample, phase: Phase, stalls: Floats, tick_ns: float, clustered: float) -> Finding:
    part, typical = len(stalls) / len(sample.recent), median(stalls)
    reply = _reply(sample)
    on_tick = clustered >= _ON_TICK
    evidence = [
        f"{part:.0%} of the times lie between {time_text(_FROM_NS)} and {time_text(_FROM_NS + _WIDTH_NS)}: Linux "
        "delays an acknowledgement by 40 ms, to its next tick",
        f"from REQUEST to REPLY, there and back as well, it takes {time_text(reply) if reply == reply else 'unknown'}",
    ]
    if on_tick:
        ticks = _WHOSE_TICK[phase].format(tick=time_text(tick_ns), r=clustered)
        evidence.append(f"the waits end on {ticks}, not the secondary's work")
    evidence.append("the cost is an upper bound: what the secondary does meanwhile takes a part of it")
    confidence, reason = _confidence(on_tick, reply < DELAY_NS / 2)
    return Finding(
        rule=RULE.name,
        phase=phase.value,
        title=f"{phase.value} stands still for {time_text(typical)}: TCP's delayed acknowledgement",
        numbers={
            "stall_ns": round(typical),
            "part_of_checkpoints": round(part, 4),
            "request_to_reply_ns": round(reply) if reply == reply else None,
            "tick_ns": round(tick_ns) if on_tick else None,
            "tick_concentration": round(clustered, 4),
        },
        evidence=tuple(evidence),
        confidence=confidence,
        confidence_reason=reason,
        advice=f"sudo colotrace remedy nodelay --pid {sample.header.pid}, and so on the other host: shows the socket; "
        "with --apply it sets TCP_NODELAY in the running VM and measures the gain, --revert takes it back",
        cost_ns=round(part * DELAY_NS),
    )


def _tick(ends: Floats, *befores: Floats) -> tuple[float, float]:
    """The tick that waits keep to best in ending, and how closely; not one that what came before keeps to as well.

    A stall may bring the next checkpoint's begin near a tick. But work takes no heed of ticks: what it ends keeps to
    them no better than what it began with, the wait itself or the checkpoint; only a timer makes the ends keep to one
    better. Few moments keep to anything by chance.
    """
    ends = known(ends)
    found = {
        period: closely
        for period in _TICKS_NS
        if (closely := concentration(ends, period)) > min(concentration(known(b), period) for b in befores) + _NOISE
        and ends.size * closely**2 >= _BEYOND_CHANCE
    } or {_TICKS_NS[0]: 0.0}
    best = max(found, key=found.__getitem__)  # of two that fit, the true one fits better: a part of it, or by chance
    return best, found[best]


def _confidence(on_tick: bool, near: bool) -> tuple[Confidence, str]:
    if on_tick:
        return Confidence.HIGH, "only a timer ends a wait on a tick, and none but this one is of 40 ms"
    if near:
        return Confidence.MEDIUM, "the network is faster than that; work that takes just as long would look alike"
    return Confidence.LOW, "how far away the secondary is, is not known: that way, or work as long, would look alike"


RULE = Rule(
    "delayed-ack",
    "a stall of 40 ms of Nagle's algorithm against delayed acknowledgement",
    _look,
    (Role.PRIMARY,),
    needs=("recv_ns", "load_ns"),
)
