"""colotrace's own probes, where the pause is so short that they matter.

A hit costs least in a loop and most after a sleep, with cold caches (colotrace.kernel.cost measures both on this very
machine), and a checkpoint has some of each. So the cost is a range: its lower end is certain, its upper end possible.
QMP's STOP to RESUME with colotrace and without, in ten turns, differed by 120 us (the median; in pauses of 1.25 ms) and
by 50 us (0.23 ms), where the range was 15 to 265 us. The probes at the pause's two ends count as one: of the first the
part after its clock reading, of the last the part before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import median
from colotrace.analysis.findings.rule import Rule, Unknowable
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import BOUNDARIES, TAKEOVER, Role
from colotrace.units import time_text

LEAST_WARM, LEAST_COLD = 0.01, 0.1
"""Parts of the pause that matter: by the lower end, which is certain, and by the upper end, which is a hint."""
_KINDS = ("emulated", "stepped")


def hits_in_pause(plan: Mapping[str, Any], role: Role) -> dict[str, int] | None:
    """The hits between vm-stop and vm-started by kind, emulated or stepped; None if the plan does not tell.

    A place that is two boundaries has a name with a plus in it. TAKEOVER sits inside vm_start().
    """
    try:
        placed = {part: name for name in plan["probes"][role.value] for part in name.split("+")}
        stepped = set(plan["stepped"][role.value])
        outside = TAKEOVER.name in plan["probes"]["process"], TAKEOVER.name in plan["stepped"]["process"]
    except (KeyError, TypeError, AttributeError):
        return None
    order = list(BOUNDARIES[role])
    inside = order[order.index("vm-stop") : order.index("vm-started") + 1]
    if not {inside[0], inside[-1]} <= set(placed):
        return None
    names = list(dict.fromkeys(placed[name] for name in inside if name in placed))[1:]
    kinds = [name in stepped for name in names] + [outside[1]] * outside[0]
    return {kind: kinds.count(kind == "stepped") for kind in _KINDS}


def _look(sample: Sample) -> Iterator[Finding]:
    header = sample.header
    costs = [[_cost(sample, kind, state) for kind in _KINDS] for state in ("warm", "cold")]
    hits = hits_in_pause(header.plan or {}, sample.role)
    if hits is None:
        raise Unknowable("the recording does not tell which probes lie in the pause and how the kernel runs them")
    warm, cold = (sum(hits[kind] * cost for kind, cost in zip(_KINDS, each, strict=True)) for each in costs)
    pause = median(sample.recent["pause_ns"])
    certain = warm >= LEAST_WARM * pause
    if not pause > 0 or not (certain or cold >= LEAST_COLD * pause):
        return
    most = min(cold, round(pause))
    stepped = f", {hits['stepped']} of them single-stepped by the kernel" if hits["stepped"] else ""
    yield Finding(
        rule=RULE.name,
        phase="pause",
        title=f"colotrace's probes take {time_text(warm)} to {time_text(most)} of a pause of {time_text(pause)}: "
        f"{warm / pause:.1%} to {most / pause:.0%}",
        numbers={
            "hits": sum(hits.values()),
            "stepped_hits": hits["stepped"],
            "warm_ns": warm,
            "cold_ns": cold,
            "pause_ns": round(pause),
            "warm_part": round(warm / pause, 4),
            "cold_part": round(cold / pause, 4),
        },
        evidence=(
            f"{sum(hits.values())} hits between the pause's ends{stepped}",
            f"a hit takes {time_text(costs[0][0])} in a loop and {time_text(costs[1][0])} with cold caches: measured "
            "on the machine of the run",
            *([f"all with cold caches they would take {time_text(cold)}: some of them are not"] if most < cold else []),
        ),
        confidence=Confidence.HIGH if certain else Confidence.LOW,
        confidence_reason="the hits are counted and their cost is measured: it cannot be less than the lower end"
        if certain
        else "the lower end would not matter; where in the range the cost lies is not known",
        advice="without colotrace the pause is that much shorter: keep it in mind when comparing with figures taken "
        "otherwise, and detach when done",
        cost_ns=warm,
    )


def _cost(sample: Sample, kind: str, state: str) -> int:
    """Nanoseconds of a hit. Raises Unknowable."""
    known = sample.header.probe_cost
    if known is None:
        reason = sample.header.missing.get("probe_cost", "the recording does not tell")
        raise Unknowable(f"what a probe costs here is not known: {reason}")
    cost = known.get(f"{kind}_{state}_ns")
    if type(cost) is not int or not 0 <= cost < 1 << 63:
        raise Unknowable(f"what a probe costs here is not known: {kind}_{state}_ns is {repr(cost)[:40]}")
    return cost


RULE = Rule("probe-cost", "a pause so short that colotrace's own probes matter", _look, needs=("pause_ns",))
