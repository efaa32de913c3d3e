"""From a process's events to its failovers: how each stretch of COLO ended, and when the VM went on alone. Pure.

A stretch lasts from entering COLO to COLO_EXIT. A process may enter COLO again, as what it was or as the other role;
that is a new stretch, with a Failover of its own, while the sequences of its transactions run on (per role).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from colotrace.checkpoint import Attempt, Checkpoint, ColoExit, Event, Failover, InitDone, Outcome, Takeover
from colotrace.phases import MARKS, Mark, Role

NOT_ASKED = "query-colo-status was not asked: no QMP socket was given (--qmp)"
NO_REASON = "query-colo-status answered without a reason"
NEVER_GOOD = "no checkpoint was seen to complete in this stretch of COLO"
IN_PART = "the last checkpoint that may have been good was seen only in part"
LOST = "records of transactions before COLO's end were lost"
NONE_UNDER_WAY = "no transaction was under way: COLO ended between two checkpoints"
BEGUN_BEFORE = "COLO had begun before the probes were armed"
RUN_ENDED = "nobody had taken over when the run ended"
PROCESS_ENDED = "the process ended before anybody took over"
COLO_AGAIN = "COLO began or ended again before anybody was seen to take over"
DEAF = "no call of vm_start() is among the probes of this process"
MAY_BE_LOST = "nobody was seen to take over, but events of this process were lost, and that may have been one"
NO_VM_START = "the secondary's start of the VM is not among the probes of this process"
NO_LOADED = "the secondary's sending of LOADED is not among the probes of this process"


@dataclass
class _Stretch:
    """What has been seen of one role since it entered COLO."""

    entered_ns: int | None = None
    good: Checkpoint | None = None
    in_part: bool = False
    lost: bool = False
    sequence: int = 0
    """The last one heard of; the kernel counts a role's transactions from 1."""
    attempts: list[Checkpoint] = field(default_factory=list)

    def add(self, checkpoint: Checkpoint) -> None:
        expected, self.sequence = self.sequence + 1, checkpoint.sequence
        if checkpoint.completed:
            self.good, self.in_part, self.lost = checkpoint, False, False
            self.attempts.clear()
            return
        self.lost |= checkpoint.sequence != expected
        if checkpoint.outcome is Outcome.ABORTED:
            self.attempts.append(checkpoint)
        else:
            self.in_part = True
            self.attempts.clear()

    def end(self, leaving: ColoExit, number: int, secondary_marks: Collection[Mark]) -> Failover:
        lost = self.lost or (leaving.begun is not None and leaving.begun != self.sequence)
        unseen = LOST if lost else IN_PART if self.in_part else None
        good = None if unseen else self.good
        missing: dict[str, str] = {"takeover_ns": RUN_ENDED, "status_reason": NOT_ASKED}
        if self.entered_ns is None:
            missing["entered_ns"] = BEGUN_BEFORE
        if good is None or good.begin_ns is None or good.total_ns is None:
            good = None
            reason = unseen or NEVER_GOOD
            missing |= dict.fromkeys(("last_good", "last_good_ns", "exit_after_ns", "takeover_after_ns"), reason)
        first = None if unseen or not self.attempts else self.attempts[0]
        relaunched: bool | None = None
        if first is None:
            missing |= dict.fromkeys(("died_in", "relaunched"), unseen or NONE_UNDER_WAY)
        else:
            relaunched, why_not = _relaunched(self.attempts[-1], secondary_marks)
            if why_not:
                missing["relaunched"] = why_not
        return Failover(
            role=leaving.role,
            pid=leaving.pid,
            number=number,
            mode=leaving.mode,
            reason=leaving.reason,
            exit_ns=leaving.when_ns,
            entered_ns=self.entered_ns,
            last_good=good.sequence if good else None,
            last_good_ns=good.begin_ns + good.total_ns if good and good.begin_ns and good.total_ns else None,
            died_in=first.aborted_in if first else None,
            attempts=tuple(Attempt(c.sequence, c.begin_ns, c.aborted_in) for c in self.attempts),
            relaunched=relaunched,
            missing=missing,
        )


