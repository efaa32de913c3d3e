"""A process made ready to be probed: its binary resolved, and its memory proven to hold the same code.

Nothing here needs the kernel program; what is not proven is refused (colotrace.refusals), because the VM comes first.
"""

from __future__ import annotations

import contextlib
import os
import select
from dataclasses import dataclass, field

from colotrace import refusals
from colotrace.checkpoint import Note
from colotrace.errors import TargetError
from colotrace.failover import FailoverWatch
from colotrace.kernel import layout, preflight
from colotrace.phases import OUTSIDE_TOTAL, Effect, Phase, Role
from colotrace.plancache import plan_for
from colotrace.resolve.nameoptions import ONLY_THIS_HOST, NameOptions
from colotrace.resolve.plan import UNTRIED_MACHINES, Probe, ProbePlan, Quality, RolePlan
from colotrace.silence import Silence
from colotrace.target.discovery import vm_name, vm_uuid
from colotrace.target.process import Process

Plans = dict[tuple[int, int], ProbePlan]
"""Plans by device and inode: several QEMUs of one file are resolved once."""


@dataclass
class AttachedTarget:
    """One process with its probes armed."""

    index: int
    process: Process
    plan: ProbePlan
    bias: int
    exe_fd: int
    """The binary that the plan was made from; armed through this, so that an execve in between cannot matter."""
    pidfd: int
    name: str | None
    uuid: str | None = None
    notes: list[Note] = field(default_factory=list)
    role: Role | None = None
    armed: bool = False
    alive: bool = True
    lost: bool = False
    unseen: bool = False
    """We may not look at the process any more."""
    silence: Silence = field(default_factory=Silence)

    def __post_init__(self) -> None:
        hears_takeover = any(probe.boundary.effects & Effect.TAKEOVER for probe in self.probes)
        secondary = self.plan.roles[Role.SECONDARY].probes
        self.watch = FailoverWatch(hears_takeover, {probe.boundary.mark for probe in secondary if probe.boundary.mark})
        """Its failovers, from its events."""

    @property
    def pid(self) -> int:
        """The pid as this process sees it."""
        return self.process.pid

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All its probes."""
        return self.plan.probes

    def has_ended(self) -> bool:
        """Whether the process has."""
        poll = select.poll()  # select(2) cannot take descriptors from 1024 on
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Closes its descriptors; safe to call twice."""
        for fd in (self.pidfd, self.exe_fd):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.exe_fd = -1


def prepare(index: int, pid: int, plans: Plans, names: NameOptions = ONLY_THIS_HOST) -> AttachedTarget:
    """A target whose binary is resolved and whose memory holds the same code; `names` as for resolve().

    Raises TargetError, BinaryError, PlanError or PermissionsError.
    """
    process = Process(pid)
    preflight.check_target(process)
    with contextlib.ExitStack() as undo:
        pidfd = process.open_pidfd()
        undo.callback(os.close, pidfd)
        exe_fd = process.open_exe()
        undo.callback(os.close, exe_fd)
        file = (process.identity.device, process.identity.inode)
        plan = plans.get(file)
        if plan is None:
            plan = plans[file] = plan_for(f"/proc/self/fd/{exe_fd}", process.exe_name(), names)
        refusals.check_plan(plan)
        preflight.check_machine(process, plan.machine)
        bias = process.load_bias([(plan.code_address, plan.code_offset)])
        arguments = process.command_line()
        target = AttachedTarget(index, process, plan, bias, exe_fd, pidfd, vm_name(arguments), vm_uuid(arguments))
        refusals.check_build_id(process, plan, bias)
        shared = refusals.check_sites(process, plan, bias)
        target.notes += [*([shared] if shared else []), *_limits(target)]
        undo.pop_all()
    return target


def look_again(target: AttachedTarget) -> None:
    """What prepare() has proven and may have changed since, just before arming: others were prepared meanwhile, and the
    kernel program may have been compiled. Raises as prepare() does."""
    if not target.process.is_same():
        raise TargetError(f"process {target.pid} has become another program", "Try again.")
    preflight.check_target(target.process)
    refusals.check_sites(target.process, target.plan, target.bias)


def _limits(target: AttachedTarget) -> list[Note]:
    """What the reader of the figures must know from the start."""
    notes = []
    for role, plan in target.plan.roles.items():
        unproven = {p.value: quality.value if quality else "not at all" for p, quality in plan.phases.items()}
        unproven = {phase: how for phase, how in unproven.items() if how != Quality.EXACT.value}
        if unproven:
            message = (
                f"as a {role.value}, process {target.pid} can be timed in part only: "
                f"{', '.join(f'{phase} {how}' for phase, how in unproven.items())}; colotrace inspect says why"
            )
            notes.append(Note("partial-plan", message, target.pid, {"role": role.value, "phases": unproven}))
    if target.plan.machine in UNTRIED_MACHINES:
        message = f"attaching to process {target.pid}: {UNTRIED_MACHINES[target.plan.machine]}"
        notes.append(Note("untested-machine", message, target.pid, {"machine": target.plan.machine}))
    if not preflight.pid_filter_is_sound():
        message = (
            "this kernel's links cannot be confined to one process: every process that runs this QEMU binary pays for "
            "the probes, and only the one asked for is counted"
        )
        notes.append(Note("unconfined", message, target.pid))
    return notes


def pid_filter(target: AttachedTarget) -> int:
    """The process that the link is confined to; 0 where the kernel cannot do that and the program compares the tgid."""
    return target.pid if preflight.pid_filter_is_sound() else 0


def settings_of(target: AttachedTarget) -> layout.Target:
    """What the kernel program must know of a target."""
    settings = layout.Target()
    if not preflight.pid_filter_is_sound():
        settings.tgid = target.pid
    counters = target.plan.ram_counters
    for at, address in enumerate(counters.bytes_at):
        settings.ram_bytes_at[at] = address + target.bias
    for at, address in enumerate(counters.pages_at):
        settings.ram_pages_at[at] = address + target.bias
    for role, plan in target.plan.roles.items():
        settings.expected[role.number] = layout.SEEN_BEGIN
        for phase, quality in plan.phases.items():
            bit = 1 << phase.number - 1
            if quality is not None and phase is not Phase.INIT:
                settings.expected[role.number] |= bit
            if phase not in OUTSIDE_TOTAL:
                settings.parts[role.number] |= bit
        settings.expected[role.number] |= _sure_besides(plan)
    return settings


def _sure_besides(plan: RolePlan) -> int:
    """The `seen` bits besides the phases' that a whole checkpoint has: every path of success passes them."""
    effects = Effect.NONE
    for probe in plan.probes:
        if probe.proven:
            effects |= probe.boundary.effects
    pause = Effect.PAUSE_BEGIN | Effect.PAUSE_END
    return (layout.SEEN_PAUSE if effects & pause == pause else 0) | (
        layout.SEEN_DEVICE_BYTES if effects & Effect.DEVICE_BYTES else 0
    )
