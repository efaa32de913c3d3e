"""What is refused on a real QEMU, with nothing armed; and attach --dry-run, which arms nothing by the kernel's word."""

from __future__ import annotations

import ctypes as ct
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from support import colotrace, json_lines, leftovers
from torture_lab.freeze import compiled

import colotrace as library
from colotrace.errors import PlanError
from colotrace.kernel import preflight
from colotrace.kernel.compiler import import_bcc
from colotrace.kernel.link import BPF_TRACE_UPROBE_MULTI, UprobeMultiLink
from colotrace.phases import Role
from colotrace.rehearsal import Rehearsal, rehearse

BPF_SYSCALL, PERF_EVENT_OPEN = 321, 298
"""x86-64's numbers."""


@pytest.fixture
def idle(make_pair: Callable[..., ColoPair]) -> ColoPair:
    """A pair that is not in COLO: none of its sites is being executed, so that they may be written over."""
    return make_pair(dirty_mib=8, start_colo=False)


@contextmanager
def overwritten(pid: int, address: int, data: bytes) -> Iterator[None]:
    """Other bytes in a process's memory for a while."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(address)
        before = memory.read(len(data))
        memory.seek(address)
        memory.write(data)
        yield
        memory.seek(address)
        memory.write(before)


def refused(pair: ColoPair, *words: str) -> None:
    """By attach and by its rehearsal, with the same words, exit code 5 and nothing armed."""
    before = leftovers()
    for options in ((), ("--dry-run",)):
        run = colotrace("attach", "--pid", pair.primary.pid, "-n", 1, *options)
        assert run.returncode == 5, run.stderr
        for word in (*words, "Nothing was armed"):
            assert word in run.stderr
    assert leftovers() == before


def site(pair: ColoPair, boundary: str) -> tuple[int, bytes]:
    """Where a boundary is in the primary's memory, and its bytes."""
    (one,) = rehearse(pair.primary.pid)
    probe = next(probe for probe in one.plan.roles[Role.PRIMARY].probes if probe.boundary.name == boundary)
    return probe.address + one.bias, probe.data


def test_other_bytes(idle: ColoPair) -> None:
    address, data = site(idle, "reply")
    with overwritten(idle.primary.pid, address, data[:-1] + bytes((data[-1] ^ 1,))):
        refused(idle, "differs from its file", "(reply)")
    assert colotrace("attach", "--pid", idle.primary.pid, "--dry-run").returncode == 0


def test_another_build_id(idle: ColoPair) -> None:
    (one,) = rehearse(idle.primary.pid)
    assert one.plan.build_id and one.plan.build_id_at
    with overwritten(idle.primary.pid, one.plan.build_id_at + one.bias, b"\xee"):
        refused(idle, f"has the build-id ee{one.plan.build_id[2:]} in its memory", f"its file has {one.plan.build_id}")


def test_an_int3_of_nobodys(idle: ColoPair) -> None:
    address, _ = site(idle, "load-begin")
    with overwritten(idle.primary.pid, address, b"\xcc"):
        refused(idle, "has a breakpoint at", "(load-begin)", "the kernel knows no uprobe there")


