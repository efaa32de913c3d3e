"""A live process: this one, its child, one that is gone, and one without a binary."""

from __future__ import annotations

import ctypes as ct
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from colotrace.binary.image import Image
from colotrace.errors import BinaryError, TargetError
from colotrace.phases import TAKEOVER
from colotrace.resolve.plan import Probe
from colotrace.target.process import Process, parse_start_time
from colotrace.target.sites import SiteState, site_state, site_states

TEXT = b"what a process remembers"


@pytest.fixture
def me() -> Process:
    return Process(os.getpid())


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()", "", "two words"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        yield process


def gone_pid() -> int:
    """The pid of a process that has ended and been waited for."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_identity(me: Process) -> None:
    file = os.stat(sys.executable)
    assert (me.identity.device, me.identity.inode) == (file.st_dev, file.st_ino)
    assert me.identity.start_ticks == parse_start_time(Path("/proc/self/stat").read_text())
    assert me.is_same() and Process(os.getpid()).identity == me.identity
    assert me.exe == f"/proc/{os.getpid()}/exe" and me.exe_name() == os.path.realpath(sys.executable)


def test_a_child(child: subprocess.Popen[bytes], me: Process) -> None:
    process = Process(child.pid)
    assert process.is_same() and process.identity != me.identity
    assert process.command_line()[-2:] == ["", "two words"] and process.command_line()[1] == "-c"
    assert process.status()["PPid"] == str(os.getpid())
    child.communicate()
    assert not process.is_same()
    with pytest.raises(TargetError, match=f"there is no process {child.pid}"):
        process.status()


def test_memory(me: Process) -> None:
    buffer = ct.create_string_buffer(TEXT)
    assert me.read_memory(ct.addressof(buffer), len(TEXT)) == TEXT
    buffer[0] = b"W"
    assert me.read_memory(ct.addressof(buffer), 4) == b"What"


@pytest.mark.parametrize("address", [0, 8, 0x7FFF_FFFF_F000, (1 << 64) - 4096])
def test_memory_that_is_not_there(me: Process, address: int) -> None:
    with pytest.raises(TargetError, match=rf"cannot read its memory at {address:#x} \(process {os.getpid()}\)"):
        me.read_memory(address, 4)


def test_memory_that_ends_on_the_way(me: Process) -> None:
    """A short read is no answer."""
    end = next(m.end for m, n in zip(me.mappings(), me.mappings()[1:], strict=False) if "r" in m.permissions
               and m.end != n.start)  # fmt: skip
    assert len(me.read_memory(end - 4, 4)) == 4
    with pytest.raises(TargetError):
        me.read_memory(end - 4, 8)


def test_no_such_process() -> None:
    pid = gone_pid()
    with pytest.raises(TargetError, match=f"there is no process {pid}") as caught:
        Process(pid)
    assert caught.value.exit_code == 3 and caught.value.remedy


def test_a_process_that_has_ended_and_is_not_waited_for() -> None:
    """A zombie has no binary."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(
            TargetError, match=f"process {process.pid} has no binary: it is a kernel thread or a zombie"
        ):
            Process(process.pid)
    finally:
        process.wait()


def test_a_kernel_thread() -> None:
    if Path("/proc/2/comm").exists() and Path("/proc/2/comm").read_text() == "kthreadd\n" and os.geteuid() == 0:
        with pytest.raises(TargetError, match=r"process 2 has no binary: it is a kernel thread or a zombie"):
            Process(2)
    else:
        pytest.skip("kthreadd is not visible here, or only root may look at its binary")


def test_the_running_binary_is_opened(me: Process) -> None:
    fd = me.open_exe()
    try:
        assert os.pread(fd, 4, 0) == b"\x7fELF" and not os.get_inheritable(fd)
    finally:
        os.close(fd)


def code_of(process: Process) -> tuple[int, int]:
    """The address and the offset of the code in the process's file."""
    try:
        with Image(process.exe) as image:
            segment = next(image.executable_segments())
    except BinaryError:
        pytest.skip("this interpreter is built for a machine that is not read")
    return segment.address, segment.offset


def test_the_load_bias_leads_from_the_file_to_memory(me: Process) -> None:
    address, offset = code_of(me)
    bias = me.load_bias([(address, offset)])
    assert bias % os.sysconf("SC_PAGESIZE") == 0
    data = Path(sys.executable).read_bytes()[offset : offset + 64]
    assert me.read_memory(address + bias, 64) == data
    with pytest.raises(TargetError, match="does not map the code"):
        me.load_bias([(address, offset + (1 << 40))])


def test_sites_of_a_process(me: Process) -> None:
    """Real memory against three versions of what the file might say."""
    buffer = ct.create_string_buffer(bytes.fromhex("cc12345678"))
    at = ct.addressof(buffer)
    wanted = {"cc12345678": SiteState.CLEAN, "e812345678": SiteState.BREAKPOINT, "e812345679": SiteState.DIFFERENT}
    probes = {
        Probe(None, TAKEOVER, "f", at - 0x1000, 0, bytes.fromhex(data), "call", True, "test"): state
        for data, state in wanted.items()
    }
    assert site_states(me, 0x1000, probes) == probes


@pytest.mark.parametrize(
    ("machine", "memory", "state"),
    [
        ("x86_64", "cc000094", SiteState.BREAKPOINT),
        ("aarch64", "a00020d4", SiteState.BREAKPOINT),
        ("aarch64", "000020d4", SiteState.DIFFERENT),  # a debugger's brk
        ("aarch64", "cc000094", SiteState.DIFFERENT),
        ("aarch64", "02000094", SiteState.CLEAN),
        ("riscv64", "a00020d4", SiteState.DIFFERENT),
    ],
)
def test_the_host_s_breakpoint(machine: str, memory: str, state: SiteState, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a uprobe writes is the host's business; aarch64's takes a whole instruction."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    assert site_state(bytes.fromhex(memory), bytes.fromhex("02000094")) is state
