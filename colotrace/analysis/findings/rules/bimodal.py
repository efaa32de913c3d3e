"""A phase that goes two ways: its times form two separate modes, and what goes with the slower one.

A mean or a median of such a phase describes no checkpoint. What goes with a mode is looked for among all that a
checkpoint's record tells besides (companions.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings import companions
from colotrace.analysis.findings.companions import KEYS, Companion, companions_of
from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import SLICE_NS, known, mean_cost, median, percentile
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.rules import delayed_ack
from colotrace.analysis.findings.sample import Sample
from colotrace.analysis.modes import Modes, divide_of, modes_of
from colotrace.phases import Role
from colotrace.recording import schema
from colotrace.units import time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Floats

PARTS = tuple(column.removesuffix("_ns") for column in schema.PARTS)
LEAST_OF_PAUSE = 0.1
"""By so much of the median pause it is longer where the phase is slow."""
TOGETHER = 0.8
"""Companion.strength from which two phases are slow in the same checkpoints: one trouble."""
GOES_WITH, EXPLAINS = 0.5, 0.9
"""Companion.strength from which something is worth telling, and from which it leaves little to be explained."""
STEP = 0.75
"""Companion.strength of the time in the run from which the modes are one after the other."""
_NEAR_DELAY_NS = (36_000_000, 52_000_000)
"""What a delayed acknowledgement adds (delayed_ack.py), give or take what the medians lie off: on the secondary's side
it is in other phases than there."""
_ADVICE = {
    companions.RAM: "the guest writes two different amounts between checkpoints: look what in it works in bursts; a "
    "shorter x-checkpoint-delay bounds the amount (colotrace remedy delay)",
    companions.TRIGGER: "look at the checkpoints of each trigger by themselves, as colotrace report does",
    companions.DEVICE: "the devices have two sizes of state: look which of them the guest uses at those moments",
    companions.PREVIOUS: "something outside of the checkpoint has two states: compare the moments of the slow ones "
    "(begin_ns in the recording) with what else runs on both hosts and on the network",
    companions.WAIT: "what a checkpoint does depends on how long ago the last one was: a steadier distance makes them "
    "alike (x-checkpoint-delay, or what triggers those in between)",
    companions.MOMENT: "look what has changed on both hosts in the course of the run",
}
_DELAYED_ADVICE = (
    "if the stream is TCP: sudo colotrace remedy nodelay with --pid of both QEMUs shows the socket, sets TCP_NODELAY "
    "with --apply, and measures the gain"
)
_NOTHING_ADVICE = (
    "compare the moments of the slow ones (begin_ns in the recording) with what else runs on both hosts and on the "
    "network; of recv and load, colotrace merge of both sides' recordings tells which side or the network takes longer"
)


def _look(sample: Sample) -> Iterator[Finding]:
    table = sample.recent
    pause = table["pause_ns"] if np.isfinite(table["pause_ns"]).any() else table["total_ns"]
    found: dict[str, Modes] = {}
    for part in PARTS:
        modes = modes_of(table[f"{part}_ns"])
        if modes is not None and _matters(modes, pause):
            found[part] = modes
    stalls = {stall.phase for stall in delayed_ack.RULE.look(sample)} if sample.role is Role.PRIMARY else set()
    if stalls:  # in fewer checkpoints it may be in the other of the two phases as well
        found = {part: one for part, one in found.items() if part not in stalls and not _is_stall(part, one)}
    while found:
        phase = max(found, key=lambda part: found[part].between)
        modes = found.pop(phase)
        along = {part: one for part, one in found.items() if _agree(one, modes) >= TOGETHER}
        for part in along:
            del found[part]
        besides = companions_of(table, modes.slow, modes.fast)
        if _is_finding(modes, {one.kind: one.strength for one in besides}):
            yield _finding(sample, phase, modes, along, besides)


def _is_stall(part: str, modes: Modes) -> bool:
    return part in ("recv", "load") and _NEAR_DELAY_NS[0] <= modes.between < _NEAR_DELAY_NS[1]


def _agree(one: Modes, other: Modes) -> float:
    divide = divide_of(one.slow.astype(np.float64), other.slow, other.fast)
    return divide.strength if divide else 0.0


def _is_finding(modes: Modes, strengths: Mapping[str, float]) -> bool:
    """Not a change in the run, which is the rule drift's, and not both small and without a cause."""
    if strengths.get(companions.MOMENT, 0.0) >= STEP:
        return False
    return modes.between >= SLICE_NS or any(strengths.get(cause, 0.0) >= EXPLAINS for cause in companions.CAUSES)


