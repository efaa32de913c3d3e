"""From the kernel's totals to what people ask for: the seed's info_checkpoint object, and a run's summary. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from colotrace.checkpoint import CheckpointTotals, Failover
from colotrace.phases import OUTSIDE_TOTAL, PHASES, Phase, Role
from colotrace.resolve.plan import ProbePlan

NO_CHECKPOINT = "no checkpoint has completed yet"


@dataclass(frozen=True)
class InfoCheckpoint:
    """The seed's `checkpoint_recorder` in the meaning that the seed intends.

    Times in nanoseconds, sizes in bytes. All are averages over tot_num, truncated as the seed's integers are, except
    tot_time, tot_num and init_time; recv is in recv_time; every time is end minus begin. `missing` gives the reason for
    each field that is None.
    """

    values: Mapping[str, int | None]
    missing: Mapping[str, str]
    info: Mapping[str, object] | None = None

    def as_json(self, *, seed_compatible: bool = False) -> dict[str, object]:
        """The object; with `seed_compatible` a phase that the role has not is 0, as in the seed, and not null."""
        result: dict[str, object] = {}
        for name, value in self.values.items():
            not_of_role = self.missing.get(name) == "not a phase of this role"
            result[name] = 0 if seed_compatible and not_of_role else value
        if self.info is not None:
            result["info"] = dict(self.info)
        return result


def info_checkpoint(
    totals: CheckpointTotals, plan: ProbePlan, info: Mapping[str, object] | None = None
) -> InfoCheckpoint:
    """The seed's object from the kernel's totals; `info` is query-migrate's answer, if it was asked."""
    num = totals.checkpoints
    values: dict[str, int | None] = {"tot_time": totals.total_ns, "tot_num": num}
    missing: dict[str, str] = {}

    def put(name: str, field: str, total: int, count: int, why: str) -> None:
        reason = plan.reason(totals.role, field)
        if reason is None and count:
            values[name] = total // count
        else:
            values[name] = None
            missing[name] = reason or (why if num or name == "init_time" else NO_CHECKPOINT)

    def put_phase(phase: Phase, why: str) -> None:
        total, count = totals.phase_ns.get(phase, 0), totals.phase_num.get(phase, 0)
        put(f"{phase.value}_time", f"{phase.value}_ns", total, count, why)

    put_phase(Phase.INIT, "COLO had begun before the probes were armed")
    put_phase(Phase.WAIT, "never seen whole")
    put("avg_time", "total_ns", totals.total_ns, num, NO_CHECKPOINT)
    for phase in PHASES:
        if phase not in OUTSIDE_TOTAL:
            put_phase(phase, "never seen whole")
    put("dev_size", "device_bytes", totals.device_bytes, totals.device_num, "its call was not seen")
    put("ram_size", "ram_bytes", totals.ram_bytes, totals.ram_num, "the counters could not be read")
    return InfoCheckpoint(values, missing, info)


@dataclass(frozen=True)
class TargetSummary:
    """What a run has seen of one process. `roles` holds the roles that were seen."""

    pid: int
    name: str | None
    plan: ProbePlan
    roles: Mapping[Role, CheckpointTotals]
    probes: int
    hits: int
    lost_events: int
    info: Mapping[str, object] | None = None
    failovers: tuple[Failover, ...] = ()

    @property
    def checkpoints(self) -> int:
        """Completed checkpoints, over all roles."""
        return sum(totals.checkpoints for totals in self.roles.values())

    def as_json(self, *, seed_compatible: bool = False) -> dict[str, object]:
        """The `summary` line of attach --json."""
        roles: dict[str, object] = {}
        for role, totals in self.roles.items():
            info = info_checkpoint(totals, self.plan, self.info)
            roles[role.value] = {
                "checkpoints": totals.checkpoints,
                "incomplete": totals.incomplete,
                "aborted": totals.aborted,
                "lost_records": totals.lost_records,
                "pause_time": totals.pause_ns // totals.pause_num if totals.pause_num else None,
                "other_time": totals.other_ns // totals.checkpoints if totals.checkpoints else None,
                "info_checkpoint": info.as_json(seed_compatible=seed_compatible),
                "missing": dict(info.missing),
            }
        return {
            "pid": self.pid,
            "name": self.name,
            "checkpoints": self.checkpoints,
            "lost_records": sum(totals.lost_records for totals in self.roles.values()),
            "incomplete": sum(totals.incomplete for totals in self.roles.values()),
            "aborted": sum(totals.aborted for totals in self.roles.values()),
            "lost_events": self.lost_events,
            "probes": self.probes,
            "hits": self.hits,
            "failovers": [failover.as_json() for failover in self.failovers],
            "roles": roles,
        }
