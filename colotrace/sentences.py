"""A run's events in words: one line a checkpoint, one a failover, and any other event as a note."""

from __future__ import annotations

from colotrace.checkpoint import Checkpoint, ColoExit, Event, Failover, InitDone, Note, Takeover
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Phase
from colotrace.units import size_text, time_text


def as_note(event: Event) -> Note:
    """Any event but a checkpoint as a note."""
    if isinstance(event, Note):
        return event
    if isinstance(event, InitDone):
        message = f"{event.role.value} entered COLO: init took {time_text(event.end_ns - event.begin_ns)}"
        details: dict[str, object] = {
            "role": event.role.value,
            "begin_ns": event.begin_ns,
            "end_ns": event.end_ns,
            "init_ns": event.end_ns - event.begin_ns,
            "ready_ns": event.ready_ns,
        }
        return Note("init", message, event.pid, details)
    if isinstance(event, ColoExit):
        message = f"COLO ended on the {event.role.value}: {event.reason}"
        details = {"role": event.role.value, "when_ns": event.when_ns, "mode": event.mode, "reason": event.reason}
        return Note("colo-exit", message, event.pid, details)
    if isinstance(event, Takeover):
        gap = event.when_ns - event.exit_ns
        message = f"the former {event.role.value} runs on alone, {time_text(gap)} after COLO ended"
        details = {"role": event.role.value, "when_ns": event.when_ns, "exit_ns": event.exit_ns}
        return Note("takeover", message, event.pid, details)
    if isinstance(event, Failover):
        return Note("failover", failover_line(event), event.pid, event.as_json())
    raise TypeError(f"a {type(event).__name__} is no note")


def checkpoint_line(checkpoint: Checkpoint) -> str:
    """A checkpoint on one line; `-` stands for what was not seen."""
    parts = [
        f"{checkpoint.role.value} {checkpoint.pid} #{checkpoint.sequence} {checkpoint.outcome.value}",
        f"total {time_text(checkpoint.total_ns)}",
        f"pause {time_text(checkpoint.pause_ns)}",
        f"wait {time_text(checkpoint.phase_ns.get(Phase.WAIT))}",
    ]
    for phase in ROLE_PHASES[checkpoint.role]:
        if phase not in OUTSIDE_TOTAL:
            parts.append(f"{phase.value} {time_text(checkpoint.phase_ns.get(phase))}")
    parts.append(f"other {time_text(checkpoint.other_ns)}")
    if checkpoint.ram_bytes is not None:
        parts.append(f"ram {size_text(checkpoint.ram_bytes)}")
    if checkpoint.device_bytes is not None:
        parts.append(f"device {size_text(checkpoint.device_bytes)}")
    if checkpoint.aborted_in:
        parts.append(f"aborted in {checkpoint.aborted_in}")
    if checkpoint.suspended_ms:
        parts.append(f"host suspended {time_text(checkpoint.suspended_ms * 1_000_000)}")
    return "  ".join(parts)


def failover_line(failover: Failover) -> str:
    """A failover on one line: who, why, what died, and how long it took since the last good checkpoint."""
    status = failover.status_reason
    reason = f"{failover.reason}, query-colo-status: {status}" if status else failover.reason
    parts = [f"failover {failover.role.value} {failover.pid} #{failover.number}", f"reason {reason}"]
    good = f"#{failover.last_good}" if failover.last_good is not None else "unknown"
    parts.append(f"last good {good}")
    if failover.attempts:
        died = ", ".join(f"#{one.sequence} in {one.died_in}" for one in failover.attempts)
        parts.append(f"died {died}" + (" (RELAUNCH)" if failover.relaunched else ""))
    else:
        parts.append(failover.missing.get("died_in", "nothing died"))
    parts.append(f"COLO exit after {time_text(failover.exit_after_ns)}")
    parts.append(f"takeover after {time_text(failover.takeover_after_ns)}")
    if failover.takeover_ns is None:
        parts.append(failover.missing.get("takeover_ns", ""))
    return "  ".join(parts)
