"""Two witnesses that are not ours: QMP's count of checkpoints, and QMP's clock for stopping and resuming the VM."""

from __future__ import annotations

from colo_lab.pair import ColoPair
from support import read_clock
from witness import hold_against_qmp


def test_qmp_agrees(pair: ColoPair) -> None:
    """As many RESUMEs as checkpoints, and every STOP and RESUME between the two call sites that enclose it."""
    hold_against_qmp(pair, 40)


def test_the_error_allowed_is_small() -> None:
    """The test above means something only if the clocks can be compared to microseconds."""
    assert read_clock().error_ns < 5_000
