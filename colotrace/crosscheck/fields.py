"""The fourteen numbers of the seed's `checkpoint_recorder`: what each is, and what the kernel holds against it.

Source: the seed's QAPI struct; `tot_time`, `tot_num` and `init_time` are reported as they are, all others divided by
`tot_num` and truncated.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from colotrace.checkpoint import CheckpointTotals
from colotrace.phases import OUTSIDE_TOTAL, PHASES, ROLE_PHASES, Phase, Role


class Kind(enum.Enum):
    """How a field is reported."""

    COUNT = "count"
    """How many checkpoints."""
    SUM = "sum"
    """Nanoseconds over all checkpoints."""
    ONCE = "once"
    """Nanoseconds of something that happens once."""
    MEAN = "mean"
    """Nanoseconds or bytes over all checkpoints, divided by their number and truncated."""


@dataclass(frozen=True)
class Field:
    """One number. `phase` is what it times, if it times one phase; `unit` is "ns", "bytes" or "" for a count."""

    name: str
    kind: Kind
    unit: str = "ns"
    phase: Phase | None = None

    @property
    def stem(self) -> str:
        """The name in finding codes: init for init_time, dev-size for dev_size."""
        return self.name.removesuffix("_time").replace("_", "-")

    @property
    def is_time(self) -> bool:
        """Whether it counts nanoseconds."""
        return self.unit == "ns"

    def kernel_total(self, totals: CheckpointTotals) -> int | None:
        """The kernel's sum of the same thing, over the checkpoints in `totals`; None if it was not seen in each."""
        if self.name == "tot_num":
            return totals.checkpoints
        if self.name in ("tot_time", "avg_time"):
            return totals.total_ns
        if self.name == "dev_size":
            return totals.device_bytes if totals.device_num == totals.checkpoints else None
        if self.name == "ram_size":
            return totals.ram_bytes if totals.ram_num == totals.checkpoints else None
        assert self.phase
        wanted = 1 if self.kind is Kind.ONCE else totals.checkpoints
        return totals.phase_ns[self.phase] if totals.phase_num.get(self.phase) == wanted else None


def _phase(phase: Phase) -> Field:
    return Field(f"{phase.value}_time", Kind.ONCE if phase is Phase.INIT else Kind.MEAN, phase=phase)


FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        Field("tot_time", Kind.SUM),
        Field("tot_num", Kind.COUNT, unit=""),
        _phase(Phase.INIT),
        _phase(Phase.WAIT),
        Field("avg_time", Kind.MEAN),
        *(_phase(phase) for phase in PHASES if phase not in OUTSIDE_TOTAL),
        Field("dev_size", Kind.MEAN, unit="bytes"),
        Field("ram_size", Kind.MEAN, unit="bytes"),
    )
}
"""By name, in the seed's order."""

PARTS = tuple(field for field in FIELDS.values() if field.phase and field.phase not in OUTSIDE_TOTAL)
"""The phases that lie within avg_time."""


def is_of_role(field: Field, role: Role) -> bool:
    """Whether the role has what the field counts: a secondary has no dev, no resume, and QEMU counts no RAM there."""
    if field.name == "ram_size":
        return role is Role.PRIMARY
    return field.phase is None or field.phase in ROLE_PHASES[role]
