"""The plan: what would be probed and why, or why not. Data only; the privileged side consumes it and adds nothing."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from colotrace.phases import OUTSIDE_TOTAL, Boundary, Phase, Role, Trigger

UNTRIED_MACHINES = {
    "aarch64": "on an aarch64 host it goes by the same code as on x86-64, and has never been tried: "
    "compare the first figures with QMP's events"
}
"""Machine -> what to know before attaching there."""


class Quality(enum.Enum):
    """How well a phase can be timed."""

    EXACT = "exact"
    """Both ends are where the seed's clock calls stand, on every path of success."""
    PARTIAL = "partial"
    """Both ends are found, but one of them is not proven to lie on every path."""


@dataclass(frozen=True)
class Probe:
    """One address to probe. `data` are the instruction's bytes in the file, `address` is virtual and unbiased."""

    role: Role | None
    boundary: Boundary
    function: str
    address: int
    file_offset: int
    data: bytes
    instruction: str
    emulated: bool
    evidence: str
    proven: bool = True
    target: int | None = None
    """Where a direct call or jump goes."""

    def as_json(self) -> dict[str, object]:
        """The probe as an object of JSON types; the address is unbiased, as in a disassembly of the file."""
        return {
            "boundary": self.boundary.name,
            "function": self.function,
            "address": self.address,
            "file_offset": self.file_offset,
            "instruction": self.instruction,
            "bytes": self.data.hex(),
            "emulated": self.emulated,
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class Unresolved:
    """Something that was looked for and not found, or not proven."""

    role: Role | None
    what: str
    reason: str

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {"role": self.role.value if self.role else None, "what": self.what, "reason": self.reason}


@dataclass(frozen=True)
class KnownName:
    """A function that the plan goes by, where it is, and the source that says so.

    `evidence` says how the name was come by, where no table of symbols has it.
    """

    name: str
    address: int
    source: str
    evidence: str = ""

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {
            "name": self.name,
            "address": self.address,
            "source": self.source,
            "evidence": self.evidence or None,
        }


@dataclass(frozen=True)
class WitnessedFunction:
    """Code of a function, by the witness: out of line, or where a call of it was inlined; ranges are (start, end)."""

    name: str
    inlined: bool
    ranges: tuple[tuple[int, int], ...]

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {"name": self.name, "inlined": self.inlined, "ranges": [list(span) for span in self.ranges]}


@dataclass(frozen=True)
class Witness:
    """What the debugging information in `source` says to a role's probes; see colotrace.resolve.witness.

    The boundaries that lie in the functions they belong to, those that do not, and those it cannot tell of. `reason`
    says why there is no witness.
    """

    source: str = ""
    files: tuple[str, ...] = ()
    functions: tuple[WitnessedFunction, ...] = ()
    agreed: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {
            "source": self.source,
            "files": list(self.files),
            "functions": [function.as_json() for function in self.functions],
            "agreed": list(self.agreed),
            "contradicted": list(self.contradicted),
            "unjudged": list(self.unjudged),
            "reason": self.reason or None,
        }


@dataclass(frozen=True)
class RolePlan:
    """One role's probes, and what they can time.

    `found_by` is how its function was found; `meanings` tells where this binary does what versions do in different
    phases (see colotrace.resolve.meanings).
    """

    role: Role
    function: str
    phases: Mapping[Phase, Quality | None]
    probes: tuple[Probe, ...]
    found_by: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)
    witness: Witness = Witness()

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {
            "function": self.function,
            "found_by": self.found_by or None,
            "witness": self.witness.as_json(),
            "meanings": dict(self.meanings),
            "phases": {p.value: quality.value if quality else None for p, quality in self.phases.items()},
            "probes": [probe.as_json() for probe in self.probes],
        }


@dataclass(frozen=True)
class RamCounters:
    """Where QEMU counts what its RAM migration sends: unbiased addresses of u64s, each list to be summed.

    `evidence` tells how the addresses were proven; empty lists come with the reason why there are none.
    """

    bytes_at: tuple[int, ...]
    pages_at: tuple[int, ...]
    evidence: str

    @property
    def known(self) -> bool:
        """Whether both sums can be read."""
        return bool(self.bytes_at and self.pages_at)

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {
            "bytes_at": list(self.bytes_at) or None,
            "pages_at": list(self.pages_at) or None,
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class Triggers:
    """Who can be heard asking for a checkpoint: the evidence by trigger; and by trigger, too, why one cannot be."""

    evidence: Mapping[Trigger, str] = field(default_factory=dict)
    reasons: Mapping[Trigger, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As an object of JSON types."""
        return {
            trigger.value: {"evidence": self.evidence.get(trigger), "reason": self.reasons.get(trigger)}
            for trigger in Trigger
        }


@dataclass(frozen=True)
class ProbePlan:
    """Everything that colotrace would do to a process running this binary.

    `code_address` and `code_offset` place the segment that holds the code, so that a process's load bias can be found.
    `build_id_at` is where the build-id is in memory, unbiased; None if it is not loaded.
    """

    path: str
    build_id: str | None
    machine: str
    qemu_version: str
    code_address: int
    code_offset: int
    sources: tuple[str, ...]
    message_numbers: str
    roles: Mapping[Role, RolePlan]
    process_probes: tuple[Probe, ...]
    ram_counters: RamCounters
    unresolved: tuple[Unresolved, ...]
    triggers: Triggers = Triggers()
    names: tuple[KnownName, ...] = ()
    build_id_at: int | None = None

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All probes, of both roles and of the process."""
        return tuple(probe for role in self.roles.values() for probe in role.probes) + self.process_probes

    def reason(self, role: Role, field: str) -> str | None:
        """Why this plan can never fill a checkpoint's field on `role`; None if it can."""
        phase = next((p for p in Phase if f"{p.value}_ns" == field), None)
        if phase is not None:
            if phase not in self.roles[role].phases:
                return "not a phase of this role"
            if self.roles[role].phases[phase] is None:
                return "its boundaries could not be resolved in this binary (see colotrace inspect)"
        inside = [quality for phase, quality in self.roles[role].phases.items() if phase not in OUTSIDE_TOTAL]
        if field == "other_ns" and None in inside:
            return "not all phases can be timed in this binary, and their time would hide in it"
        if field in ("ram_bytes", "ram_pages"):
            if role is Role.SECONDARY:
                return "QEMU counts what it sends, not what it loads"
            if not self.ram_counters.known:
                return self.ram_counters.evidence
        if field == "trigger":
            if role is Role.SECONDARY:
                return "the primary decides"
            if not self.triggers.evidence:
                reasons = dict.fromkeys(self.triggers.reasons.values())
                return "; ".join(reasons) or "nobody who asks for checkpoints was found in this binary"
        return None

    def as_json(self) -> dict[str, object]:
        """The object that `colotrace inspect --json` prints."""
        return {
            "path": self.path,
            "build_id": self.build_id,
            "machine": self.machine,
            "qemu_version": self.qemu_version,
            "colo": True,
            "sources": list(self.sources),
            "names": [name.as_json() for name in self.names],
            "message_numbers": self.message_numbers,
            "roles": {role.value: plan.as_json() for role, plan in self.roles.items()},
            "process": {"probes": [probe.as_json() for probe in self.process_probes]},
            "ram_counters": self.ram_counters.as_json(),
            "triggers": self.triggers.as_json(),
            "unresolved": [item.as_json() for item in self.unresolved],
        }
