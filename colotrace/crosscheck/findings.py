"""The catalogue of what can be wrong with a patch's figures: a stable code, a sentence, and a fix for its author."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Code(enum.Enum):
    """The defects that have a name of their own. Negative times are `negative-` and the field's stem."""

    RECV_IN_PUT = "recv-counted-in-put"
    PHASE_IN_ANOTHER = "phase-counted-in-another"
    STALE_AFTER_RESET = "stale-after-reset"
    MIXED = "averages-mixed-with-totals"
    WRONG_UNIT = "wrong-unit"
    ALWAYS_ZERO = "always-zero"
    TORN = "torn-reading"
    FAILED_COUNTED = "failed-checkpoints-counted"
    COUNT_DIFFERS = "count-differs"
    MISSING = "field-missing"
    WRONG_TYPE = "field-of-wrong-type"
    PARTS_EXCEED = "phases-exceed-average"
    AVERAGE = "average-inconsistent"
    RECV_TOO_SHORT = "recv-below-round-trip"
    EXCEEDS_RUN = "longer-than-the-migration"
    UNEXPLAINED = "unexplained-difference"


FIXES: Mapping[Code, str] = {
    Code.RECV_IN_PUT: "At the end of recv add the time to recv_time, not to put_time.",
    Code.PHASE_IN_ANOTHER: "Look at which field the end of that phase adds its time to.",
    Code.STALE_AFTER_RESET: "Clear the whole structure in reset_checkpoint: memset with its own size.",
    Code.MIXED: "Divide each sum by tot_num when answering, except tot_time, tot_num and init_time; none twice.",
    Code.WRONG_UNIT: "Report nanoseconds, as get_clock() gives them; do not divide them again.",
    Code.ALWAYS_ZERO: "Fill the field, or leave it out of the structure: a zero looks like a measurement.",
    Code.TORN: "Add a checkpoint's figures in one go at its end, under a lock that the QMP command takes as well.",
    Code.FAILED_COUNTED: (
        "colo_do_checkpoint_transaction() also returns 0 after a failure in recv or load: count a checkpoint where the "
        "VM has been started again, not where the function has returned."
    ),
    Code.COUNT_DIFFERS: "Count tot_num once per checkpoint, where tot_time is added.",
    Code.MISSING: "Fill the member in each answer, and do not declare it optional.",
    Code.WRONG_TYPE: "Declare the member int64 in the QAPI schema, and report a whole number.",
    Code.PARTS_EXCEED: (
        "The phases lie within the checkpoint, so their averages cannot sum to more: look for a phase that is counted "
        "twice or overlaps another, fields that a reset leaves, and answers given in the middle of a checkpoint."
    ),
    Code.AVERAGE: "Compute avg_time from the tot_time and tot_num of the same answer.",
    Code.RECV_TOO_SHORT: "Take recv's two clock readings directly around the call that waits for VMSTATE_RECEIVED.",
    Code.EXCEEDS_RUN: "Check the unit, and that sums and averages are not taken for each other.",
    Code.UNEXPLAINED: "Compare where the patch reads its clock with the boundaries in the README.",
}
_NEGATIVE_FIX = "Subtract the beginning from the end: {field} += end - begin."


@dataclass(frozen=True)
class Finding:
    """One defect and all it explains.

    `code` is stable; `fields` are the members it is about; `message` says it to people, `arithmetic` with the numbers,
    `fix` to the patch's author. `numbers` holds the same numbers for programs.
    """

    code: str
    fields: tuple[str, ...]
    message: str
    arithmetic: str
    fix: str
    numbers: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "code": self.code,
            "fields": list(self.fields),
            "message": self.message,
            "arithmetic": self.arithmetic,
            "fix": self.fix,
            "numbers": dict(self.numbers),
        }


def finding(code: Code, fields: tuple[str, ...], message: str, arithmetic: str, **numbers: int) -> Finding:
    """A finding of the catalogue."""
    return Finding(code.value, fields, message, arithmetic, FIXES[code], numbers)


def negative(name: str, stem: str, value: int, arithmetic: str) -> Finding:
    """A figure below zero: its beginning and end are the wrong way round."""
    message = f"{name} is negative: it is taken as begin minus end"
    return Finding(f"negative-{stem}", (name,), message, arithmetic, _NEGATIVE_FIX.format(field=name), {"value": value})


def grouped(number: int) -> str:
    """A number for people, in groups of three: 43,166,000."""
    return f"{number:,}"
