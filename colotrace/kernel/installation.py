"""Checks of what must be installed: the distribution's bcc, and colotrace's own BPF sources with their stub headers."""

from __future__ import annotations

from collections.abc import Callable

from colotrace.diagnosis import Check, of_error, ok, warn
from colotrace.errors import EnvironmentFault
from colotrace.kernel.compiler import bpf_directory, find_bcc
from colotrace.kernel.host import Host, kernel_version
from colotrace.kernel.ring import libbpf

_OLDEST_BCC = (0, 26)
_COMPILING = "compiling the kernel program"


def bcc(_host: Host) -> Check:
    """Whether bcc is there, and which version; importing it is for the child that compiles."""
    try:
        place, version = find_bcc()
    except EnvironmentFault as error:
        return of_error("bcc", error, _COMPILING)
    found = f"{version or 'of unknown version'}, from {place}"
    if kernel_version(version) < _OLDEST_BCC:
        return warn(
            "bcc", found, "nothing known: 0.26 is the oldest that was tried",
            "Install a newer python3-bpfcc or python3-bcc.",
        )  # fmt: skip
    return ok("bcc", found)


def stub_headers(_host: Host) -> Check:
    """Whether the sources of the kernel program are there, with what stands in for the kernel's headers."""
    try:
        headers = bpf_directory() / "headers" / "include"
        count = sum(1 for _ in headers.rglob("*.h"))
        if not count:
            raise EnvironmentFault(
                "colotrace's own bpf/headers are missing", "The installation is damaged: install it again."
            )
    except EnvironmentFault as error:
        return of_error("stub headers", error, _COMPILING)
    return ok("stub headers", f"{count}, shipped with colotrace; the kernel's own are not needed")


def ring_buffer(_host: Host) -> Check:
    """Whether libbpf, which bcc is built on, can be loaded."""
    try:
        libbpf()
    except EnvironmentFault as error:
        return of_error("libbpf", error, "reading the kernel program's records")
    return ok("libbpf", "there")


INSTALLATION_CHECKS: tuple[Callable[[Host], Check], ...] = (bcc, ring_buffer, stub_headers)
