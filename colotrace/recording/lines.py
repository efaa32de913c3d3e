"""What a run says as JSON lines: attached, checkpoint, failover, note; and a file of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from colotrace import __version__
from colotrace.checkpoint import Checkpoint, Event, Failover
from colotrace.clocks import iso_text, read_clocks
from colotrace.errors import OutputError
from colotrace.newfile import open_private
from colotrace.recording.schema import SCHEMA_VERSION
from colotrace.sentences import as_note

if TYPE_CHECKING:
    from colotrace.recording.facts import RunFacts
    from colotrace.resolve.plan import ProbePlan
    from colotrace.session import AttachedTarget, Session

_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def attached_json(target: AttachedTarget, facts: RunFacts) -> dict[str, object]:
    """The `attached` line: what was armed on what, and how to turn the records' clock into wall-clock time."""
    plan, clocks, vm = target.plan, read_clocks(), facts.vm(target)
    return {
        "type": "attached",
        "schema_version": SCHEMA_VERSION,
        "colotrace_version": __version__,
        "run": facts.run,
        "pid": target.pid,
        "name": target.name,
        "vm_uuid": vm.uuid,
        "exe": target.process.exe_name(),
        "qemu_version": plan.qemu_version,
        "build_id": plan.build_id,
        "checkpoint_delay_ms": vm.checkpoint_delay_ms,
        "max_bandwidth_bytes_per_s": vm.max_bandwidth_bytes_per_s,
        "probes": len(plan.probes),
        "roles": {
            role.value: {p.value: quality.value if quality else None for p, quality in role_plan.phases.items()}
            for role, role_plan in plan.roles.items()
        },
        "meanings": {role.value: dict(role_plan.meanings) for role, role_plan in plan.roles.items()},
        "plan": plan_json(plan),
        "clock": "CLOCK_MONOTONIC",
        "started": iso_text(clocks.realtime_ns),
        "realtime_minus_monotonic_ns": clocks.realtime_minus_monotonic_ns,
        "boot_id": facts.boot_id,
        "probe_cost": facts.probe_cost.as_json() if facts.probe_cost else None,
        "host": os.uname().nodename,
        "kernel": os.uname().release,
        "missing": {**facts.missing, **vm.missing},
    }


def plan_json(plan: ProbePlan) -> dict[str, object]:
    """The plan in short: each probe's unbiased address by role and boundary, and which boundaries have a probe that the
    kernel must single-step. colotrace inspect gives the evidence."""
    roles = {role.value: role_plan.probes for role, role_plan in plan.roles.items()} | {"process": plan.process_probes}
    return {
        "machine": plan.machine,
        "sources": list(plan.sources),
        "probes": {role: {p.boundary.name: f"{p.address:#x}" for p in probes} for role, probes in roles.items()},
        "stepped": {
            role: sorted({p.boundary.name for p in probes if not p.emulated}) for role, probes in roles.items()
        },
        "ram_counters": plan.ram_counters.evidence,
    }


def memory_json(session: Session) -> dict[str, object]:
    """What a run's `attached` lines say of its memory in the kernel: once for all of its processes."""
    return {"ring_bytes": session.ring_bytes, "kernel_bytes": session.memory_bytes}


def event_json(event: Event) -> dict[str, object]:
    """A checkpoint or a note as a JSON line's object."""
    if isinstance(event, Checkpoint):
        return {"type": "checkpoint", **event.as_json()}
    if isinstance(event, Failover):
        return {"type": "failover", **event.as_json()}
    return {"type": "note", **as_note(event).as_json()}


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
        write_whole(self._fd, text.encode() + b"\n", self._path)

    def empty(self) -> None:
        """Takes back all that was written."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)


def write_whole(fd: int, data: bytes, path: str) -> None:
    """Appends all of the data or nothing; by one write(2) unless there is more than that can take.

    Raises OutputError.
    """
    before, left = None, memoryview(data)
    try:
        while left:
            written = os.write(fd, left)
            if written == len(left):
                return
            before = os.fstat(fd).st_size - written if before is None else before
            left = left[written:]  # the disk is full, which the next write says, or it was more than 2 GiB
    except OSError as error:
        if before is not None:
            os.ftruncate(fd, before)  # takes the torn piece back
        raise OutputError(f"cannot write {path}: {error.strerror}", "Is the disk full?") from error


def json_line(line: Mapping[str, object]) -> str:
    """An object as one line of JSON, ASCII only: control characters in names stay escaped."""
    return _ENCODER.encode(line)
