"""A patch as it might be written, and the kernel beside it: checkpoints in, answers and totals out. Defects by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from colotrace.checkpoint import CheckpointTotals
from colotrace.crosscheck.fields import FIELDS, Kind
from colotrace.crosscheck.reading import Reading, parse_reading
from colotrace.crosscheck.windows import Window
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Phase, Role


@dataclass(frozen=True)
class Took:
    """One checkpoint as it really was, in nanoseconds and bytes."""

    phases: Mapping[Phase, int]
    other: int = 200_000
    device: int = 12_917
    ram: int = 8_404_992
    failed: bool = False
    stall: int = 0
    """What the patch's clock sees of load and of the total beyond the kernel's."""

    @property
    def total(self) -> int:
        return self.other + sum(ns for phase, ns in self.phases.items() if phase not in OUTSIDE_TOTAL)


ORDINARY = {
    Phase.WAIT: 88_320_530, Phase.STAT: 1_670_728, Phase.DEV: 377_037, Phase.RAM: 3_315_788, Phase.PUT: 78_331,
    Phase.RECV: 504_691, Phase.LOAD: 2_854_255, Phase.RESUME: 2_333_845,
}  # fmt: skip


def took(role: Role, number: int = 0, **changes: object) -> Took:
    """An ordinary checkpoint; `number` makes each a little different."""
    phases = {p: ORDINARY[p] + 997 * number for p in ROLE_PHASES[role] if p is not Phase.INIT}
    return Took(phases, **changes)  # type: ignore[arg-type]


@dataclass
class Kernel:
    """What the kernel program would have in its totals."""

    role: Role
    init: int | None = None
    seen: list[Took] = field(default_factory=list)
    aborted: int = 0

    def totals(self) -> CheckpointTotals:
        phases = ROLE_PHASES[self.role]
        sums = {p: sum(one.phases.get(p, 0) for one in self.seen) for p in phases}
        nums = {p: len(self.seen) for p in phases}
        sums[Phase.INIT], nums[Phase.INIT] = self.init or 0, int(self.init is not None)
        num, primary = len(self.seen), self.role is Role.PRIMARY
        return CheckpointTotals(
            role=self.role, pid=7, checkpoints=num, total_ns=sum(one.total for one in self.seen),
            other_ns=sum(one.other for one in self.seen), phase_ns=sums, phase_num=nums, pause_ns=0, pause_num=0,
            device_bytes=sum(one.device for one in self.seen), device_num=num,
            ram_bytes=sum(one.ram for one in self.seen) if primary else 0, ram_pages=0, ram_num=num if primary else 0,
            incomplete=0, aborted=self.aborted, lost_records=0, last_completed_ns=1, begun=num + self.aborted,
            idle_since_ns=1,
        )  # fmt: skip


@dataclass
class Patch:
    """What a patch would answer. `skew` is what its clock readings are off by, per phase and checkpoint."""

    role: Role
    defects: frozenset[str] = frozenset()
    init: int = 4_581_165
    skew: int = 0
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))

    def __post_init__(self) -> None:
        self.sums["init_time"] = -self.init if "negative-init" in self.defects else self.init

    def take(self, one: Took) -> None:
        """Adds a checkpoint."""
        if one.failed and "count-failed" not in self.defects:
            return
        self.sums["tot_num"] += 2 if "count-twice" in self.defects else 1
        self.sums["tot_time"] += one.total + self.skew + one.stall
        self.sums["load_time"] += one.stall
        for phase, ns in one.phases.items():
            name = f"{phase.value}_time"
            if "recv-in-put" in self.defects and phase is Phase.RECV:
                name = "put_time"
            if "stat-in-load" in self.defects and phase is Phase.STAT:
                name = "load_time"
            sign = -1 if "negative-stat" in self.defects and phase is Phase.STAT else 1
            self.sums[name] += sign * (ns + self.skew)
        self.sums["dev_size"] += one.device
        if self.role is Role.PRIMARY and "no-ram-size" not in self.defects:
            self.sums["ram_size"] += one.ram

    def reset(self) -> None:
        """reset_checkpoint; `reset-eight` clears the first eight fields of the seed's struct."""
        names = list(FIELDS)
        for name in names[:8] if "reset-eight" in self.defects else names:
            self.sums[name] = 0

    def answer(self) -> dict[str, object]:
        """info_checkpoint's return member."""
        num = self.sums["tot_num"]
        answer: dict[str, object] = {}
        for name, one in FIELDS.items():
            value = self.sums["tot_time"] if name == "avg_time" else self.sums[name]
            if one.is_time:
                for factor, defect in ((1_000, "micro"), (1_000_000, "milli")):
                    value = truncated(value, factor) if defect in self.defects else value
            if one.kind is Kind.MEAN and not ("sums" in self.defects and one.phase):
                value = truncated(value, num)
            if name == "tot_time" and "tot-average" in self.defects:
                value = truncated(value, num)
            if name == "tot_time" and "double-total" in self.defects:
                value *= 2
            answer[name] = value
        return answer

    def reading(self) -> Reading:
        """The answer, read."""
        return parse_reading(self.answer())


def truncated(value: int, divisor: int) -> int:
    """C's division."""
    return abs(value) // divisor * (1 if value >= 0 else -1)


def windows(patch: Patch, kernel: Kernel, before: Sequence[Took], each: Iterable[Sequence[Took]]) -> list[Window]:
    """Runs `before`, takes a reading, and one more after each of the further stretches."""

    def run(checkpoints: Sequence[Took]) -> None:
        for one in checkpoints:
            patch.take(one)
            if one.failed:
                kernel.aborted += 1
            else:
                kernel.seen.append(one)

    run(before)
    reading, totals = patch.reading(), kernel.totals()
    found = []
    for stretch in each:
        run(stretch)
        now, later = patch.reading(), kernel.totals()
        found.append(Window(reading, now, later.since(totals)))
        reading, totals = now, later
    return found