def test_a_plan_that_is_ambiguous(idle: ColoPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver makes none; this one was made so."""
    from dataclasses import replace

    from colotrace import arming

    def twice(*arguments: object) -> object:
        plan = real(*arguments)  # type: ignore[arg-type]
        return replace(plan, process_probes=plan.process_probes * 2)

    real = arming.plan_for
    monkeypatch.setattr(arming, "plan_for", twice)
    with pytest.raises(PlanError, match="ambiguous: takeover, takeover"):
        library.attach(idle.primary.pid)


def forbid_bpf() -> None:
    """For preexec_fn: seccomp kills this process if it calls bpf(2) or perf_event_open(2)."""
    load, jump_equal, give, kill, allow = 0x20, 0x15, 0x06, 0x8000_0000, 0x7FFF_0000
    rows = [
        (load, 0, 0, 0), (jump_equal, 1, 0, BPF_SYSCALL), (jump_equal, 0, 1, PERF_EVENT_OPEN), (give, 0, 0, kill),
        (give, 0, 0, allow),
    ]  # fmt: skip
    code = ct.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ct.create_string_buffer(struct.pack("HxxxxxxQ", len(rows), ct.addressof(code)))
    libc = ct.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ct.byref(program), 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def test_a_dry_run_loads_and_arms_nothing(pair: ColoPair) -> None:
    """The kernel would kill it if it tried; and it does kill a real run."""
    words = ("attach", "--pid", pair.primary.pid, pair.secondary.pid, "--json")
    run = colotrace(*words, "--dry-run", preexec_fn=forbid_bpf)
    assert run.returncode == 0, run.stderr
    lines = json_lines(run.stdout)
    assert [(line["type"], line["pid"]) for line in lines] == [
        ("dry-run", pair.primary.pid), ("dry-run", pair.secondary.pid),
    ]  # fmt: skip
    for line in lines:
        assert line["link"]["pid_filter"] == line["pid"] and line["link"]["probes"] == len(line["probes"]) > 40
        assert {probe["emulated"] for probe in line["probes"]} == {True}
    assert colotrace(*words, "-n", 1, preexec_fn=forbid_bpf).returncode == -signal.SIGSYS
    text = colotrace("attach", "--pid", pair.primary.pid, "--dry-run", preexec_fn=forbid_bpf).stdout
    assert "Nothing was armed." in text and f"only process {pair.primary.pid}" in text


@pytest.mark.parametrize("role", list(Role))
def test_the_hits_it_expects_are_those_that_come(pair: ColoPair, role: Role) -> None:
    """Between two looks of the kernel's own counters: hits per transaction."""
    vm = pair.primary if role is Role.PRIMARY else pair.secondary
    (expected,) = (one.hits_per_checkpoint(role) for one in rehearse(vm.pid))
    with library.attach(vm.pid) as session:
        looks = []
        for checkpoint in session:
            if checkpoint.completed:
                (summary,) = session.summaries()
                totals = summary.roles[role]
                if totals.idle_since_ns:  # nothing is in flight: only whole checkpoints have been counted
                    looks.append((totals.begun, summary.hits))
            if len(looks) >= 2 and looks[-1][0] - looks[0][0] >= 10:
                break
        (first, hits), (last, later) = looks[0], looks[-1]
    assert later - hits == expected * (last - first), (role, expected, (later - hits) / (last - first))


def test_the_rehearsal_is_what_is_armed(pair: ColoPair) -> None:
    (one,) = rehearse(pair.primary.pid)
    assert isinstance(one, Rehearsal)
    with library.attach(pair.primary.pid) as session:
        (target,) = session.targets
        assert (target.plan, target.bias, target.pid) == (one.plan, one.bias, one.pid)


RED_ZONE = r"""
#include <stdio.h>
#include <unistd.h>
/* A leaf function that keeps two words in its red zone across a five-byte nop. */
__asm__(".text\n.globl leaf\nleaf:\n"
        "movabs $0x1122334455667788, %rax\nmov %rax, -8(%rsp)\nmov %rax, -24(%rsp)\n"
        ".globl site\nsite: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"
        "xor %eax, %eax\nmovabs $0x1122334455667788, %rcx\n"
        "cmp %rcx, -8(%rsp)\nje 1f\ninc %eax\n1: cmp %rcx, -24(%rsp)\nje 2f\ninc %eax\n2: ret\n");
extern int leaf(void);
extern char site[], __executable_start[];
int main(void)
{
    printf("%lx\n", (unsigned long)(site - __executable_start));
    fflush(stdout);
    char go;
    if (read(0, &go, 1) != 1)
        return 1;
    int broken = 0;
    for (int i = 0; i < 1000; i++)
        broken += leaf() != 0;
    printf("%d\n", broken);
    return 0;
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a matter of x86-64")
def test_whether_this_kernel_clobbers_the_red_zone(tmp_path: Path) -> None:
    """If a probed five-byte nop costs a leaf function what it keeps below its stack pointer, we must know it."""
    gcc = shutil.which("gcc")
    assert gcc, "gcc is not installed"
    (tmp_path / "red.c").write_text(RED_ZONE)
    subprocess.run([gcc, "-O1", "-o", tmp_path / "red", tmp_path / "red.c"], check=True, timeout=60)
    with subprocess.Popen([tmp_path / "red"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        offset = int(child.stdout.readline(), 16)
        program = compiled("#include <uapi/linux/ptrace.h>\nint nothing(struct pt_regs *ctx) { return 0; }\n")
        function = program.load_func(b"nothing", import_bcc().KPROBE, attach_type=BPF_TRACE_UPROBE_MULTI)
        link = UprobeMultiLink(function.fd, f"/proc/{child.pid}/exe", child.pid, [offset], [0])
        child.stdin.write("x")
        child.stdin.close()
        broken = int(child.stdout.readline())
        link.close()
        program.cleanup()
    sys.stderr.write(f"Linux {os.uname().release}: {broken} of 1000 calls found their red zone overwritten\n")
    assert preflight.clobbers_red_zone() or not broken
