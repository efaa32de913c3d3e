"""The library's front door: `attach(pid)` gives a Session, and iterating it gives checkpoints.

    import colotrace

    with colotrace.attach(pid) as session:
        for checkpoint in session:
            print(checkpoint.sequence, checkpoint.total_ns)

Attaching resolves the binary behind /proc/PID/exe, compares the process's memory with the file, and arms all probes
with one link. Nothing in the VM is stopped, and the kernel removes the probes however this process ends.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

from colotrace.arming import AttachedTarget, Plans, look_again, pid_filter, prepare, settings_of
from colotrace.checkpoint import (
    Checkpoint,
    CheckpointTotals,
    ColoExit,
    Event,
    Failover,
    InitDone,
    Note,
    Outcome,
    Takeover,
)
from colotrace.clocks import ClockWatch
from colotrace.errors import PermissionsError, TargetError
from colotrace.failover import PROCESS_ENDED, RUN_ENDED
from colotrace.kernel import layout, preflight
from colotrace.kernel.program import DEFAULT_RING_BYTES, Program
from colotrace.phases import Role
from colotrace.refusals import other_uprobes
from colotrace.resolve.nameoptions import ONLY_THIS_HOST, NameOptions
from colotrace.summary import TargetSummary
from colotrace.target.discovery import only_qemu
from colotrace.target.sites import SiteState, site_states

POLL_TIMEOUT_MS = 200
CHECK_INTERVAL_S = 1.0
"""How often targets and their probes are looked at again."""


class Session:
    """Probes armed on one or more QEMUs. Made by attach(); use as a context manager, or close()."""

    def __init__(
        self, pids: tuple[int, ...], *, ring_bytes: int = DEFAULT_RING_BYTES, names: NameOptions = ONLY_THIS_HOST
    ) -> None:
        preflight.check_host()
        self.ring_bytes = ring_bytes
        self.targets: list[AttachedTarget] = []
        self._backlog: deque[Event] = deque()
        self._stopped = False
        self._next_check = 0.0
        self._clocks = ClockWatch()
        with contextlib.ExitStack() as undo:
            plans: Plans = {}
            for index, pid in enumerate(dict.fromkeys(pids)):
                target = prepare(index, pid, plans, names)
                undo.callback(target.close)
                self.targets.append(target)
                self._backlog += target.notes
            self._program = undo.enter_context(Program(ring_bytes, max_targets=len(self.targets)))
            for target in self.targets:
                self._arm(target)
            self._undo = undo.pop_all()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Checkpoint]:
        """The checkpoints as they end; stops after stop(), or when the last target has ended."""
        return (event for event in self.events() if isinstance(event, Checkpoint))

    def events(self) -> Iterator[Event]:
        """Checkpoints, and everything else worth knowing, as they come; stops as iteration does."""
        while self._fill(POLL_TIMEOUT_MS) or not self.ended:
            while self._backlog:  # one at a time: a consumer may leave the loop, and come back
                yield self._backlog.popleft()

    def receive(self, timeout_ms: int = POLL_TIMEOUT_MS) -> list[Event]:
        """What has come since the last call; waits at most `timeout_ms` if there is nothing yet."""
        self._fill(timeout_ms)
        events = list(self._backlog)
        self._backlog.clear()
        return events

    def _fill(self, timeout_ms: int) -> bool:
        """Puts what has come into the backlog; whether there is anything in it now."""
        waits = not (self._backlog or self.ended)
        over = [target for target in self.targets if self._stopped or not target.alive]
        self._receive(self._program.poll(timeout_ms) if waits else self._program.drain())
        for target in over:  # what it said last has now been heard
            lost_events = self._program.target(target.index).lost_events > 0
            failover = target.watch.close(PROCESS_ENDED if target.has_ended() else RUN_ENDED, lost_events)
            if failover:
                self._backlog.append(failover)
        if not self.ended:
            self._check()
        return bool(self._backlog)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come: stopped, detached, or no target left."""
        return self._stopped or not any(target.alive for target in self.targets)

    @property
    def memory_bytes(self) -> int:
        """What the session holds of the kernel's memory: the ring buffer, of `ring_bytes`, and its other maps."""
        return self._program.memory_bytes

    def stop(self) -> None:
        """Lets iteration end soon; for signal handlers and other threads."""
        self._stopped = True

    def detach(self) -> None:
        """Removes all probes now; what has been recorded can still be iterated and summed up."""
        for target in self.targets:
            self._disarm(target)
        self._stopped = True

    def totals(self, pid: int) -> dict[Role, CheckpointTotals]:
        """The kernel's totals of a target, for each role in which it was seen. Raises KeyError for a foreign pid."""
        target = next((t for t in self.targets if t.pid == pid), None)
        if target is None:
            raise KeyError(pid)
        found = {}
        for role in Role:
            totals = self._program.totals(target.index, role)
            if totals is not None:
                found[role] = layout.decode_totals(totals, role, pid)
        return found

    def summaries(self) -> list[TargetSummary]:
        """What the run has seen, one summary a target; from the kernel's totals, not from records."""
        result = []
        for target in self.targets:
            counters = self._program.target(target.index)
            result.append(
                TargetSummary(
                    pid=target.pid,
                    name=target.name,
                    plan=target.plan,
                    roles=self.totals(target.pid),
                    probes=len(target.probes),
                    hits=counters.hits,
                    lost_events=counters.lost_events,
                    failovers=tuple(target.watch.failovers),
                )
            )
        return result

    def close(self) -> None:
        """Removes the probes and everything else in the kernel; safe to call twice."""
        self._undo.close()

    def _arm(self, target: AttachedTarget) -> None:
        self._program.set_target(target.index, settings_of(target))
        look_again(target)
        self._program.arm(
            target.index,
            f"/proc/self/fd/{target.exe_fd}",
            pid_filter(target),
            [probe.file_offset for probe in target.probes],
            [probe.boundary.cookie(probe.role, target.index) for probe in target.probes],
        )
        target.armed = True
        target.silence.since_s = time.monotonic()
        if not target.process.is_same():
            raise TargetError(
                f"process {target.pid} has become another program while the probes were armed", "Try again."
            )
        self._check_sites(target)

    def _receive(self, messages: list[bytes]) -> None:
        for message in messages:
            target = self.targets[layout.EventHeader.from_buffer_copy(message).target]
            event = layout.decode_event(message, self._pid_of, target.plan.reason)
            if not isinstance(event, Takeover) and event.role is not target.role:
                self._backlog.append(_role_note(target, event.role))
                target.role = event.role
            self._backlog.append(event)
            failover = target.watch.add(event)
            if failover:
                self._backlog.append(failover)

    def _pid_of(self, index: int) -> int:
        return self.targets[index].pid

    def _check(self) -> None:
        now = time.monotonic()
        self._backlog += self._clocks.look()
        due = now >= self._next_check
        if due:
            self._next_check = now + CHECK_INTERVAL_S
        for target in self.targets:
            if target.alive:
                try:
                    self._check_traced(target)
                    if due and target.alive:
                        self._check_target(target, now)
                except TargetError:  # /proc has nothing of it: it has ended, or is about to, which the next look tells
                    self._note_end(target)
                except PermissionsError as error:
                    if not target.unseen and not target.has_ended():
                        target.unseen = True
                        message = f"{error.message}; a probe that is lost, or a debugger, is not noticed any more"
                        self._backlog.append(Note("unseen", message, target.pid))

    def _check_traced(self, target: AttachedTarget) -> None:
        """Gets out of a debugger's way, before it has had the time to set a breakpoint over one of our probes."""
        tracer = target.process.tracer()
        if tracer:
            self._disarm(target)
            target.alive = False
            message = (
                f"process {tracer} (a debugger, or strace) traces process {target.pid} now; the probes are removed, "
                "because its breakpoints and ours would overwrite each other. Attach again when it has gone"
            )
            self._backlog.append(Note("traced", message, target.pid))

    def _disarm(self, target: AttachedTarget) -> None:
        """Removes a target's probes, and says so if something is left in its code."""
        if not target.armed:
            return
        target.armed = False
        self._program.disarm(target.index)
        try:
            states = site_states(target.process, target.bias, target.probes)
        except (TargetError, PermissionsError):
            return  # it has ended
        left = [probe for probe, state in states.items() if state is not SiteState.CLEAN]
        if left:
            with contextlib.suppress(OSError):  # without CAP_SYS_ADMIN nobody tells whose they are
                others = other_uprobes(target.process)
                left = [probe for probe in left if probe.file_offset not in others]
        if left:
            where = ", ".join(f"{p.boundary.name} at {p.address:#x}" for p in left)
            message = (
                f"the probes are removed, but the code of process {target.pid} still differs from its file: {where}. "
                "Another tracer's probe is harmless; a debugger's breakpoint may kill the VM when it is deleted"
            )
            self._backlog.append(Note("code-differs", message, target.pid))

    def _check_target(self, target: AttachedTarget, now: float) -> None:
        if self._note_end(target):
            return
        if not target.process.is_same():
            target.alive = False
            self._backlog.append(Note("target-changed", f"process {target.pid} now runs another program", target.pid))
            return
        self._check_sites(target)
        counters = self._program.target(target.index)
        note = target.silence.look(target.pid, counters.hits - counters.trigger_hits, now)
        if note:
            self._backlog.append(note)

    def _note_end(self, target: AttachedTarget) -> bool:
        """Whether it has ended, which is said once."""
        if not target.has_ended():
            return False
        target.alive = False
        self._backlog.append(Note("target-exited", f"process {target.pid} has ended", target.pid))
        return True

    def _check_sites(self, target: AttachedTarget) -> None:
        """Every site must hold our int3; one that does not has lost its probe, and says so once."""
        if target.lost:
            return
        states = site_states(target.process, target.bias, target.probes)
        gone = [probe for probe, state in states.items() if state is not SiteState.BREAKPOINT]
        if gone:
            target.lost = True
            self._program.mark_probe_lost(target.index)
            where = ", ".join(f"{p.boundary.name} at {p.address:#x} ({states[p].value})" for p in gone)
            message = (
                f"probes are gone from process {target.pid}: {where}; its checkpoints count as incomplete from here on"
            )
            self._backlog.append(Note("probe-lost", message, target.pid))


def attach(*pids: int, ring_bytes: int = DEFAULT_RING_BYTES, names: NameOptions = ONLY_THIS_HOST) -> Session:
    """Arms probes on the QEMUs with these pids; without any, on the only QEMU of this host.

    `ring_bytes` is the size of the buffer between kernel and user space, a power of two; `names` tells where else to
    look for the names of functions (colotrace.resolve.nameoptions). Raises TargetError, BinaryError, PlanError,
    PermissionsError or EnvironmentFault (colotrace.errors); then nothing has been left armed.
    """
    return Session(pids or (only_qemu(),), ring_bytes=ring_bytes, names=names)


def _role_note(target: AttachedTarget, role: Role) -> Note:
    change = f"was the {target.role.value} and now is the {role.value}" if target.role else f"is the {role.value}"
    return Note("role", f"process {target.pid} {change}", target.pid, {"role": role.value})


__all__ = ["AttachedTarget", "Checkpoint", "ColoExit", "Failover", "InitDone", "Outcome", "Session", "attach"]
