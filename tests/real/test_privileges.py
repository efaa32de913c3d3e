"""What a running command may still do once its probes are armed: as little as the kernel itself says."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.settings import DEFAULT_QEMU
from support import colotrace, colotrace_running, json_lines, of_type, read_until, wait_for

import colotrace as library
from colotrace import privileges

CAP_SYS_PTRACE = 1 << 19


def threads(pid: int) -> list[dict[str, str]]:
    """The status of each thread of a process; one that ends just now has none."""
    texts = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            texts.append((thread / "status").read_text())
    return [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts]


def has_more(status: dict[str, str], kept: int) -> bool:
    """Whether a thread has more than `kept`, or can get more."""
    sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    beyond = {name: mask & ~(kept if name in ("CapPrm", "CapEff") else 0) for name, mask in sets.items()}
    return any(beyond.values()) or status["NoNewPrivs"] != "1"


def assert_given_up(pid: int, kept: int = 0) -> int:
    """Every thread has `kept` and no more, and cannot get more; how many threads there are."""
    found = threads(pid)
    for status in found:
        assert not has_more(status, kept) and int(status["CapEff"], 16) == kept, status
        assert status["Uid"].split()[0] == "0"
    return len(found)


@pytest.fixture
def plain_pair(make_pair: Callable[..., ColoPair], tmp_path: Path) -> ColoPair:
    """A pair of QEMUs of root's without any capability, as an ordinary user's are."""
    wrapper = tmp_path / "qemu-system-x86_64"
    drop = "--inh-caps=-all --bounding-set=-all --no-new-privs"
    wrapper.write_text(f'#!/bin/sh\nexec setpriv {drop} -- {DEFAULT_QEMU} "$@"\n')
    wrapper.chmod(0o755)
    return make_pair(qemu=str(wrapper), dirty_mib=8, delay_ms=100)


@pytest.mark.parametrize("command", ["attach", "attach --duration 60", "attach --qmp"])
def test_after_arming_only_what_it_takes_to_look_at_a_privileged_vm(pair: ColoPair, command: str) -> None:
    arguments = [*command.split(), *([pair.primary.qmp_path] if command.endswith("--qmp") else [])]
    with colotrace_running(*arguments, "--pid", pair.primary.pid, "--json") as run:
        read_until(run.stdout, '"event":"privileges"')
        read_until(run.stdout, '"outcome":"completed"')
        assert assert_given_up(run.pid, CAP_SYS_PTRACE) == 1 + ("--duration" in arguments)
        run.terminate()
        assert run.stdout
        summary = json_lines(run.stdout.read())[-1]
        assert run.wait(30) == 0 and summary["type"] == "summary" and summary["checkpoints"] >= 1
        assert ("info" in summary["roles"]["primary"]["info_checkpoint"]) == command.endswith("--qmp"), summary


def test_a_socket_of_another_users_is_still_to_be_used_at_the_end(pair: ColoPair) -> None:
    """As libvirt's are. Root may connect to it by CAP_DAC_OVERRIDE only, and does so again after the run."""
    os.chown(pair.primary.qmp_path, 65534, 65534)
    try:
        run = colotrace("attach", "--pid", pair.primary.pid, "--qmp", pair.primary.qmp_path, "-n", 1, "--json")
    finally:
        os.chown(pair.primary.qmp_path, 0, 0)
    lines = json_lines(run.stdout)
    (note,) = [line for line in of_type(lines, "note") if line["event"] == "privileges"]
    assert run.returncode == 0 and note["kept"] == ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]
    assert lines[-1]["roles"]["primary"]["info_checkpoint"]["info"]["status"] == "colo"


def test_after_arming_nothing_where_the_vm_is_an_ordinary_process(plain_pair: ColoPair, tmp_path: Path) -> None:
    """And probes that get lost are still noticed, the output is written, and a debugger is still made way for."""
    pid, output, armed = plain_pair.primary.pid, tmp_path / "run.jsonl", tmp_path / "armed"
    with colotrace_running("attach", "--pid", pid, "--json", "-o", output, "--armed-file", armed) as run:
        read_until(run.stdout, '"kept":[]')
        assert armed.exists()
        read_until(run.stdout, '"outcome":"completed"')
        assert assert_given_up(run.pid) == 1
        with library.attach(pid) as other:
            (target,) = other.targets
            address, original = target.probes[-1].address + target.bias, target.probes[-1].data
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(original)
        read_until(run.stdout, '"event":"probe-lost"')
        run.terminate()
        assert run.wait(30) == 0
    assert of_type(json_lines(output.read_text()), "summary")
    assert plain_pair.trouble() == []


def test_the_bridge_gives_up_in_each_thread(pair: ColoPair, tmp_path: Path) -> None:
    path = Path("/run") / f"colotrace-test-{os.getpid()}.sock"
    with colotrace_running(
        "qmp-bridge", "--pid", pair.primary.pid, "--qmp", pair.primary.qmp_path, "--listen", path, "--json"
    ) as run:
        read_until(run.stdout, '"type":"listening"')
        wait_for("the pump's thread", lambda: not any(has_more(s, CAP_SYS_PTRACE) for s in threads(run.pid)) or None)
        assert len(threads(run.pid)) >= 2
        run.terminate()
        assert run.wait(30) == 0
    assert not path.exists()


def test_the_library_leaves_its_callers_privileges_alone(pair: ColoPair) -> None:
    before = privileges.held_by_threads()
    with library.attach(pair.primary.pid) as session:
        assert privileges.needed(privileges.trials_of(session)) == {"CAP_SYS_PTRACE"}
        next(iter(session))
        assert privileges.held_by_threads() == before
