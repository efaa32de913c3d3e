"""What must be true before anything is loaded or armed: one function a check, and none of them changes anything.

Attaching requires them all (check_host, check_target); `colotrace doctor` prints what they found. Where something
cannot be looked at, a check warns and says why: that it is well, nobody knows.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from colotrace.diagnosis import Check, fail, ok, require, warn
from colotrace.errors import GET_PRIVILEGES, EnvironmentFault, PermissionsError, PlanError
from colotrace.kernel.host import Host, kernel_version
from colotrace.kernel.installation import INSTALLATION_CHECKS
from colotrace.target.process import Process

_OLDEST_KERNEL = (6, 6)
_PID_FILTER_FIXED = (6, 10)
_NOP5_BY_CALL = (6, 18)
_NEEDED_OPTIONS = {
    "CONFIG_BPF_SYSCALL": "loading BPF programs",
    "CONFIG_BPF_EVENTS": "BPF programs on probes",
    "CONFIG_UPROBES": "probes in user space",
    "CONFIG_CROSS_MEMORY_ATTACH": "comparing QEMU's memory with its file",
}
_LOCKDOWN = "sys/kernel/security/lockdown"
_ARMING = "loading and arming the probes"


def pid_filter_is_sound() -> bool:
    """Whether a link's pid filter matches all threads of the process (commit 46ba0e49b642, Linux 6.10).

    Before, it matches the main thread only, and COLO never runs there: the program then compares the tgid itself.
    """
    return kernel_version(os.uname().release) >= _PID_FILTER_FIXED


def clobbers_red_zone() -> bool:
    """Whether a probe on a five-byte nop becomes a call, which pushes into the red zone (Linux 6.18, x86-64; commit
    "uprobes/x86: Add support to optimize uprobes"). It was found in May 2026; which releases have the fix is not known
    here, and so all from 6.18 on count."""
    return os.uname().machine == "x86_64" and kernel_version(os.uname().release) >= _NOP5_BY_CALL


def kernel(host: Host) -> Check:
    """The kernel's version."""
    version = kernel_version(host.release)
    if version < _OLDEST_KERNEL:
        found = f"Linux {host.release} is too old: arming all probes by one link needs 6.6 or newer"
        return fail("kernel", found, _ARMING, "Run it under a newer kernel.", EnvironmentFault)
    if version < _PID_FILTER_FIXED:
        return warn(
            "kernel", f"Linux {host.release}: a link's pid filter misses threads (before 6.10)",
            "confining the probes to one process: every process of the same QEMU file pays for them",
            "Linux 6.10 or newer confines them.",
        )  # fmt: skip
    return ok("kernel", f"Linux {host.release}")


def kernel_options(host: Host) -> Check:
    """What was built into the kernel."""
    name = "kernel options"
    if host.options is None:
        return warn(
            name, f"unknown: neither /proc/config.gz nor /boot/config-{host.release} can be read",
            "knowing beforehand that the kernel has BPF and uprobes; the self-test tells",
            "Build the kernel with CONFIG_IKCONFIG_PROC, or install its configuration.",
        )  # fmt: skip
    missing = {option: what for option, what in _NEEDED_OPTIONS.items() if host.options.get(option) != "y"}
    if missing:
        return fail(
            name, f"this kernel was built without {', '.join(missing)}", ", ".join(missing.values()),
            "Run a kernel with them, such as the distribution's.", EnvironmentFault,
        )  # fmt: skip
    return ok(name, f"{', '.join(option.removeprefix('CONFIG_') for option in _NEEDED_OPTIONS)} are in")


def uprobes(host: Host) -> Check:
    """Whether the running kernel offers uprobes."""
    if host.has("sys/bus/event_source/devices/uprobe"):
        return ok("uprobes", "the kernel offers them (/sys/bus/event_source/devices/uprobe)")
    if host.options is not None and host.options.get("CONFIG_UPROBES") == "y":
        return ok("uprobes", "built in; their perf events cannot be seen here, and are not needed")
    return warn(
        "uprobes", "unknown: /sys/bus/event_source/devices/uprobe cannot be seen", "knowing beforehand that they work",
        "Look outside the container; the self-test tells as well.",
    )  # fmt: skip


