"""What happens in the child between fork and exec, so that the process that runs is QEMU itself with no wrapper:
it dies with the lab, and it may live in a chroot.

The chroot's mounts (/dev, /proc, the run directory) are made in a mount namespace of that QEMU alone. They are never
visible outside, and the kernel undoes them when QEMU ends, however it or the lab dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from .errors import MachineError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CLONE_NEWNS = 0x00020000  # linux/sched.h
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18  # linux/mount.h
RUN_PARENT = Path("/run")
"""Where the run directory must be for a chroot: /run inside is covered by a tmpfs that holds it at the same path."""

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: the child only calls


def check_chroot(chroot: Path) -> None:
    """Raises MachineError if `chroot` is not a directory tree that a QEMU can be confined to."""
    for needed in (chroot, chroot / "dev", chroot / "proc", chroot / "run"):
        if not needed.is_dir():
            raise MachineError(f"{needed} is not a directory", "--chroot takes an unpacked system, e.g. of mmdebstrap")


def die_with_parent(dying_signal: int) -> Callable[[], None]:
    """For Popen(preexec_fn=...): the kernel sends the signal when the thread that forked ends, e.g. of SIGKILL."""
    parent = os.getpid()

    def in_child() -> None:
        call("prctl", _PR_SET_PDEATHSIG, dying_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return in_child


def enter(chroot: Path | None, run_directory: Path) -> Callable[[], None]:
    """For Popen(preexec_fn=...): die_with_parent(SIGKILL), then into the chroot. What fails is told on stderr."""
    mortal = die_with_parent(signal.SIGKILL)

    def in_child() -> None:
        try:
            mortal()
            if chroot is not None:
                _enter_chroot(chroot, run_directory)
        except BaseException:
            os.write(2, traceback.format_exc(limit=0).encode())  # Popen itself says only that preexec_fn failed
            raise

    return in_child


def _enter_chroot(chroot: Path, run_directory: Path) -> None:
    call("unshare", _CLONE_NEWNS)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)  # else these mounts would spread to the host
    _mount("/dev", chroot / "dev", None, _MS_BIND | _MS_REC)
    _mount("/proc", chroot / "proc", None, _MS_BIND | _MS_REC)
    _mount("colo-lab", chroot / "run", "tmpfs", 0)
    inside = chroot / run_directory.relative_to("/")
    inside.mkdir(mode=0o700, parents=True)
    _mount(run_directory, inside, None, _MS_BIND)
    os.chroot(chroot)
    os.chdir("/")


def _mount(source: str | Path, target: str | Path, filesystem: str | None, flags: int) -> None:
    kind = None if filesystem is None else filesystem.encode()
    call("mount", os.fsencode(source), os.fsencode(target), kind, ctypes.c_ulong(flags), None)


def call(function: str, *arguments: object) -> None:
    """A function of the C library that returns 0; OSError with errno otherwise. Safe between fork and exec."""
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}{arguments}: {os.strerror(number)}")
