"""The short form of scripts/torture, and the proof that what it looks for would be found."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable

import pytest
from colo_lab.errors import VmError
from colo_lab.guest import looks_at_itself, memory_is_whole
from colo_lab.pair import ColoPair
from colo_lab.vm import Vm
from conftest import ROOT
from support import read_until
from torture_lab import traces
from torture_lab.cli import run
from torture_lab.scenario import Scenario
from torture_lab.table import SCENARIOS

import colotrace

PAGE = (3 << 20) + 0x5000
"""A guest physical address that the guest overwrites."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_vm_is_not_hurt(scenario: Scenario) -> None:
    result = run(scenario, True, lambda: None, 1)
    assert result.result == "passed", result.said


def write_guest_memory(vm: Vm, address: int, data: bytes) -> None:
    """Behind the guest's back, and QEMU's."""
    said = vm.monitor.human(f"gpa2hva {address:#x}")
    host = int(re.search(r"is (0x[0-9a-f]+)", said)[1], 16)  # type: ignore[index]
    with open(f"/proc/{vm.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(host)
        memory.write(data)


@pytest.mark.parametrize("offset", [0, 4], ids=["number", "pattern"])
def test_the_guest_finds_what_it_has_not_written(make_pair: Callable[..., ColoPair], offset: int) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100, self_check=True)
    looks_at_itself(pair.primary)
    write_guest_memory(pair.primary, PAGE + offset, b"\xff\xff\xff\xff")
    with pytest.raises(VmError, match=f"found the page at {PAGE:#x}"):
        looks_at_itself(pair.primary)


def test_a_stopped_guests_memory_is_read_whole(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(dirty_mib=8, start_colo=False, self_check=True)
    vm = pair.primary
    vm.execute("stop")
    assert memory_is_whole(vm, pair.settings, pair.run.path) > 1
    write_guest_memory(vm, PAGE + 0x800, b"\x01")
    with pytest.raises(VmError, match=f"page at {PAGE:#x} holds bytes that nobody wrote"):
        memory_is_whole(vm, pair.settings, pair.run.path)


def test_what_is_left_is_seen(pair: ColoPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that is still there, its own objects told from a stranger's by who holds them."""
    monkeypatch.setattr(traces, "SETTLE_S", 0.0)
    before = traces.look()
    assert traces.left_since(before) == []
    with colotrace.attach(pair.primary.pid):
        left = traces.left_since(before)
        assert {line.split()[1] for line in left} == {"prog", "map", "link"}
        sleeper = subprocess.Popen(["sleep", "60"])
        try:
            assert f"process {sleeper.pid}" in traces.left_since(before)
        finally:
            sleeper.kill()
            sleeper.wait()
    monkeypatch.undo()
    assert traces.left_since(before) == []


def test_ctrl_c_ends_it_cleanly() -> None:
    before = traces.look()
    command = [str(ROOT / "scripts/torture"), "--short", "--json", "runs", "tracer-stopped", "two-tracers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        read_until(process.stdout, '"runs"')
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and "stopped by SIGINT after 1 of 3" in said and "Traceback" not in said
    assert traces.left_since(before) == []


def test_the_command_line() -> None:
    def torture(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts/torture"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    listed = torture("--list")
    assert listed.returncode == 0 and [line.split()[0] for line in listed.stdout.splitlines()] == [
        scenario.name for scenario in SCENARIOS
    ]
    wrong = torture("no-such-thing")
    assert wrong.returncode == 2 and "no scenario no-such-thing" in wrong.stderr
    assert "Exit code" in torture("--help").stdout
