"""How far two correct sets of figures may lie apart, derived before looking at how far they do.

The patch reads its clock on one side of a probe's hit, the kernel program within it: each end of a phase can be off by
one hit, and by the clock readings around it. Sizes and counts are the same numbers on both sides: no tolerance at all.
What truncation adds is in crosscheck.interval: it depends on the number of checkpoints, not on the machine.
"""

from __future__ import annotations

from colotrace.checkpoint import ProbeCost
from colotrace.crosscheck.fields import Field
from colotrace.phases import Role, phase_ends
from colotrace.resolve.plan import ProbePlan

CLOCK_READS_PER_END = 2
"""The patch's own, and the one that separates two adjacent phases of the patch."""


def tolerance_ns(field: Field, role: Role, plan: ProbePlan, cost: ProbeCost) -> int:
    """The largest difference, per checkpoint, that probe cost and clock readings explain; 0 for sizes and counts."""
    if not field.is_time:
        return 0
    if field.phase:
        ends = {boundary.name for boundary in phase_ends(role, field.phase)}
    else:
        ends = {"transaction-begin", "transaction-end"}
    emulated = dict.fromkeys(ends, True)
    for probe in plan.roles[role].probes:
        if probe.boundary.name in ends:
            emulated[probe.boundary.name] &= probe.emulated
    hits = sum(cost.of(kind).cold_ns for kind in emulated.values())
    return hits + len(ends) * CLOCK_READS_PER_END * cost.clock_ns
