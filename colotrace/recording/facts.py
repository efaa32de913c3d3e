"""What a run says of itself besides its plan: who it is, the boot, the VM's settings, what a probe costs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colotrace.checkpoint import ProbeCost
    from colotrace.session import AttachedTarget

NO_QMP = "no QMP socket was given (--qmp)"
NO_UUID = "the VM has none (-uuid)"
NO_DELAY = "query-migrate-parameters answered without x-checkpoint-delay"
NO_BANDWIDTH = "query-migrate-parameters answered without max-bandwidth"
NOT_MEASURED = "measured only where a recording is written (--output)"
_RANDOM = Path("/proc/sys/kernel/random")


@dataclass(frozen=True)
class VmFacts:
    """What was asked of one VM: its UUID, x-checkpoint-delay in milliseconds, max-bandwidth in bytes/s (as they were
    when the run began). None has its reason in `missing`."""

    uuid: str | None = None
    checkpoint_delay_ms: int | None = None
    max_bandwidth_bytes_per_s: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """`run` is a UUID of this run, `boot_id` the kernel's of this boot; `asked` are VMs' answers by pid."""

    run: str | None
    boot_id: str | None
    probe_cost: ProbeCost | None = None
    asked: Mapping[int, VmFacts] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def vm(self, target: AttachedTarget) -> VmFacts:
        """What is known of a target's VM: QMP's answers if it was asked, else the command line's."""
        if target.pid in self.asked:
            return self.asked[target.pid]
        missing = {"checkpoint_delay_ms": NO_QMP, "max_bandwidth_bytes_per_s": NO_QMP}
        if target.uuid is None:
            missing["vm_uuid"] = NO_UUID
        return VmFacts(target.uuid, missing=missing)


def answers(uuid: str | None, checkpoint_delay_ms: int | None, max_bandwidth_bytes_per_s: int | None) -> VmFacts:
    """A VM's answers over QMP as facts (colotrace.qmp.client.query_vm)."""
    missing = {}
    if uuid is None:
        missing["vm_uuid"] = NO_UUID
    if checkpoint_delay_ms is None:
        missing["checkpoint_delay_ms"] = NO_DELAY
    if max_bandwidth_bytes_per_s is None:
        missing["max_bandwidth_bytes_per_s"] = NO_BANDWIDTH
    return VmFacts(uuid, checkpoint_delay_ms, max_bandwidth_bytes_per_s, missing)


def run_facts(
    probe_cost: ProbeCost | None = None, why_no_cost: str = NOT_MEASURED, asked: Mapping[int, VmFacts] | None = None
) -> RunFacts:
    """The facts of a run that begins now."""
    missing = {} if probe_cost else {"probe_cost": why_no_cost}
    identities: dict[str, str | None] = {}
    for name, file in (("run", "uuid"), ("boot_id", "boot_id")):
        try:
            identities[name] = (_RANDOM / file).read_text("ascii").strip()
        except OSError as error:
            identities[name] = None
            missing[name] = f"{_RANDOM / file} cannot be read: {error.strerror}"
    return RunFacts(identities["run"], identities["boot_id"], probe_cost, asked or {}, missing)
