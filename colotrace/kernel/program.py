"""Compiles and loads bpf/colo_phases.bpf.c through bcc, and reads what it writes.

bcc wants the running kernel's headers, which production hosts lack; a uprobe program needs none of them, so the stub
headers in bpf/headers stand in (BCC_KERNEL_SOURCE).
"""

from __future__ import annotations

import contextlib
import ctypes as ct
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from colotrace.errors import EnvironmentFault
from colotrace.kernel.layout import Target, Totals, TotalsKey
from colotrace.kernel.link import BPF_TRACE_UPROBE_MULTI, UprobeMultiLink
from colotrace.phases import Role

DEFAULT_RING_BYTES = 1 << 20
"""Room for 4,200 checkpoint records (240 bytes and a header of 8) while user space is busy elsewhere."""
_PAGE = 4096
_READ_TRIES = 1000


def bpf_directory() -> Path:
    """Where the BPF sources are: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "bpf", package.parent / "bpf"):
        if (place / "colo_phases.bpf.c").is_file():
            return place
    raise EnvironmentFault(
        "colotrace's own bpf/ directory is missing", "The installation is damaged: install it again."
    )


def import_bcc() -> Any:
    """bcc's BPF class. Raises EnvironmentFault that says which package has it."""
    try:
        from bcc import BPF
    except ImportError as error:
        raise EnvironmentFault(
            f"bcc cannot be imported ({error})",
            "Install the distribution's package: python3-bpfcc (Debian, Ubuntu) or python3-bcc (Fedora, RHEL), and run "
            "colotrace with the system's Python or a venv with --system-site-packages. PyPI's bcc is another thing.",
        ) from error
    return BPF


class Program:
    """The loaded kernel program. Use as a context manager, or close(): that removes its probes, maps and itself.

    Raises EnvironmentFault if bcc or the kernel will not have it.
    """

    def __init__(self, ring_bytes: int = DEFAULT_RING_BYTES, max_targets: int = 64) -> None:
        bpf_class = import_bcc()
        source = bpf_directory()
        pages = max(1, ring_bytes // _PAGE)
        if pages & (pages - 1):
            raise ValueError("ring_bytes must be a power of two")
        flags = [f"-I{source}", f"-DRING_PAGES={pages}", f"-DMAX_TARGETS={max_targets}"]
        with _kernel_source(source / "headers"), _stderr_kept() as said:
            try:
                self._bpf = bpf_class(src_file=os.fsencode(source / "colo_phases.bpf.c"), cflags=flags)
                function = self._bpf.load_func(b"on_boundary", bpf_class.KPROBE, attach_type=BPF_TRACE_UPROBE_MULTI)
            except Exception as error:  # bcc raises plain Exception for everything
                raise _load_error(error, said()) from error
        self._fd: int = function.fd
        self._links: dict[int, UprobeMultiLink] = {}
        self._messages: list[bytes] = []
        for table, mirror in ((b"targets", Target), (b"totals", Totals)):
            if ct.sizeof(self._bpf[table].Leaf) != ct.sizeof(mirror):
                raise EnvironmentFault(f"the kernel program's struct of {table.decode()} differs from colotrace's")
        self._bpf[b"events"].open_ring_buffer(self._take)

    def _take(self, _context: object, data: int, size: int) -> None:
        self._messages.append(ct.string_at(data, size))

    def set_target(self, index: int, target: Target) -> None:
        """Writes a target's settings; before its probes are armed."""
        table = self._bpf[b"targets"]
        table[index] = table.Leaf.from_buffer_copy(bytes(target))

    def mark_probe_lost(self, index: int) -> None:
        """Tells the kernel that a probe of a target is gone: none of its checkpoints is complete from here on."""
        table = self._bpf[b"probe_lost"]
        table[index] = table.Leaf(1)

    def target(self, index: int) -> Target:
        """A target's settings and counters."""
        return Target.from_buffer_copy(bytes(self._bpf[b"targets"][index]))

    def arm(self, index: int, path: str, pid: int, offsets: Sequence[int], cookies: Sequence[int]) -> None:
        """Arms all probes of a target with one link; raises as UprobeMultiLink does."""
        self._links[index] = UprobeMultiLink(self._fd, path, pid, offsets, cookies)

    def disarm(self, index: int) -> None:
        """Removes a target's probes; totals and unread messages stay. Safe to call twice."""
        link = self._links.pop(index, None)
        if link:
            link.close()

    def poll(self, timeout_ms: int) -> list[bytes]:
        """The messages that have arrived after `timeout_ms`; sooner only where COLO begins or ends.

        Records of checkpoints wake nobody, so that the COLO thread keeps its processor.
        """
        self._bpf.ring_buffer_poll(timeout_ms)
        return self.drain()

    def drain(self) -> list[bytes]:
        """The messages that are there now."""
        self._bpf.ring_buffer_consume()
        messages, self._messages = self._messages, []
        return messages

    def totals(self, index: int, role: Role) -> Totals | None:
        """A consistent copy of a target's totals in a role; None if that role was never seen."""
        table = self._bpf[b"totals"]
        key = table.Key.from_buffer_copy(bytes(TotalsKey(index, role.number)))
        last = b""
        for _ in range(_READ_TRIES):
            try:
                data = bytes(table[key])
            except KeyError:
                return None
            totals = Totals.from_buffer_copy(data)
            if totals.writes_begun == totals.writes_done and data == last:
                return totals
            last = data
        raise EnvironmentFault("the totals change faster than they can be read")

    def close(self) -> None:
        """Removes probes, maps and program."""
        for index in list(self._links):
            self.disarm(index)
        with contextlib.suppress(Exception):
            self._bpf.cleanup()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@contextlib.contextmanager
def _kernel_source(headers: Path) -> Iterator[None]:
    """Lets bcc take the stub headers for the kernel's, while it compiles."""
    before = os.environ.get("BCC_KERNEL_SOURCE")
    os.environ["BCC_KERNEL_SOURCE"] = str(headers)
    try:
        yield
    finally:
        del os.environ["BCC_KERNEL_SOURCE"]
        if before is not None:
            os.environ["BCC_KERNEL_SOURCE"] = before


@contextlib.contextmanager
def _stderr_kept() -> Iterator[Callable[[], str]]:
    """Catches what C code writes to descriptor 2: clang's and the verifier's messages. Yields a reader of them."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def said() -> str:
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _load_error(error: Exception, said: str) -> EnvironmentFault:
    """Capabilities and lockdown have been looked at before (preflight.py); what is left is the kernel or bcc."""
    details = f"\nbcc and the kernel said:\n{said.strip()[-800:]}" if said.strip() else ""
    return EnvironmentFault(
        f"the kernel program could not be loaded ({error}, errno {ct.get_errno()})",
        "colotrace needs Linux 6.6 or newer with CONFIG_BPF_SYSCALL and CONFIG_UPROBES; this is "
        f"{os.uname().release}.{details}",
    )
