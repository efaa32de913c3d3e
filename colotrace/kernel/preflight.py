"""What must be true before anything is loaded or armed; each check names what is missing and how to get it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from colotrace.errors import GET_PRIVILEGES, EnvironmentFault, PermissionsError, PlanError
from colotrace.target.process import Process, parse_status

_CAPABILITIES = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_OLDEST_KERNEL = (6, 6)
_PID_FILTER_FIXED = (6, 10)
_NOP5_BY_CALL = (6, 18)
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO, include/linux/proc_ns.h."""
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


def capabilities(status_text: str) -> set[str]:
    """Those effective capabilities, of the ones that matter here, in the text of a /proc/PID/status."""
    mask = int(parse_status(status_text).get("CapEff", "0"), 16)
    return {name for name, bit in _CAPABILITIES.items() if mask >> bit & 1}


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of a kernel release such as 6.1.0-18-amd64; (0, 0) if it cannot be read."""
    found = re.match(r"(\d+)(?:\.(\d+))?", release)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def check_host() -> None:
    """Raises EnvironmentFault or PermissionsError if this host or user cannot load and arm the program."""
    version = kernel_version(os.uname().release)
    if version < _OLDEST_KERNEL:
        raise EnvironmentFault(
            f"Linux {os.uname().release} is too old: arming all probes by one link needs 6.6 or newer",
            "Run it under a newer kernel.",
        )
    try:
        lockdown = _LOCKDOWN.read_text("ascii")
    except OSError:
        lockdown = ""
    if "[confidentiality]" in lockdown:
        raise EnvironmentFault(
            "the kernel is locked down (confidentiality): BPF programs may not read memory",
            "Boot with lockdown=integrity or none; Secure Boot may have set it.",
        )
    have = capabilities(Path("/proc/self/status").read_text("ascii"))
    if "CAP_SYS_ADMIN" not in have:
        missing = [name for name in ("CAP_BPF", "CAP_PERFMON") if name not in have]
        if missing:
            raise PermissionsError(
                f"{' and '.join(missing)} missing: they are needed to load and arm probes", GET_PRIVILEGES
            )


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


def check_confinement() -> None:
    """Raises EnvironmentFault where only the program itself can tell processes apart, and does not see our pids."""
    if not pid_filter_is_sound() and os.readlink("/proc/self/ns/pid") != _INITIAL_PID_NAMESPACE:
        raise EnvironmentFault(
            f"Linux {os.uname().release} can tell processes apart only in the initial pid namespace; this is another",
            "Run colotrace on the host itself, outside any container, or under Linux 6.10 or newer.",
        )


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
    """Raises PlanError if the process must not be probed now.

    A debugger takes its breakpoints out of memory whenever the process stops and puts them back when it goes on, over
    whatever stands there by then: a probe beside it is wiped out, or the instruction below is lost, and with it the VM.
    And the kernel's emulation of a call knows no shadow stack.
    """
    tracer = process.tracer()
    if tracer:
        raise PlanError(
            f"process {process.pid} is being traced by process {tracer} (a debugger, or strace)",
            "Nothing was armed: its breakpoints and our probes would overwrite each other. Let it detach first.",
        )
    if "shstk" in process.status().get("x86_Thread_features", ""):
        raise PlanError(
            f"process {process.pid} runs with a user shadow stack, and an emulated call would break it",
            "Start QEMU without it (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off).",
        )
