"""Stops a QEMU at one of its own call sites, so that what is to happen in the middle of a phase does happen there.

A BPF program of a few lines on the site sends SIGSTOP to the thread that passes it, and with it to the whole process.
It runs in the kernel, so that nothing has to be fast enough, and needs no debugger.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colotrace.kernel.compiler import bpf_directory, import_bcc
from colotrace.kernel.link import BPF_TRACE_UPROBE_MULTI, UprobeMultiLink
from colotrace.phases import Role
from colotrace.resolve.resolver import resolve

_PROGRAM = """
#include <uapi/linux/ptrace.h>
BPF_ARRAY(passed, u64, 1);
int stop(struct pt_regs *ctx)
{
	int zero = 0;
	u64 *count = passed.lookup(&zero);
	if (count && __sync_fetch_and_add(count, 1) == 0)
		bpf_send_signal(19);
	return 0;
}
"""
DEADLINE_S = 20.0


@contextlib.contextmanager
def frozen_at(pid: int, role: Role, boundary: str) -> Iterator[None]:
    """Within the block the process stands still at the first pass of that boundary; SIGCONT ends that, or the caller.

    `boundary` is a name that colotrace inspect prints. AssertionError if it is not passed within DEADLINE_S.
    """
    plan = resolve(f"/proc/{pid}/exe")
    offsets = [probe.file_offset for probe in plan.roles[role].probes if probe.boundary.name == boundary]
    assert offsets, f"no probe marks {boundary} on the {role.value}"
    program = compiled(_PROGRAM)
    try:
        function = program.load_func(b"stop", import_bcc().KPROBE, attach_type=BPF_TRACE_UPROBE_MULTI)
        link = UprobeMultiLink(function.fd, f"/proc/{pid}/exe", pid, offsets, [0] * len(offsets))
        until = time.monotonic() + DEADLINE_S
        while not is_stopped(pid):
            assert time.monotonic() < until, f"process {pid} did not pass {boundary} within {DEADLINE_S:g} s"
            time.sleep(0.002)
        link.close()
    finally:
        program.cleanup()
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 18)


def is_stopped(pid: int) -> bool:
    """Whether every thread of the process has stopped."""
    states = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return bool(states) and set(states) == {"T"}


def compiled(source: str) -> Any:
    """A bcc program from its source, without kernel headers; cleanup() removes it."""
    before = os.environ.get("BCC_KERNEL_SOURCE")
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_directory() / "headers")
    try:
        return import_bcc()(text=source.encode())
    finally:
        if before is None:
            del os.environ["BCC_KERNEL_SOURCE"]
        else:
            os.environ["BCC_KERNEL_SOURCE"] = before
