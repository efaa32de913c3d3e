"""The library, and what it does on kernels and targets that this machine does not have by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from support import traced

import colotrace
from colotrace import Phase, Role
from colotrace.checkpoint import Checkpoint, Note
from colotrace.errors import PlanError
from colotrace.kernel import preflight
from colotrace.target.process import Process

SAME_NS = 5_000_000
"""Two tracers hear one boundary one after the other; the next checkpoint is 100 ms away."""


def take(session: colotrace.Session, count: int) -> tuple[list[Checkpoint], list[Note]]:
    """Events until `count` checkpoints have completed."""
    checkpoints: list[Checkpoint] = []
    notes: list[Note] = []
    for event in session.events():
        if isinstance(event, Checkpoint):
            checkpoints.append(event)
        elif isinstance(event, Note):
            notes.append(event)
        if sum(c.completed for c in checkpoints) >= count:
            session.detach()
    return checkpoints, notes


def test_the_readmes_example(pair: ColoPair) -> None:
    with colotrace.attach(pair.primary.pid) as session:
        for checkpoint in session:
            if checkpoint.completed:
                assert checkpoint.role is Role.PRIMARY
                assert checkpoint.total_ns and set(checkpoint.phase_ns) == set(Phase) - {Phase.INIT}
                break
        assert session.totals(pair.primary.pid)[Role.PRIMARY].checkpoints >= 1
        with pytest.raises(KeyError):
            session.totals(1)


def test_two_tracers_on_one_vm(pair: ColoPair) -> None:
    """The second one accepts the first one's probes, says so, and both see every checkpoint."""
    with colotrace.attach(pair.primary.pid) as first, colotrace.attach(pair.primary.pid) as second:
        seen, notes = take(second, 5)
        assert "shared" in {note.event for note in notes}
        mine, _ = take(first, 5)
    begins = [c.begin_ns for c in mine if c.begin_ns]
    common = [c for c in seen if c.completed and any(abs(b - (c.begin_ns or 0)) < SAME_NS for b in begins)]
    assert len(common) >= 4
    with colotrace.attach(pair.primary.pid) as third:
        assert take(third, 1)[0]


def test_without_the_links_pid_filter(pair: ColoPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.6 to 6.9: the program compares the process itself; the other QEMU of the same file is not counted."""
    monkeypatch.setattr(preflight, "pid_filter_is_sound", lambda: False)
    with colotrace.attach(pair.secondary.pid) as session:
        checkpoints, notes = take(session, 5)
        (summary,) = session.summaries()
    assert {checkpoint.role for checkpoint in checkpoints} == {Role.SECONDARY}
    assert set(summary.roles) == {Role.SECONDARY}
    assert "unconfined" in {note.event for note in notes}


def test_a_traced_process_is_refused(pair: ColoPair) -> None:
    """A debugger's breakpoints and our probes would overwrite each other: nothing is armed while one is there."""
    process = Process(pair.secondary.pid)
    with traced(process) as debugger, pytest.raises(PlanError, match=f"traced by process {debugger}"):
        colotrace.attach(process.pid)
    with colotrace.attach(process.pid) as session:
        assert take(session, 1)[0]


def test_a_replaced_binary_is_no_matter(tmp_path: Path) -> None:
    """QEMU's file is replaced while it runs, as by a package upgrade: the running inode is what is probed."""
    from colo_lab.settings import DEFAULT_QEMU, Settings

    copy = tmp_path / "qemu-system-x86_64"
    copy.write_bytes(Path(DEFAULT_QEMU).read_bytes())
    copy.chmod(0o755)
    with ColoPair(Settings(qemu=str(copy), dirty_mib=8, delay_ms=100)) as one:
        os.unlink(copy)
        copy.write_text("something else")
        with colotrace.attach(one.primary.pid) as session:
            checkpoints, _ = take(session, 2)
        assert checkpoints[-1].completed
        assert one.trouble() == []
