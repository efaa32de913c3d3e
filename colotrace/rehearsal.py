"""What attach would do to a process, with all its checks made and nothing done: no program loaded, no probe armed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from colotrace.arming import AttachedTarget, Plans, pid_filter, prepare
from colotrace.checkpoint import Note
from colotrace.kernel import preflight
from colotrace.phases import Boundary, Effect, Role, Trigger
from colotrace.resolve.nameoptions import ONLY_THIS_HOST, NameOptions
from colotrace.resolve.plan import Probe, ProbePlan
from colotrace.target.discovery import only_qemu

ONCE_A_CHECKPOINT = "once a checkpoint"
_RARELY = {
    Effect.COLO_EXIT: "when COLO ends",
    Effect.TAKEOVER: "whenever the VM starts, so once a checkpoint as well",
    Effect.WAIT_BEGIN: ONCE_A_CHECKPOINT,
}


@dataclass(frozen=True)
class Rehearsal:
    """One process and what would be armed on it. `bias` is added to the plan's addresses in this process's memory;
    `pid_filter` is the process that the link would be confined to, None if this kernel's links cannot be."""

    pid: int
    name: str | None
    exe: str
    plan: ProbePlan
    bias: int
    pid_filter: int | None
    notes: tuple[Note, ...]

    def hits_per_checkpoint(self, role: Role) -> int:
        """How many hits a completed checkpoint takes in that role; a boundary with several places is passed at one.

        The primary's is one that the timer asks for, in another thread: nobody does so on the secondary.
        """
        names = {probe.boundary.name for probe in self.plan.roles[role].probes if _each_time(probe.boundary)}
        asked = role is Role.PRIMARY and any(p.boundary.trigger is Trigger.TIMER for p in self.plan.process_probes)
        return len(names) + asked + sum(_each_time(probe.boundary) for probe in self.plan.process_probes)

    def as_json(self) -> dict[str, object]:
        """The `dry-run` line of attach --dry-run --json."""
        return {
            "pid": self.pid,
            "name": self.name,
            "exe": self.exe,
            "qemu_version": self.plan.qemu_version,
            "build_id": self.plan.build_id,
            "load_bias": self.bias,
            "link": {
                "type": "uprobe_multi",
                "file": f"/proc/{self.pid}/exe",
                "pid_filter": self.pid_filter,
                "probes": len(self.plan.probes),
            },
            "hits_per_checkpoint": {role.value: self.hits_per_checkpoint(role) for role in self.plan.roles},
            "probes": [self._probe(probe) for probe in self.plan.probes],
            "notes": [note.as_json() for note in self.notes],
        }

    def _probe(self, probe: Probe) -> dict[str, object]:
        role = probe.role.value if probe.role else None
        more: Mapping[str, object] = {
            "memory_address": probe.address + self.bias,
            "what": probe.boundary.title,
            "hit": how_often(probe.boundary),
        }
        return {"role": role, **probe.as_json(), **more}


def how_often(boundary: Boundary) -> str:
    """When a probe at this boundary is hit, in words."""
    if boundary.trigger:
        return "when somebody asks for a checkpoint"
    for effect, when in _RARELY.items():
        if boundary.effects & effect:
            return when
    return "on entering COLO" if boundary.effects & Effect.OUTSIDE else ONCE_A_CHECKPOINT


def _each_time(boundary: Boundary) -> bool:
    return not boundary.effects & Effect.OUTSIDE or bool(boundary.effects & (Effect.WAIT_BEGIN | Effect.TAKEOVER))


def rehearse(*pids: int, names: NameOptions = ONLY_THIS_HOST) -> list[Rehearsal]:
    """What attach(*pids) would arm; raises as it does, for the same reasons, with the same privileges."""
    preflight.check_host()
    plans: Plans = {}
    result = []
    for index, pid in enumerate(dict.fromkeys(pids or (only_qemu(),))):
        target = prepare(index, pid, plans, names)
        target.close()
        result.append(_of(target))
    return result


def _of(target: AttachedTarget) -> Rehearsal:
    return Rehearsal(
        pid=target.pid,
        name=target.name,
        exe=target.process.exe_name(),
        plan=target.plan,
        bias=target.bias,
        pid_filter=pid_filter(target) or None,
        notes=tuple(target.notes),
    )
