"""What the lab is asked for, checked before anything is started."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .confine import check_chroot
from .errors import MachineError, SettingsError
from .firmware import RANGE_BEGIN_MIB

DEFAULT_QEMU = "/usr/bin/qemu-system-x86_64"
TRANSPORTS = ("unix", "tcp", "tcp6")
RANGE_END_MIB = 3072  # a PC of more memory has the rest above 4 GiB, where 32-bit code does not reach
KVM_DEVICE = Path("/dev/kvm")


@dataclass(frozen=True)
class Settings:
    """One lab. Sizes in MiB, `delay_ms` in milliseconds, the timeouts in seconds.

    `qemu` is a path (inside `chroot` if there is one) or a name to look up in PATH. `delay_ms` is QEMU's
    x-checkpoint-delay: the time from one checkpoint's begin to the next one's (the guest's pause is part of it).
    `dirty_mib` is what the guest overwrites, page by page, for ever; 0: it halts. `ready_timeout_s` bounds each wait of
    the bring-up, `armed_timeout_s` the wait for COLO_ARMED_FILE. With `self_check` the guest also looks whether what it
    wrote is still there (guest.py); if it is `adjustable`, how much it overwrites can be changed while it runs, up to
    `dirty_mib` (trouble_modes.py). `net` makes it a pair with colo-compare (net.py). `qemu_options` are given
    to both QEMUs besides the lab's own.
    """

    qemu: str = DEFAULT_QEMU
    chroot: Path | None = None
    vcpus: int = 1
    memory_mib: int = 128
    dirty_mib: int = 32
    delay_ms: int = 200
    transport: str = "unix"
    ready_timeout_s: float = 30.0
    armed_timeout_s: float = 60.0
    self_check: bool = False
    adjustable: bool = False
    net: bool = False
    net_every_s: float = 2.0
    qemu_options: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises SettingsError for a request that cannot work, MachineError for a machine that cannot serve it."""
        self._check_numbers()
        self._check_machine()

    def qemu_path(self) -> str:
        """QEMU's absolute path as seen from inside the chroot, if there is one; MachineError if it is not there."""
        path = self.qemu
        if self.chroot is None:
            if "/" not in path:
                path = shutil.which(path) or path
            path = os.path.abspath(path)
        outside = path if self.chroot is None else os.path.join(self.chroot, path.lstrip("/"))
        where = "" if self.chroot is None else f" in {self.chroot}"
        if not os.path.lexists(outside):
            raise MachineError(
                f"no QEMU at {path}{where}", "install qemu-system-x86 there, or name another binary with --qemu PATH"
            )
        # Inside a chroot an absolute link points elsewhere from out here; exec there finds out.
        if not os.path.islink(outside) and not (os.path.isfile(outside) and os.access(outside, os.X_OK)):
            raise MachineError(f"{path}{where} is not an executable file", "name a QEMU binary with --qemu PATH")
        return path if self.chroot is None else "/" + path.lstrip("/")

    def _check_numbers(self) -> None:
        if self.vcpus < 1:
            raise SettingsError(f"{self.vcpus} vCPUs: a VM needs at least 1")
        if self.dirty_mib < 0:
            raise SettingsError(f"{self.dirty_mib} MiB of dirty memory: cannot be negative; 0 makes an idle guest")
        if self.adjustable and (self.self_check or not self.dirty_mib):
            raise SettingsError("a guest whose range can be changed has one, and does not check itself")
        if not self.net_every_s > 0:
            raise SettingsError(f"a forced mismatch every {self.net_every_s:g} s: must be more than 0")
        if self.delay_ms < 1:
            raise SettingsError(f"a checkpoint delay of {self.delay_ms} ms: must be at least 1")
        if self.transport not in TRANSPORTS:
            raise SettingsError(f"unknown transport {self.transport}", f"one of: {', '.join(TRANSPORTS)}")
        needed = RANGE_BEGIN_MIB + self.dirty_mib
        if self.memory_mib < needed:
            raise SettingsError(
                f"{self.dirty_mib} MiB of dirty memory do not fit into a guest of {self.memory_mib} MiB",
                f"give it --memory-mib {needed} or more (the range begins at {RANGE_BEGIN_MIB} MiB)",
            )
        if needed > RANGE_END_MIB:
            raise SettingsError(
                f"{self.dirty_mib} MiB of dirty memory: at most {RANGE_END_MIB - RANGE_BEGIN_MIB}",
                "above that a PC's memory is not in one piece",
            )

    def _check_machine(self) -> None:
        if not KVM_DEVICE.exists():
            raise MachineError(
                f"there is no {KVM_DEVICE}",
                "load kvm_intel or kvm_amd; inside a VM, switch on nested virtualisation. "
                "TCG is no way out: QEMU 7.2 deadlocks with it at the first checkpoint",
            )
        if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
            raise MachineError(f"no permission to use {KVM_DEVICE}", "run as root or join the group kvm")
        if self.chroot is not None and os.geteuid() != 0:
            raise MachineError(f"cannot enter the chroot {self.chroot} without root", "run as root")
        if self.chroot is not None:
            check_chroot(self.chroot)
        self.qemu_path()
