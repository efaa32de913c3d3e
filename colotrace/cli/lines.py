"""Lines: JSON lines for programs and files, and one readable line a checkpoint for pipes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping

from colotrace.checkpoint import Checkpoint, ColoExit, Event, Failover, InitDone, Note, Takeover
from colotrace.cli.newfile import open_private
from colotrace.cli.units import size_text, time_text
from colotrace.clocks import read_clocks
from colotrace.errors import OutputError
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Phase
from colotrace.session import AttachedTarget, Session

SCHEMA_VERSION = 1
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def attached_json(target: AttachedTarget) -> dict[str, object]:
    """The `attached` line: what was armed, and how to turn the records' clock into wall-clock time."""
    plan = target.plan
    return {
        "type": "attached",
        "schema_version": SCHEMA_VERSION,
        "pid": target.pid,
        "name": target.name,
        "exe": target.process.exe_name(),
        "qemu_version": plan.qemu_version,
        "build_id": plan.build_id,
        "probes": len(plan.probes),
        "roles": {
            role.value: {p.value: quality.value if quality else None for p, quality in role_plan.phases.items()}
            for role, role_plan in plan.roles.items()
        },
        "meanings": {role.value: dict(role_plan.meanings) for role, role_plan in plan.roles.items()},
        "clock": "CLOCK_MONOTONIC",
        "realtime_minus_monotonic_ns": read_clocks().realtime_minus_monotonic_ns,
        "host": os.uname().nodename,
        "kernel": os.uname().release,
    }


def memory_json(session: Session) -> dict[str, object]:
    """What a run's `attached` lines say of its memory in the kernel: once for all of its processes."""
    return {"ring_bytes": session.ring_bytes, "kernel_bytes": session.memory_bytes}


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


def event_json(event: Event) -> dict[str, object]:
    """A checkpoint or a note as a JSON line's object."""
    if isinstance(event, Checkpoint):
        return {"type": "checkpoint", **event.as_json()}
    if isinstance(event, Failover):
        return {"type": "failover", **event.as_json()}
    return {"type": "note", **as_note(event).as_json()}


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


class LineFile:
    """A file of JSON lines, each written by one write(2), so that a killed tracer leaves whole lines behind.

    Raises OutputError as open_private() does.
    """

    def __init__(self, path: str) -> None:
        self._fd = open_private(path, "--output", empty=True)
        self._path = path

    def write(self, line: Mapping[str, object]) -> None:
        """Appends one object."""
        self.write_line(json_line(line))

    def write_line(self, text: str) -> None:
        """Appends one line."""
        data = text.encode() + b"\n"
        try:
            written = os.write(self._fd, data)
            if written < len(data):  # the disk is full: take the torn line back
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}", "Is the disk full?") from error

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)


def json_line(line: Mapping[str, object]) -> str:
    """An object as one line of JSON, ASCII only: control characters in names stay escaped."""
    return _ENCODER.encode(line)
