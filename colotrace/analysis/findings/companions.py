"""What goes with one of two kinds of checkpoints: each figure of a record, by how well it divides them, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.sample import Table
from colotrace.analysis.modes import divide_of
from colotrace.phases import Trigger
from colotrace.units import size_text, time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Flags

RAM, TRIGGER, DEVICE, WAIT = "RAM", "trigger", "device state", "wait"
PREVIOUS, MOMENT = "previous mode", "time in the run"
KEYS = {RAM: "ram", TRIGGER: "trigger", DEVICE: "device_bytes", PREVIOUS: "previous", WAIT: "wait", MOMENT: "moment"}
"""What is looked at, and how keys of numbers name it. The first of those that divide alike is told first."""
CAUSES = (RAM, TRIGGER, DEVICE, WAIT)
"""Those that can be why a checkpoint takes longer."""
_FIGURES: tuple[tuple[str, str, Callable[[float], str], str], ...] = (
    (RAM, "ram_bytes", size_text, "of RAM sent"),
    (DEVICE, "device_bytes", size_text, "of device state"),
    (WAIT, "wait_ns", time_text, "of wait before them"),
)


@dataclass(frozen=True)
class Companion:
    """`kind` is one of KEYS; `strength` from 0 (it says nothing of the kind of checkpoint) to 1 (it says all)."""

    kind: str
    strength: float
    text: str


def companions_of(table: Table, slow: Flags, fast: Flags) -> tuple[Companion, ...]:
    """What is known of both kinds, the best divider first; strength 0 where chance alone would divide them so well."""
    found = [*_figures(table, slow, fast), *_trigger(table, slow, fast), _previous(slow, fast), _moment(slow, fast)]
    order = list(KEYS)
    return tuple(sorted(found, key=lambda one: (-round(one.strength, 1), order.index(one.kind))))


def _figures(table: Table, slow: Flags, fast: Flags) -> Iterator[Companion]:
    for kind, column, words, what in _FIGURES:
        figure = table[column]
        if not (np.isfinite(figure[slow]).any() and np.isfinite(figure[fast]).any()):
            continue
        divide = divide_of(figure, slow, fast)
        if divide is None:
            yield Companion(kind, 0.0, "")
            continue
        side = "more than" if divide.above else "at most"
        yield Companion(
            kind,
            divide.strength,
            f"{divide.slow_part:.0%} of the slow ones have {side} {words(divide.border)} {what}, "
            f"{divide.fast_part:.0%} of the fast",
        )


def _trigger(table: Table, slow: Flags, fast: Flags) -> Iterator[Companion]:
    known = table["trigger"] != 0
    if not ((known & slow).any() and (known & fast).any()):
        return
    best = Companion(TRIGGER, 0.0, "")
    for trigger in Trigger:
        flags = table.triggered_by(trigger)
        divide = divide_of(np.where(known, flags, np.nan), slow, fast)
        parts = float(flags[known & slow].mean()), float(flags[known & fast].mean())
        if divide is not None and parts[0] > parts[1] and divide.strength > best.strength:
            text = f"{parts[0]:.0%} of the slow ones were triggered by {trigger.value}, {parts[1]:.0%} of the fast"
            best = Companion(TRIGGER, divide.strength, text)
    yield best


def _previous(slow: Flags, fast: Flags) -> Companion:
    """The mode of the checkpoint before: modes that last, or alternate."""
    after_slow, after_fast = slow[1:][slow[:-1] & (slow | fast)[1:]], slow[1:][fast[:-1] & (slow | fast)[1:]]
    before = np.concatenate([[np.nan], np.where(slow | fast, slow, np.nan)[:-1]]) if slow.size else np.empty(0)
    divide = divide_of(before, slow, fast)
    if divide is None or not after_slow.size or not after_fast.size:
        return Companion(PREVIOUS, 0.0, "")
    parts = float(after_slow.mean()), float(after_fast.mean())
    how = "the modes last" if parts[0] > parts[1] else "the modes alternate"
    return Companion(
        PREVIOUS, divide.strength, f"{how}: after a slow one {parts[0]:.0%} are slow, after a fast one {parts[1]:.0%}"
    )


def _moment(slow: Flags, fast: Flags) -> Companion:
    divide = divide_of(np.arange(slow.size, dtype=np.float64), slow, fast)
    if divide is None:
        return Companion(MOMENT, 0.0, "")
    side = "after" if divide.above else "before"
    return Companion(
        MOMENT,
        divide.strength,
        f"{divide.slow_part:.0%} of the slow ones come {side} the checkpoint {divide.border / max(slow.size, 1):.0%} "
        f"into those looked at, {divide.fast_part:.0%} of the fast",
    )
