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
from colotrace.kernel.layout import PROBES_ARMED, PROBES_LOST, PROBES_NOT_ALL, Target, Totals, TotalsKey
from colotrace.kernel.link import BPF_TRACE_UPROBE_MULTI, UprobeMultiLink
from colotrace.phases import Role

DEFAULT_RING_BYTES = 1 << 20
"""Room for 4,200 checkpoint records (240 bytes and a header of 8) while user space is busy elsewhere."""
RECORD_ROOM = 248
"""What a checkpoint's record takes of it."""
BATCH = 4096
"""How many messages are taken at a time while more may come: several VMs together can be faster than user space."""
_PAGE = 4096
_READ_TRIES = 1000
_MAPS = (b"targets", b"probes", b"blank", b"threads", b"totals", b"events")


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

    def __init__(
        self, ring_bytes: int = DEFAULT_RING_BYTES, max_targets: int = 64, defines: Sequence[str] = ()
    ) -> None:
        bpf_class = import_bcc()
        source = bpf_directory()
        pages = ring_bytes // _PAGE
        if pages < 1 or ring_bytes % _PAGE or pages & (pages - 1):
            raise ValueError(f"ring_bytes must be a power of two and at least {_PAGE}")
        flags = [f"-I{source}", f"-DRING_PAGES={pages}", f"-DMAX_TARGETS={max_targets}", *defines]
        with _kernel_source(source / "headers"), _stderr_kept() as said:
            try:
                self._bpf = bpf_class(src_file=os.fsencode(source / "colo_phases.bpf.c"), cflags=flags)
                function = self._bpf.load_func(b"on_boundary", bpf_class.KPROBE, attach_type=BPF_TRACE_UPROBE_MULTI)
            except Exception as error:  # bcc raises plain Exception for everything
                raise _load_error(error, said()) from error
        self._fd: int = function.fd
        self._links: dict[int, UprobeMultiLink] = {}
        self._messages: list[bytes] = []
        self._ring_bytes, self._hurries = ring_bytes, False
        for table, mirror in ((b"targets", Target), (b"totals", Totals)):
            if ct.sizeof(self._bpf[table].Leaf) != ct.sizeof(mirror):
                raise EnvironmentFault(f"the kernel program's struct of {table.decode()} differs from colotrace's")
        self._bpf[b"events"].open_ring_buffer(self._take)
        self.memory_bytes = self._memory_bytes()
        """The kernel memory of the program's maps, the ring buffer among them."""

    def _take(self, _context: object, data: int, size: int) -> int:
        """Keeps a message; a negative answer ends the batch, for otherwise it would go on for as long as more come."""
        self._messages.append(ct.string_at(data, size))
        return -1 if len(self._messages) >= BATCH else 0

    def set_target(self, index: int, target: Target) -> None:
        """Writes a target's settings; before its probes are armed."""
        table = self._bpf[b"targets"]
        table[index] = table.Leaf.from_buffer_copy(bytes(target))

    def mark_probe_lost(self, index: int) -> None:
        """Tells the kernel that a probe of a target is gone: none of its checkpoints is complete from here on."""
        self._set_probes(index, PROBES_LOST)

    def _set_probes(self, index: int, state: int) -> None:
        table = self._bpf[b"probes"]
        table[index] = table.Leaf(state)

    def target(self, index: int) -> Target:
        """A target's settings and counters."""
        return Target.from_buffer_copy(bytes(self._bpf[b"targets"][index]))

    def arm(self, index: int, path: str, pid: int, offsets: Sequence[int], cookies: Sequence[int]) -> None:
        """Arms all probes of a target with one link; raises as UprobeMultiLink does.

        The kernel sets them one after the other, and a COLO thread may pass meanwhile: they count once all are there.
        """
        self._links[index] = UprobeMultiLink(self._fd, path, pid, offsets, cookies)
        self._set_probes(index, PROBES_ARMED)

    def disarm(self, index: int) -> None:
        """Removes a target's probes; totals and unread messages stay. Safe to call twice."""
        link = self._links.pop(index, None)
        if link:
            self._set_probes(index, PROBES_NOT_ALL)
            link.close()

    def poll(self, timeout_ms: int) -> list[bytes]:
        """The messages that have arrived after `timeout_ms`; sooner only where COLO begins or ends.

        Records of checkpoints wake nobody, so that the COLO thread keeps its processor. While they come so fast that a
        good part of the buffer was taken the last time, there is no waiting: it might be full before.
        """
        self._bpf.ring_buffer_poll(0 if self._hurries else timeout_ms)
        messages = self.drain()
        self._hurries = len(messages) * RECORD_ROOM > self._ring_bytes // 8
        return messages

    def drain(self) -> list[bytes]:
        """The messages that are there now: all of them once nothing is armed any more, up to BATCH before."""
        messages = self._batch()
        while not self._links and (more := self._batch()):
            messages += more
        return messages

    def _batch(self) -> list[bytes]:
        if len(self._messages) < BATCH:
            self._bpf.ring_buffer_consume()
        messages, self._messages = self._messages, []
        return messages

    def _memory_bytes(self) -> int:
        """As the kernel states it; asked while we have all privileges."""
        total = 0
        for name in _MAPS:
            info = Path(f"/proc/self/fdinfo/{self._bpf[name].map_fd}").read_text("ascii")
            total += int(info.partition("memlock:")[2].split()[0])
        return total

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
