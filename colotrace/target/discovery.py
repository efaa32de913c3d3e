"""Which QEMUs run on this host, and what can be told of each without touching it."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from colotrace.errors import TargetError
from colotrace.text import printable

_NAME = re.compile(r"^\.?(?:(?:xen-)?qemu-system-[\w.-]+|qemu-kvm|kvm)$")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COLO_THREADS = {
    "COLO incoming": "secondary",  # up to 9.2
    "mig/dst/colo": "secondary",  # 10.0 on
}


@dataclass(frozen=True)
class QemuProcess:
    """A running QEMU. `role` is a guess from its command line and thread names; None if nothing tells."""

    pid: int
    name: str | None
    exe: str
    role: str | None
    role_evidence: str | None


def looks_like_qemu(exe: str) -> bool:
    """Whether a path is one under which system emulators are installed."""
    return bool(_NAME.match(os.path.basename(exe.removesuffix(" (deleted)"))))


def vm_name(arguments: list[str]) -> str | None:
    """The VM's name from QEMU's command line: -name NAME or -name guest=NAME,...; the last one counts, as in QEMU."""
    name = None
    for flag, value in itertools.pairwise(arguments):
        if flag in ("-name", "--name"):
            for at, part in enumerate(value.replace(",,", "\0").split(",")):
                key, equals, text = part.partition("=")
                if (not equals and at == 0) or key == "guest":
                    name = (text if equals else key).replace("\0", ",")
    return name or None


def vm_uuid(arguments: list[str]) -> str | None:
    """The VM's UUID from QEMU's command line: -uuid UUID, the last one; None if there is none or it is no UUID."""
    given = [value for flag, value in itertools.pairwise(arguments) if flag in ("-uuid", "--uuid")]
    return given[-1].lower() if given and _UUID.fullmatch(given[-1]) else None


def list_qemus() -> list[QemuProcess]:
    """All processes whose binary is called like a QEMU system emulator, by pid; those that vanish are left out.

    Where the binary may not be looked at (another user's process), the command line's first word stands for it.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_text("utf-8", "replace").rstrip("\0").split("\0")
            try:
                exe = os.readlink(entry / "exe")
            except PermissionError:
                exe = arguments[0]
            if looks_like_qemu(exe):
                found.append(_describe(int(entry.name), exe, arguments))
        except OSError:
            continue
    return sorted(found, key=lambda qemu: qemu.pid)


def only_qemu() -> int:
    """The pid of the only QEMU on this host. Raises TargetError with the list to choose from."""
    found = list_qemus()
    if len(found) == 1:
        return found[0].pid
    if not found:
        raise TargetError("no QEMU runs on this host, or none that this user may look at", "Start one, or use sudo.")
    lines = "\n".join(f"--pid {q.pid}  {printable(q.name or '(no name)')}  {printable(q.exe)}" for q in found)
    raise TargetError(f"{len(found)} QEMUs run on this host", f"Choose with --pid; several are welcome.\n{lines}")


def _describe(pid: int, exe: str, arguments: list[str]) -> QemuProcess:
    role = evidence = None
    for thread in thread_names(pid):
        if thread in _COLO_THREADS:
            role, evidence = _COLO_THREADS[thread], f"it has a thread {thread}"
    if role is None and any(a in ("-incoming", "--incoming") for a in arguments):
        role, evidence = "secondary", "it was started with -incoming"
    return QemuProcess(pid, vm_name(arguments), exe, role, evidence)


def thread_names(pid: int) -> list[str]:
    """The names of a process's threads, as far as they can be read."""
    names = []
    for thread in sorted(Path(f"/proc/{pid}/task").glob("*/comm")):
        try:
            names.append(thread.read_text("utf-8", "replace").strip())
        except OSError:
            continue
    return names
