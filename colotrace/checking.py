"""Has the patch's `info_checkpoint` and the kernel's totals count the same checkpoints, and brings the two together.

The patch is asked only while no transaction is in flight, which the kernel program knows: an answer in mid-transaction
holds half a checkpoint. And never before a checkpoint has completed: a patch that divides by tot_num without looking
would take the VM with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from colotrace.checkpoint import CheckpointTotals, ColoExit, Event, ProbeCost
from colotrace.crosscheck.compare import FieldCheck, Verdict, compare, compare_once
from colotrace.crosscheck.defects import explain
from colotrace.crosscheck.evidence import Evidence, Reset
from colotrace.crosscheck.fields import FIELDS, is_of_role
from colotrace.crosscheck.findings import Finding
from colotrace.crosscheck.reading import Reading, parse_reading
from colotrace.crosscheck.tolerance import tolerance_ns
from colotrace.crosscheck.windows import Window
from colotrace.errors import NothingSeenError, QmpError
from colotrace.phases import Phase, Role
from colotrace.qmp.client import QmpConnection
from colotrace.qmp.schema import INFO_CHECKPOINT, RESET_CHECKPOINT, is_patched
from colotrace.session import Session

MOST_WINDOWS = 25
SETTLE_S = 0.005
"""The patch adds the wait's time after the wait and before the first boundary of a transaction: if none has come so
long after an answer, the COLO thread was not there either."""
QUIET_DEADLINE_S = 60.0
POLL_MS = 20
RESET_AFTER = 20
"""What a reset leaves behind is told from new figures only if it stems from many checkpoints."""
TORN_ENOUGH = 3
"""Answers that change while nothing happens are a finding; after so many the newest is taken all the same."""


@dataclass(frozen=True)
class CheckResult:
    """What a run has brought to light. `checks` is empty if it ended before there was anything to compare."""

    role: Role | None
    checkpoints: int
    windows: int
    cost: ProbeCost
    checks: Sequence[FieldCheck]
    findings: Sequence[Finding]
    notes: Sequence[str]

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "role": self.role.value if self.role else None,
            "checkpoints": self.checkpoints,
            "windows": self.windows,
            "probe_cost": self.cost.as_json(),
            "fields": [check.as_json() for check in self.checks],
            "findings": [finding.as_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def open_patched(path: str, pid: int) -> QmpConnection:
    """A connection to a QEMU that has the patch. Raises QmpError if it has not, without calling the command."""
    qmp = QmpConnection(path, pid)
    try:
        if not is_patched(qmp.execute("query-commands")):
            raise QmpError(
                f"the QEMU behind {path} has no {INFO_CHECKPOINT} command: it is not patched",
                "colotrace info-checkpoint prints the same object, and colotrace qmp-bridge adds the command.",
            )
    except BaseException:
        qmp.close()
        raise
    return qmp


def count_windows(checkpoints: int, num: int, tolerance: int) -> int:
    """How many windows to take readings at: many, so that one disturbance is seen for what it is.

    But none so short that what truncation over `num` checkpoints leaves open is more than the tolerance (nanoseconds a
    checkpoint).
    """
    shortest = max(1, -(-2 * num // tolerance))
    return max(1, min(MOST_WINDOWS, checkpoints // shortest))


class Checker:
    """One run over one process. `on_event` gets all that the session yields, as it comes."""

    def __init__(
        self, session: Session, qmp: QmpConnection, cost: ProbeCost, on_event: Callable[[Event], None]
    ) -> None:
        self._session, self._qmp, self._cost, self._on_event = session, qmp, cost, on_event
        self._target = session.targets[0]
        self._windows: list[Window] = []
        self._pairs: list[tuple[Reading, Reading]] = []
        self._notes: list[str] = []
        self._reset: Reset | None = None
        self._exited = False

    def run(self, checkpoints: int, *, reset: bool = False) -> None:
        """Takes readings until that many checkpoints lie between the first and the last, or the session or COLO ends.

        With `reset`, tries reset_checkpoint at the end. Raises NothingSeenError and QmpError; result() then still has
        what was compared before.
        """
        self._wait_for(1)
        reading, totals = self._read_quietly()
        first = totals.checkpoints
        windows = count_windows(checkpoints, reading.num or 1, self._least_tolerance())
        for number in range(1, windows + 1):
            wanted = first + -(-checkpoints * number // windows)
            if totals.checkpoints >= wanted:
                continue  # more than one came before the last reading
            self._wait_for(wanted)
            if not self._target.alive:
                return
            before, earlier = reading, totals
            reading, totals = self._read_quietly()
            self._windows.append(Window(before, reading, totals.since(earlier)))
            if self._exited:
                self._notes.append("COLO ended before all checkpoints were made")
            if self._exited or self._session.ended:
                return
        if reset:
            self._try_reset()

    def result(self) -> CheckResult:
        """The verdicts on what has been read so far."""
        role = self._target.role
        if role is None or not (self._windows or self._pairs):
            return CheckResult(role, 0, 0, self._cost, (), (), tuple(self._notes))
        tolerances = self._tolerances(role)
        checks = compare(self._windows, role, tolerances)
        totals = self._totals()
        if self._windows and totals and totals.phase_num.get(Phase.INIT):
            init, first = FIELDS["init_time"], self._windows[0].before
            checks[init.name] = compare_once(init, first, totals.phase_ns[Phase.INIT], tolerances[init.name])
        findings = explain(Evidence(role, self._windows, checks, tolerances, self._reset, self._pairs))
        return CheckResult(
            role=role,
            checkpoints=sum(window.kernel.checkpoints for window in self._windows),
            windows=len(self._windows),
            cost=self._cost,
            checks=tuple(checks.values()),
            findings=tuple(findings),
            notes=(*self._notes, *self._remarks(checks.values())),
        )

    def _tolerances(self, role: Role) -> dict[str, int]:
        fields = [field for field in FIELDS.values() if is_of_role(field, role)]
        return {field.name: tolerance_ns(field, role, self._target.plan, self._cost) for field in fields}

    def _least_tolerance(self) -> int:
        role = self._target.role
        assert role, "a checkpoint has completed"
        return min(ns for ns in self._tolerances(role).values() if ns)

    def _remarks(self, checks: Iterable[FieldCheck]) -> list[str]:
        disturbed = [check.field.name for check in checks if check.verdict is Verdict.DISTURBED]
        remarks = []
        if disturbed:
            remarks.append(
                f"{', '.join(disturbed)}: further apart than the bound, but not in most windows: something came "
                "between two clock readings"
            )
        partly = sum(window.kernel.incomplete for window in self._windows)
        if partly:
            remarks.append(f"{partly} checkpoints were seen in part only, and their windows are not compared")
        return remarks

    def _totals(self) -> CheckpointTotals | None:
        role = self._target.role
        return self._session.totals(self._target.pid).get(role) if role else None

    def _pump(self, timeout_ms: int) -> None:
        if self._session.ended:  # told to stop: one last reading is still taken, and the session waits no more
            time.sleep(timeout_ms / 1000)
        for event in self._session.receive(timeout_ms):
            self._exited |= isinstance(event, ColoExit)
            self._on_event(event)

    def _wait_for(self, checkpoints: int) -> None:
        """Until so many checkpoints have completed; or COLO, the process or the run ends."""
        while not (self._session.ended or self._exited):
            self._pump(POLL_MS)
            self._must_be_watched()
            totals = self._totals()
            if totals and totals.checkpoints >= checkpoints:
                return
        if checkpoints == 1:
            raise NothingSeenError(
                f"no checkpoint completed, so {INFO_CHECKPOINT} was not called",
                "Before the first checkpoint a patch that divides by tot_num kills QEMU. Is COLO running?",
            )

    def _must_be_watched(self) -> None:
        """Raises NothingSeenError once nothing more can be counted: the probes or the process have gone."""
        if self._target.lost or not (self._target.alive or self._session.ended):
            raise NothingSeenError("the checkpoints are not counted any more", "The notes say why.")

    def _read_quietly(self) -> tuple[Reading, CheckpointTotals]:
        """An answer that no transaction can have touched, and the kernel's totals at the same moment."""
        until, torn = time.monotonic() + QUIET_DEADLINE_S, 0
        while time.monotonic() < until and self._target.alive:
            before = self._totals()
            if before is None or before.idle_since_ns is None:
                self._pump(1)
                continue
            pair = self._ask(), self._ask()
            self._settle()
            after = self._totals()
            if after is None or (after.begun, after.idle_since_ns) != (before.begun, before.idle_since_ns):
                continue
            if pair[0].values != pair[1].values:
                self._pairs.append(pair)
                torn += 1
            if pair[0].values == pair[1].values or torn >= TORN_ENOUGH:
                return pair[1], after
        self._must_be_watched()
        raise NothingSeenError(
            f"no moment between two checkpoints was long enough to ask {INFO_CHECKPOINT} in",
            "A longer x-checkpoint-delay gives it one.",
        )

    def _settle(self) -> None:
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            self._pump(max(1, round((until - time.monotonic()) * 1000)))

    def _ask(self) -> Reading:
        answer = self._qmp.execute(INFO_CHECKPOINT)
        try:
            return parse_reading(answer)
        except ValueError as error:
            raise QmpError(
                f"{self._qmp.path} answered {INFO_CHECKPOINT} with something else: none of its fields"
            ) from error

    def _try_reset(self) -> None:
        before, _ = self._read_quietly()
        if (before.num or 0) < RESET_AFTER:
            self._notes.append(
                f"{RESET_CHECKPOINT} was not tried: it takes {RESET_AFTER} checkpoints to see what it leaves"
            )
            return
        self._qmp.execute(RESET_CHECKPOINT)
        # From now on tot_num may be 0, and asking would be fatal, until a checkpoint has been counted that was not yet
        # when QEMU cleared it. One that ends now may have been; the next one was not.
        cleared = self._totals()
        assert cleared, "a checkpoint has completed"
        self._wait_for(cleared.checkpoints + 2)
        now = self._totals()
        if now is None or now.checkpoints < cleared.checkpoints + 2:
            self._notes.append(f"{RESET_CHECKPOINT} was called, and too few checkpoints came after it to ask again")
            return
        after, later = self._read_quietly()
        self._reset = Reset(before, after, later.since(cleared))
