"""QMP as a second witness of a pair: its count of checkpoints, and its clock for stopping and resuming the VM."""

from __future__ import annotations

from typing import Any

from colo_lab.pair import ColoPair
from support import QmpWitness, colotrace, json_lines, of_type, read_clock

from colotrace.phases import Role

QMP_RESOLUTION_NS = 1000


def hold_against_qmp(pair: ColoPair, checkpoints: int) -> list[dict[str, Any]]:
    """As many RESUMEs as checkpoints, and every STOP and RESUME between the two call sites that enclose it.

    Returns the checkpoints' records, for more to be asked of them.
    """
    before = read_clock()
    with QmpWitness(pair.primary.qmp_path) as primary, QmpWitness(pair.secondary.qmp_path) as secondary:
        run = colotrace("attach", "--pid", pair.primary.pid, pair.secondary.pid, "-n", checkpoints, "--json")
    assert run.returncode == 0, run.stderr
    after = read_clock()
    offset_ns = (before.offset_ns + after.offset_ns) // 2
    error_ns = QMP_RESOLUTION_NS + before.error_ns + after.error_ns + abs(after.offset_ns - before.offset_ns)
    records = of_type(json_lines(run.stdout), "checkpoint")
    for role, witness in ((Role.PRIMARY, primary), (Role.SECONDARY, secondary)):
        marks = [record["marks_ns"] for record in records if record["role"] == role.value]
        whole = [mark for mark in marks if {"vm-stop", "vm-stopped", "vm-start", "vm-started"} <= mark.keys()]
        assert len(whole) >= checkpoints
        for event, begin, end in (("STOP", "vm-stop", "vm-stopped"), ("RESUME", "vm-start", "vm-started")):
            times = [when - offset_ns for when in witness.times(event)]
            span = [t for t in times if whole[0][begin] - error_ns <= t <= whole[-1][end] + error_ns]
            assert len(span) == len(whole), f"{role.value}: {len(span)} {event}s for {len(whole)} checkpoints"
            for when, mark in zip(span, whole, strict=True):
                assert mark[begin] - error_ns <= when <= mark[end] + error_ns, (role, event, when, mark)
    return records