def btf(host: Host) -> Check:
    """The kernel's type information, which bcc's way of compiling does without."""
    there = host.has("sys/kernel/btf/vmlinux")
    return ok("BTF", f"{'there' if there else 'not there'}; not needed, the program reads no structure of the kernel's")


def lockdown(host: Host) -> Check:
    """Whether the kernel is locked down against root."""
    try:
        state = host.text(_LOCKDOWN).strip()
    except OSError as error:
        options = host.options or {}
        if options and "CONFIG_SECURITY_LOCKDOWN_LSM" not in options:
            return ok("lockdown", "not built into this kernel")
        return warn(
            "lockdown", f"unknown: /{_LOCKDOWN} cannot be read ({error.strerror})",
            "knowing beforehand whether BPF programs may read memory; the self-test tells",
            "mount -t securityfs securityfs /sys/kernel/security",
        )  # fmt: skip
    if "[confidentiality]" in state:
        return fail(
            "lockdown", "the kernel is locked down (confidentiality): BPF programs may not read memory", _ARMING,
            "Boot with lockdown=integrity or none; Secure Boot may have set it.", EnvironmentFault,
        )  # fmt: skip
    return ok("lockdown", state)


def own_capabilities(host: Host) -> Check:
    """This process's effective capabilities; what another user's QEMU needs beyond arming is a warning."""
    name = "capabilities"
    try:
        have, is_initial = host.capabilities(), host.is_initial("user")
    except OSError as error:
        return _unknown(name, error)
    missing = [] if "CAP_SYS_ADMIN" in have else [one for one in ("CAP_BPF", "CAP_PERFMON") if one not in have]
    if missing:
        found = f"{' and '.join(missing)} missing"
        return fail(name, found, _ARMING, GET_PRIVILEGES, PermissionsError)
    if not is_initial:
        return fail(
            name, f"{', '.join(sorted(have))} effective, but in a user namespace, where they do not count", _ARMING,
            "Run colotrace on the host, or in a container without a user namespace of its own.", PermissionsError,
        )  # fmt: skip
    found = f"{', '.join(sorted(have))} effective"
    if "CAP_SYS_PTRACE" not in have:
        return warn(name, f"{found}; no CAP_SYS_PTRACE", "QEMUs of other users (their memory)", GET_PRIVILEGES)
    return ok(name, found)


def bpf_sysctl(host: Host) -> Check:
    """Whether users without privileges may use bpf(2): of no matter to those who have them."""
    return _sysctl(host, "kernel.unprivileged_bpf_disabled", "of no matter to whoever has CAP_BPF")


def perf_sysctl(host: Host) -> Check:
    """Who may open perf events: a link needs none."""
    return _sysctl(host, "kernel.perf_event_paranoid", "of no matter: probes are armed without perf events")


def ptrace_scope(host: Host) -> Check:
    """Yama may forbid reading another process's memory, even to root."""
    name = "kernel.yama.ptrace_scope"
    try:
        scope, have = host.text("proc/sys/kernel/yama/ptrace_scope").strip(), host.capabilities()
    except FileNotFoundError:
        return ok(name, "not there: Yama is not active")
    except OSError as error:
        return _unknown(name, error)
    if scope == "3":
        return fail(
            name, "3: nobody may read another process's memory, not even root", "comparing QEMU's memory with its file",
            "Boot with another kernel.yama.ptrace_scope: 3 cannot be left while the system runs.", EnvironmentFault,
        )  # fmt: skip
    if scope in ("1", "2") and "CAP_SYS_PTRACE" not in have:
        return warn(name, f"{scope}: without CAP_SYS_PTRACE", "QEMUs, even of this same user", GET_PRIVILEGES)
    return ok(name, f"{scope}: no obstacle")