def _relaunched(last: Checkpoint, secondary_marks: Collection[Mark]) -> tuple[bool | None, str | None]:
    """Whether it was, or why that is unknown. Between starting the VM and sending LOADED the secondary gives up for one
    reason only: a failover was asked for while it loaded (migration/colo.c: failover_get_state() ==
    FAILOVER_STATUS_RELAUNCH)."""
    if last.role is not Role.SECONDARY or Mark.VMSTATE_LOADED in last.marks_ns:
        return False, None
    if Mark.VM_START not in last.marks_ns:
        return (False, None) if Mark.VM_START in secondary_marks else (None, NO_VM_START)
    return (True, None) if Mark.VMSTATE_LOADED in secondary_marks else (None, NO_LOADED)


class FailoverWatch:
    """Takes one process's events in their order, and gives its failovers.

    `hears_takeover`: vm_start() is probed. `secondary_marks`: the time marks that the secondary's probes set.
    """

    def __init__(self, hears_takeover: bool = True, secondary_marks: Collection[Mark] = MARKS) -> None:
        self._hears_takeover = hears_takeover
        self._secondary_marks = secondary_marks
        self.failovers: list[Failover] = []
        """Those that are complete: somebody has taken over, or nobody can any more."""
        self._stretches: dict[Role, _Stretch] = {}
        self._pending: Failover | None = None
        self._takeover: Takeover | None = None
        """The last one. It may come before its ColoExit, if the COLO thread is preempted while another takes over."""

    def add(self, event: Event) -> Failover | None:
        """The failover that this event completes, if it does."""
        if isinstance(event, InitDone):
            done = self.close(COLO_AGAIN)
            before = self._stretches.get(event.role)
            self._stretches[event.role] = _Stretch(event.end_ns, sequence=before.sequence if before else 0)
            return done
        if isinstance(event, Checkpoint):
            self._stretches.setdefault(event.role, _Stretch()).add(event)
        elif isinstance(event, ColoExit):
            done = self.close(COLO_AGAIN)
            stretch = self._stretches.get(event.role) or _Stretch()
            self._pending = stretch.end(event, len(self.failovers) + 1, self._secondary_marks)
            sequence = stretch.sequence if event.begun is None else event.begun
            self._stretches[event.role] = _Stretch(sequence=sequence)
            return done or self._taken_over()
        elif isinstance(event, Takeover):
            self._takeover = event
            if self._pending and self._pending.exit_ns < event.exit_ns:
                return self.close(COLO_AGAIN)  # now, since the ColoExit to come completes a failover of its own
            return self._taken_over()
        return None

    def _taken_over(self) -> Failover | None:
        """The pending failover, if the last takeover was from it."""
        takeover = self._takeover
        if takeover is None or self._pending is None or self._pending.exit_ns != takeover.exit_ns:
            return None
        missing = {name: why for name, why in self._pending.missing.items() if name != "takeover_ns"}
        return self._finish(replace(self._pending, takeover_ns=takeover.when_ns, missing=missing))

    def close(self, reason: str, lost_events: bool = False) -> Failover | None:
        """The failover that nobody has taken over from, with this reason; None if there is none.

        `lost_events`: the process's small events were not all received, so that the takeover may be among the lost.
        """
        if self._pending is None:
            return None
        reason = DEAF if not self._hears_takeover else MAY_BE_LOST if lost_events else reason
        missing = {**self._pending.missing, "takeover_ns": reason}
        missing.setdefault("takeover_after_ns", reason)
        return self._finish(replace(self._pending, missing=missing))

    def _finish(self, failover: Failover) -> Failover:
        self._pending = None
        self.failovers.append(failover)
        return failover


def with_status(failover: Failover, status: Mapping[str, object] | None, why_not: str = NOT_ASKED) -> Failover:
    """The record with query-colo-status's answer, or with the reason why there is none."""
    reason = status.get("reason") if status is not None else None
    if isinstance(reason, str):
        missing = {name: why for name, why in failover.missing.items() if name != "status_reason"}
        return replace(failover, status_reason=reason, missing=missing)
    why = why_not if status is None else NO_REASON
    return replace(failover, status_reason=None, missing={**failover.missing, "status_reason": why})
