"""A phase that goes two ways: its times form two separate modes, and what goes with the slower one.

A mean or a median of such a phase describes no checkpoint. What goes with a mode is looked for among all that a
checkpoint's record tells besides (companions.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings import companions
from colotrace.analysis.findings.companions import KEYS, Companion, companions_of
from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import mean_cost, median
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.rules import delayed_ack, drift
from colotrace.analysis.findings.sample import Sample
from colotrace.analysis.modes import Modes, divide_of, modes_of
from colotrace.phases import Role
from colotrace.units import time_text

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from colotrace.analysis.findings.measures import Floats

PARTS = ("stat", "dev", "ram", "put", "recv", "load", "resume", "other")
LEAST_OF_PAUSE = 0.1
"""By so much of the median pause it is longer where the phase is slow."""
SLICE_NS = 5_000_000
"""What lies between two modes that nothing goes with: less is what the scheduler of a busy host makes, whose slices are
of 3 ms and end on a tick of at most 4 ms more or, mostly, earlier."""
TOGETHER = 0.8
"""Companion.strength from which two phases are slow in the same checkpoints: one trouble."""
GOES_WITH, EXPLAINS = 0.5, 0.9
"""Companion.strength from which something is worth telling, and from which it leaves little to be explained."""
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
    for told in _told_elsewhere(sample, found):
        found.pop(told, None)
    while found:
        phase = max(found, key=lambda part: found[part].between)
        modes = found.pop(phase)
        along = {part: one for part, one in found.items() if _strength(one.slow, modes) >= TOGETHER}
        for part in along:
            del found[part]
        besides = companions_of(table, modes.slow, modes.fast)
        if modes.between >= SLICE_NS or besides[0].strength >= EXPLAINS:
            yield _finding(sample, phase, modes, along, besides)


def _matters(modes: Modes, pause: Floats) -> bool:
    """Whether the slow ones' pause is longer, and by enough: often one phase is only short where its neighbour is long."""
    longer = median(pause[modes.slow]) - median(pause[modes.fast])
    return longer >= max(LEAST_OF_PAUSE * median(pause), modes.between / 2)


def _told_elsewhere(sample: Sample, found: dict[str, Modes]) -> list[str]:
    """The phases whose modes another rule tells of: TCP's stall in some checkpoints, or a step in the run."""
    told = [one.phase for one in delayed_ack.RULE.look(sample)] if found and sample.role is Role.PRIMARY else []
    if found and drift.has_step(sample):
        order = np.arange(len(sample.recent))
        told += [part for part, modes in found.items() if _strength(order, modes) >= GOES_WITH]
    return told


def _strength(figure: NDArray[Any], modes: Modes) -> float:
    divide = divide_of(figure.astype(np.float64), modes.slow, modes.fast)
    return divide.strength if divide else 0.0


def _finding(
    sample: Sample, phase: str, modes: Modes, along: dict[str, Modes], besides: Sequence[Companion]
) -> Finding:
    telling = [one for one in besides if one.strength >= GOES_WITH]
    confidence, reason = _confidence(telling)
    together = ((phase, modes), *along.items())
    return Finding(
        rule=RULE.name,
        phase=phase,
        title=f"{phase} goes two ways: {time_text(modes.fast_median)} in {1 - modes.slow_part:.0%} of the checkpoints, "
        f"{time_text(modes.slow_median)} in {modes.slow_part:.0%}" + (f", with the {telling[0].kind}" if telling else ""),
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
        advice=_ADVICE[telling[0].kind] if telling else _NOTHING_ADVICE,
        cost_ns=sum(mean_cost(sample.recent[f"{part}_ns"], one.slow, one.fast_median) for part, one in together),
    )


def _evidence(
    times: Floats, modes: Modes, along: dict[str, Modes], besides: Sequence[Companion], telling: Sequence[Companion]
) -> Iterator[str]:
    way = modes.slow_median - modes.fast_median
    low, high = modes.fast_median + 0.3 * way, modes.fast_median + 0.7 * way
    with np.errstate(invalid="ignore"):
        between = int(((times > low) & (times < high)).sum())
    yield (
        f"{between:,} of {int((modes.slow | modes.fast).sum()):,} lie between {time_text(low)} and {time_text(high)}: "
        "two kinds of checkpoints, and no median tells of either"
    )
    for part, one in along.items():
        yield f"{part} goes along: {time_text(one.fast_median)} and {time_text(one.slow_median)}"
    for one in telling:
        yield one.text
    if not telling:
        looked = ", ".join(one.kind for one in besides)
        yield f"nothing that was recorded goes with it; looked at: {looked}"


def _confidence(telling: Sequence[Companion]) -> tuple[Confidence, str]:
    if not telling:
        return Confidence.MEDIUM, "that there are two modes is certain; why is not to be seen from here"
    if telling[0].strength >= EXPLAINS:
        return Confidence.HIGH, f"the {telling[0].kind} divides nearly all of the slow from the fast"
    return Confidence.MEDIUM, f"the {telling[0].kind} divides most of the slow from the fast; something else may do so as well"


RULE = Rule("bimodal", "a phase whose times form two modes, and what goes with them", _look)