def memlock(_host: Host) -> Check:
    """The limit on locked memory, which BPF's maps counted against before Linux 5.11."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    size = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,} bytes"
    return ok("memlock", f"{size}; of no matter since Linux 5.11: maps are charged to the memory cgroup")


def pid_namespace(host: Host) -> Check:
    """Whether this process is in a container, as far as pids go."""
    name = "pid namespace"
    try:
        initial = host.is_initial("pid")
    except OSError as error:
        return _unknown(name, error)
    if initial:
        return ok(name, "the host's own")
    if kernel_version(host.release) < _PID_FILTER_FIXED:
        found = f"Linux {host.release} can tell processes apart only in the initial pid namespace; this is another"
        return fail(
            name, found, _ARMING,
            "Run colotrace on the host itself, outside any container, or under Linux 6.10 or newer.", EnvironmentFault,
        )  # fmt: skip
    return warn(name, "a container's", "QEMUs outside the container", "Run colotrace on the host to trace all of them.")


HOST_CHECKS: tuple[Callable[[Host], Check], ...] = (
    kernel, kernel_options, uprobes, btf, lockdown, own_capabilities, bpf_sysctl, perf_sysctl, ptrace_scope, memlock,
    pid_namespace, *INSTALLATION_CHECKS,
)  # fmt: skip
"""In this order: attaching ends with the error of the first one that fails."""


def check_host() -> None:
    """Raises EnvironmentFault or PermissionsError if this host or user cannot load and arm the program."""
    host = Host()
    require(check(host) for check in HOST_CHECKS)


def debugger(process: Process) -> Check:
    """Whether somebody traces the process.

    A debugger takes its breakpoints out of memory whenever the process stops and puts them back when it goes on, over
    whatever stands there by then: a probe beside it is wiped out, or the instruction below is lost, and with it the VM.
    """
    tracer = process.tracer()
    if not tracer:
        return ok("debugger", "none (TracerPid 0)")
    return fail(
        "debugger", f"process {process.pid} is being traced by process {tracer} (a debugger, or strace)", "arming",
        "Nothing was armed: its breakpoints and our probes would overwrite each other. Let it detach first.", PlanError,
    )  # fmt: skip


def shadow_stack(process: Process) -> Check:
    """Whether the process has a user shadow stack, which the kernel's emulation of a call knows nothing of."""
    features = process.status().get("x86_Thread_features")
    if features is None:
        return ok("shadow stack", "none: this kernel has no user shadow stacks")
    if "shstk" not in features.split():
        return ok("shadow stack", "off")
    return fail(
        "shadow stack", f"process {process.pid} runs with a user shadow stack, and an emulated call would break it",
        "arming", "Start QEMU without it (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off).", PlanError,
    )  # fmt: skip


TARGET_CHECKS: tuple[Callable[[Process], Check], ...] = (debugger, shadow_stack)


def check_machine(process: Process, machine: str) -> None:
    """Raises PlanError if the process runs code of another machine than this host's, by an emulator of its own.

    What stands in its memory is then not what the processor runs.
    """
    host = os.uname().machine
    if machine != host:
        raise PlanError(
            f"process {process.pid} runs a QEMU built for {machine}, and this host is {host}",
            "Nothing was armed: its code is run by an emulator. Run colotrace and the VM on a host of that machine.",
        )


def check_target(process: Process) -> None:
    """Raises PlanError if the process must not be probed now."""
    require(check(process) for check in TARGET_CHECKS)


def _sysctl(host: Host, name: str, meaning: str) -> Check:
    try:
        value = host.text("proc/sys/" + name.replace(".", "/")).strip()
    except FileNotFoundError:
        value = "not there"
    except OSError as error:
        return _unknown(name, error)
    return ok(name, f"{value}; {meaning}")


def _unknown(name: str, error: OSError) -> Check:
    return warn(
        name, f"unknown: {error.strerror}", "knowing beforehand; the self-test tells", "Look with more privileges."
    )