def _matters(modes: Modes, pause: Floats) -> bool:
    """Whether the slow ones' pause is longer, and by enough: a phase may be short only where its neighbour is long."""
    if not (known(pause[modes.slow]).size and known(pause[modes.fast]).size):
        return False
    bounded = np.minimum(pause, percentile(pause, 0.95))  # a mean: the pause has modes itself
    longer = np.nanmean(bounded[modes.slow]) - np.nanmean(bounded[modes.fast])
    return float(longer) >= max(LEAST_OF_PAUSE * median(pause), modes.between / 2)


def _finding(
    sample: Sample, phase: str, modes: Modes, along: dict[str, Modes], besides: Sequence[Companion]
) -> Finding:
    telling = [one for one in besides if one.strength >= GOES_WITH]
    delayed = not telling and _NEAR_DELAY_NS[0] <= modes.between < _NEAR_DELAY_NS[1]
    confidence, reason = _confidence(telling, delayed)
    together = ((phase, modes), *along.items())
    with_it = f", with the {telling[0].kind}" if telling else ", a delayed acknowledgement apart" if delayed else ""
    return Finding(
        rule=RULE.name,
        phase=phase,
        title=f"{phase} goes two ways: {time_text(modes.fast_median)} in {1 - modes.slow_part:.0%} of the checkpoints, "
        f"{time_text(modes.slow_median)} in {modes.slow_part:.0%}{with_it}",
        numbers={
            "fast_median_ns": round(modes.fast_median),
            "slow_median_ns": round(modes.slow_median),
            "slow_part": round(modes.slow_part, 4),
            "border_ns": round(modes.border),
            **{f"divided_by_{key}": None for key in KEYS.values()},
            **{f"divided_by_{KEYS[one.kind]}": round(one.strength, 4) for one in besides},
        },
        evidence=tuple(_evidence(sample.recent[f"{phase}_ns"], modes, along, besides, telling)),
        confidence=confidence,
        confidence_reason=reason,
        advice=_ADVICE[telling[0].kind] if telling else _DELAYED_ADVICE if delayed else _NOTHING_ADVICE,
        cost_ns=sum(mean_cost(sample.recent[f"{part}_ns"], one.slow, one.fast_median) for part, one in together),
    )


def _evidence(
    times: Floats, modes: Modes, along: dict[str, Modes], besides: Sequence[Companion], telling: Sequence[Companion]
) -> Iterator[str]:
    low, high = modes.valley
    with np.errstate(invalid="ignore"):
        between = int(((times > low) & (times < high)).sum())
    yield (
        f"{between:,} of {int((modes.slow | modes.fast).sum()):,} lie between {time_text(low)} and {time_text(high)}: "
        "two kinds of checkpoints, and no median tells of either"
    )
    for part, other in along.items():
        yield f"{part} goes along: {time_text(other.fast_median)} and {time_text(other.slow_median)}"
    for one in telling:
        yield one.text
    if not telling:
        if _NEAR_DELAY_NS[0] <= modes.between < _NEAR_DELAY_NS[1]:
            apart = time_text(modes.between)
            yield f"they are {apart} apart: so long does TCP delay an acknowledgement, 40 ms and to a tick"
        looked = ", ".join(one.kind for one in besides)
        yield f"nothing that was recorded goes with it; looked at: {looked}"


def _confidence(telling: Sequence[Companion], delayed: bool) -> tuple[Confidence, str]:
    if delayed:
        return Confidence.MEDIUM, "the distance is a delayed acknowledgement's; what else takes so long looks alike"
    if not telling:
        return Confidence.MEDIUM, "that there are two modes is certain; why is not to be seen from here"
    if telling[0].strength >= EXPLAINS:
        return Confidence.HIGH, f"the {telling[0].kind} divides nearly all of the slow from the fast"
    return Confidence.MEDIUM, f"the {telling[0].kind} divides many of the slow from the fast, by no means all"


RULE = Rule("bimodal", "a phase whose times form two modes, and what goes with them", _look)
