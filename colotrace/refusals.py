"""When nothing is armed because the VM could be hurt: each refusal says what was found and what to do about it.

What a process and its kernel forbid altogether (a debugger, a shadow stack, lockdown) is in colotrace.kernel.preflight.
"""

from __future__ import annotations

import os
from collections import Counter

from colotrace.checkpoint import Note
from colotrace.errors import PlanError
from colotrace.kernel import preflight
from colotrace.kernel.consumers import uprobe_consumers
from colotrace.resolve.plan import ProbePlan
from colotrace.target.process import Process
from colotrace.target.sites import SiteState, site_states

NOP5 = bytes.fromhex("0f1f440000")
"""The five-byte nop of x86-64 that the kernel replaces by a call into a trampoline (Linux 6.18)."""


def check_plan(plan: ProbePlan) -> None:
    """Refuses a plan that means two things at one place, or that this kernel would arm at the cost of the stack.

    The resolver makes no such plan; whoever else made this one, the VM does not pay for it.
    """
    places = Counter(probe.file_offset for probe in plan.probes)
    offset, count = places.most_common(1)[0] if places else (0, 0)
    if count > 1:
        names = ", ".join(probe.boundary.name for probe in plan.probes if probe.file_offset == offset)
        raise PlanError(
            f"the plan for {plan.path} is ambiguous: {names} are all at file offset {offset:#x}",
            "Nothing was armed. Please report what colotrace inspect prints.",
        )
    nops = [probe for probe in plan.probes if probe.data == NOP5]
    if nops and preflight.clobbers_red_zone():
        raise PlanError(
            f"{nops[0].boundary.name} at {nops[0].address:#x} is a five-byte nop, and Linux {os.uname().release} makes "
            "a call of a probed one, which overwrites what the code keeps below its stack pointer",
            "Nothing was armed. A kernel before 6.18 steps over such a nop instead.",
        )


def check_build_id(process: Process, plan: ProbePlan, bias: int) -> None:
    """Refuses if the process's memory holds another build-id than the file that the plan was made from."""
    if plan.build_id is None or plan.build_id_at is None:
        return
    found = process.read_memory(plan.build_id_at + bias, len(plan.build_id) // 2).hex()
    if found != plan.build_id:
        raise PlanError(
            f"process {process.pid} has the build-id {found} in its memory, and its file has {plan.build_id}",
            "Nothing was armed. Either its file was overwritten in place while it ran, or its memory: start QEMU again "
            "from the file as it is now.",
        )


def check_sites(process: Process, plan: ProbePlan, bias: int) -> Note | None:
    """Refuses unless memory equals the file, but for int3s of another tracer's uprobes, which the note tells of."""
    states = site_states(process, bias, plan.probes)
    different = [probe for probe, state in states.items() if state is SiteState.DIFFERENT]
    if different:
        more = f" and {len(different) - 1} more places" if len(different) > 1 else ""
        raise PlanError(
            f"the code of process {process.pid} differs from its file at {different[0].address:#x} "
            f"({different[0].boundary.name}){more}",
            "Nothing was armed. Has somebody patched it in memory?",
        )
    taken = [probe for probe, state in states.items() if state is SiteState.BREAKPOINT]
    if not taken:
        return None
    try:
        known = other_uprobes(process)
    except OSError as error:
        raise PlanError(
            f"{len(taken)} places in process {process.pid} hold a breakpoint; the kernel does not tell whose: {error}",
            "End the other tracer, or run colotrace with CAP_SYS_ADMIN so that it may ask.",
        ) from error
    strange = [probe for probe in taken if probe.file_offset not in known]
    if strange:
        raise PlanError(
            f"process {process.pid} has a breakpoint at {strange[0].address:#x} ({strange[0].boundary.name}), and the "
            "kernel knows no uprobe there",
            "Nothing was armed. A debugger has left it, or a tracer without a BPF program has set it.",
        )
    message = (
        f"another tracer probes process {process.pid} at {len(taken)} of our places as well; each hit there costs more"
    )
    return Note("shared", message, process.pid)


def other_uprobes(process: Process) -> set[int]:
    """The file offsets in a process's binary that have uprobes, whoever set them. Raises OSError if we may not ask."""
    return {offset for one in uprobe_consumers() if _same_file(one.path, process) for offset in one.offsets}


def _same_file(path: str, process: Process) -> bool:
    try:
        file = os.stat(path)
    except OSError:
        return path.removesuffix(" (deleted)") == process.exe_name().removesuffix(" (deleted)")
    return (file.st_dev, file.st_ino) == (process.identity.device, process.identity.inode)
