"""Who answers info_checkpoint and reset_checkpoint: the kernel's totals, less what they were at the last reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from colotrace.checkpoint import CheckpointTotals, Event, Note
from colotrace.errors import NothingSeenError
from colotrace.phases import Phase, Role
from colotrace.qmp.schema import MISSING
from colotrace.resolve.plan import ProbePlan
from colotrace.summary import info_checkpoint

CLEARED = "cleared by reset_checkpoint"
TRACING_FAILED = "tracing-failed"
_BLINDING = ("probe-lost", "traced", "target-changed", "target-exited", TRACING_FAILED)
"""The notes after which the totals do not grow any more."""


class Recorder(Protocol):
    """What the bridge asks."""

    def answer(self, info: Mapping[str, object] | None) -> dict[str, object]:
        """info_checkpoint's return value; `info` is query-migrate's. Raises ColotraceError if there is none yet."""

    def reset(self) -> None:
        """Begins anew."""


class KernelRecorder:
    """Answers from totals that only grow. `read` gives them by role, as Session.totals() does."""

    def __init__(
        self, read: Callable[[], Mapping[Role, CheckpointTotals]], plan: ProbePlan, *, seed_compatible: bool = False
    ) -> None:
        self._read = read
        self._plan = plan
        self._seed_compatible = seed_compatible
        self._baseline: dict[Role, CheckpointTotals] = {}
        self._is_reset = False
        self._blinded_by: str | None = None

    def answer(self, info: Mapping[str, object] | None) -> dict[str, object]:
        """The seed's object, of the role with the most checkpoints since the last reset.

        `x-missing` in it gives the reason for each null. Raises NothingSeenError before the first completed
        checkpoint, and when the probes have gone: figures that stand still would pass for those of a VM that does.
        """
        if self._blinded_by:
            raise NothingSeenError(f"checkpoints are not counted any more: {self._blinded_by}")
        totals = max(self._since_reset(), key=lambda one: one.checkpoints, default=None)
        if totals is None or not totals.checkpoints:
            since = "the last reset_checkpoint" if self._is_reset else "the probes were armed"
            raise NothingSeenError(f"no checkpoint has completed since {since}")
        found = info_checkpoint(totals, self._plan, info)
        answer = found.as_json(seed_compatible=self._seed_compatible)
        missing = {name: why for name, why in found.missing.items() if answer[name] is None}
        before = self._baseline.get(totals.role)
        if "init_time" in missing and before and before.phase_num.get(Phase.INIT):
            missing["init_time"] = CLEARED
        if missing:
            answer[MISSING] = missing
        return answer

    def reset(self) -> None:
        """Counts from here on. A checkpoint that is under way counts when it completes."""
        self._baseline = dict(self._read())
        self._is_reset = True

    def take(self, event: Event) -> None:
        """Takes note of what a session tells."""
        if isinstance(event, Note) and event.event in _BLINDING:
            self._blinded_by = self._blinded_by or event.message

    def _since_reset(self) -> list[CheckpointTotals]:
        baseline = self._baseline
        return [now.since(baseline[role]) if role in baseline else now for role, now in self._read().items()]
