"""The lines of one process: may it be looked at, must it be left alone, where does it run, what can be timed in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from colotrace.arming import Plans, prepare
from colotrace.diagnosis import Check, of_error, ok, warn
from colotrace.errors import ColotraceError
from colotrace.kernel.preflight import TARGET_CHECKS
from colotrace.phases import Phase
from colotrace.plancache import plan_for
from colotrace.resolve.plan import ProbePlan, Quality, RolePlan
from colotrace.target.discovery import vm_name
from colotrace.target.process import Process

_ARMING = "arming"
_CONTAINER = re.compile(r"docker|libpod|crio|containerd|kubepods|lxc|nspawn")


def target_checks(pid: int) -> tuple[Check, ...]:
    """All lines of a process; a single one if it is not there or may not be looked at."""
    try:
        process = Process(pid)
        first = ok("process", _who(process))
        checks = [first, *(check(process) for check in TARGET_CHECKS), container(process)]
    except ColotraceError as error:
        return (of_error("process", error, _ARMING),)
    try:
        fd = process.open_exe()
        try:
            plan = plan_for(f"/proc/self/fd/{fd}", process.exe_name())
        finally:
            os.close(fd)
    except ColotraceError as error:
        return (*checks, of_error("plan", error, _ARMING))
    return (*checks, plan_check(plan), memory(process, plan))


def _who(process: Process) -> str:
    name = vm_name(process.command_line())
    uid = process.status().get("Uid", "?").split()[0]
    return f"{name or 'no name'}, {process.exe_name()}, user {uid}"


def container(process: Process) -> Check:
    """Whether it runs in a pid namespace of its own; no obstacle, since its binary is opened through /proc."""
    pids = process.status().get("NSpid", "").split()
    found = "in this pid namespace" if len(pids) < 2 else f"in a pid namespace of its own, as pid {pids[-1]}"
    try:
        cgroup = Path(f"/proc/{process.pid}/cgroup").read_text("utf-8", "replace").strip().rpartition(":")[2]
    except OSError as error:
        return warn(
            "container", f"{found}; its cgroup is unknown ({error.strerror})", "knowing whether it is in a container",
            "Nothing: it is no obstacle.",
        )  # fmt: skip
    if _CONTAINER.search(cgroup):
        found += f"; cgroup {cgroup}"
    return ok("container", f"{found}; its binary is opened through /proc/{process.pid}/exe")


def plan_check(plan: ProbePlan) -> Check:
    """How many phases of each role can be timed exactly, and why not the others."""
    counts = ", ".join(f"{role.value} {_exact(one)} of {len(one.phases)}" for role, one in plan.roles.items())
    found = f"QEMU {plan.qemu_version}; phases that are exact: {counts}"
    inexact = [f"{role.value} {phase.value}" for role, one in plan.roles.items() for phase in _inexact(one)]
    if not inexact:
        return ok("plan", found)
    why = [f"{one.role.value if one.role else 'both roles'}: {one.what}: {one.reason}" for one in plan.unresolved]
    return warn(
        "plan", "; ".join([found, *why]), f"exact times of {', '.join(inexact)}",
        "colotrace inspect --pid has the evidence; with --debug-file or --debuginfod it may find more names.",
    )  # fmt: skip


def memory(process: Process, plan: ProbePlan) -> Check:
    """Whether its memory holds the file's code at every probe, as attaching compares it."""
    known: Plans = {(process.identity.device, process.identity.inode): plan}
    try:
        target = prepare(0, process.pid, known)
    except ColotraceError as error:
        return of_error("memory", error, _ARMING)
    target.close()
    shared = [note.message for note in target.notes if note.event == "shared"]
    if shared:
        return warn("memory", shared[0], "nothing", "End the other tracer, if the VM should not pay for two.")
    return ok("memory", f"equals the file at all {len(plan.probes)} probes")


def _exact(role: RolePlan) -> int:
    return len(role.phases) - len(_inexact(role))


def _inexact(role: RolePlan) -> list[Phase]:
    return [phase for phase, quality in role.phases.items() if quality is not Quality.EXACT]
