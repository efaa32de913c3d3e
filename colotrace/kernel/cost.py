"""What a probe's hit costs on this machine: measured with the real kernel program on code of our own.

Two clock readings (the processor's time stamp counter, which costs a few nanoseconds) stand around a probed instruction
in a page of machine code that this process maps and calls. A hit in a checkpoint comes after a sleep or long work, with
cold caches, and costs several times what a loop of hits shows: both are measured.
"""

from __future__ import annotations

import contextlib
import ctypes as ct
import os
import time
from collections.abc import Iterator, Sequence

from colotrace.checkpoint import HitCost, ProbeCost
from colotrace.errors import EnvironmentFault
from colotrace.kernel import layout, preflight
from colotrace.kernel.program import Program
from colotrace.phases import BOUNDARIES, Role

_READ_TSC = "0f31 48c1e220 4809d0"  # rdtsc; shl rdx, 32; or rax, rdx
_STORE_FIRST, _STORE_SECOND, _RET = "488907", "48894708", "c3"  # mov [rdi], rax; mov [rdi+8], rax; ret
_PAGE = 4096
_WARM_HITS, _COLD_HITS = 2000, 100
_EVICTED_BYTES = 48 << 20
_PAUSE_S = 0.001
_TIMED = [BOUNDARIES[Role.PRIMARY][name] for name in ("transaction-begin", "transaction-end")]
"""The second is measured: it closes a checkpoint's record, which is the most that a hit can have to do."""


def _code(emulated: bool) -> tuple[bytes, int]:
    """A function that stores the counter before and after one instruction, and that instruction's offset."""
    before = bytes.fromhex(_READ_TSC + _STORE_FIRST)
    after = bytes.fromhex(_READ_TSC + _STORE_SECOND + _RET)
    call = b"\xe8" + len(after).to_bytes(4, "little")  # to the ret behind the function
    move = bytes.fromhex("89c0")  # mov eax, eax
    return before + (call if emulated else move) + after + bytes.fromhex(_RET), len(before)


class Stub:
    """Two such functions in a file of their own, mapped executable: uprobes belong to files."""

    def __init__(self, emulated: bool, fd: int | None = None) -> None:
        """Maps a new file; or that of another process's stub of the same kind, by a descriptor that is taken over."""
        code, offset = _code(emulated)
        second = _PAGE // 2
        self.offsets = (offset, second + offset)
        self._libc = ct.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ct.c_void_p
        self._libc.mmap.argtypes = (ct.c_void_p, ct.c_size_t, ct.c_int, ct.c_int, ct.c_int, ct.c_long)
        self._libc.munmap.argtypes = (ct.c_void_p, ct.c_size_t)
        if fd is None:
            fd = os.memfd_create("colotrace-cost", os.MFD_CLOEXEC)
            os.write(fd, code.ljust(second, b"\xcc") + code.ljust(second, b"\xcc"))
        self.fd = fd
        read_execute, private = 5, 2  # PROT_READ | PROT_EXEC, MAP_PRIVATE
        self._address = self._libc.mmap(None, _PAGE, read_execute, private, self.fd, 0)
        if self._address in (None, ct.c_void_p(-1).value):
            os.close(self.fd)
            raise EnvironmentFault(
                f"cannot map code of our own: {os.strerror(ct.get_errno())}",
                "The cost of a probe cannot be measured where memory files may not be executed (vm.memfd_noexec).",
            )
        function = ct.CFUNCTYPE(None, ct.c_void_p)
        self._first, self._second = function(self._address), function(self._address + second)
        self._times = (ct.c_uint64 * 2)()

    @property
    def path(self) -> str:
        """The file's path, for as long as the stub is open."""
        return f"/proc/self/fd/{self.fd}"

    def begin(self) -> int:
        """Passes the first instruction; the counter now."""
        self._first(ct.addressof(self._times))
        return self._times[1]

    def ticks(self) -> int:
        """What the second instruction takes, in ticks of the counter."""
        self._second(ct.addressof(self._times))
        return self._times[1] - self._times[0]

    def close(self) -> None:
        """Unmaps the code."""
        self._libc.munmap(self._address, _PAGE)
        os.close(self.fd)


def measure_probe_cost() -> ProbeCost:
    """Arms probes on code of this process and times them: about a second.

    Raises EnvironmentFault or PermissionsError as attaching does, and EnvironmentFault on another architecture.
    """
    if os.uname().machine != "x86_64":
        raise EnvironmentFault(f"the cost of a probe cannot be measured on {os.uname().machine} yet")
    preflight.check_host()
    emulated, stepped = (_measure(kind) for kind in (True, False))
    return ProbeCost(emulated, stepped, _clock_ns())


def _measure(emulated: bool) -> HitCost:
    with contextlib.closing(Stub(emulated)) as stub:
        bare_warm, bare_cold = percentile(_warm(stub), 0.5), percentile(_cold(stub), 0.5)
        with armed(stub, os.getpid()) as program:
            began_ns, began = time.monotonic_ns(), stub.begin()
            warm, cold = _warm(stub), _cold(stub)
            ns_per_tick = (time.monotonic_ns() - began_ns) / (stub.begin() - began)
            hits, expected = program.target(0).hits, 2 * (_WARM_HITS + _COLD_HITS + 1)
    if hits != expected:
        raise EnvironmentFault(f"{hits} of {expected} hits on code of our own were seen")
    return HitCost(
        round((percentile(warm, 0.5) - bare_warm) * ns_per_tick),
        round((percentile(cold, 0.9) - bare_cold) * ns_per_tick),
    )


@contextlib.contextmanager
def armed(stub: Stub, pid: int) -> Iterator[Program]:
    """The kernel program with both of a stub's instructions probed in one process, as attaching does it."""
    with Program(max_targets=1) as program:
        is_sound = preflight.pid_filter_is_sound()
        program.set_target(0, layout.Target(tgid=0 if is_sound else pid))
        cookies = [boundary.cookie(Role.PRIMARY, 0) for boundary in _TIMED]
        program.arm(0, stub.path, pid if is_sound else 0, stub.offsets, cookies)
        yield program


def _warm(stub: Stub) -> list[int]:
    samples = []
    for _ in range(_WARM_HITS):
        stub.begin()
        samples.append(stub.ticks())
    return samples


def _cold(stub: Stub) -> list[int]:
    """After a sleep, and after memory larger than the caches has been read (large writes may pass them by)."""
    others = b"\0\2" * (_EVICTED_BYTES // 2)  # not zeros alone: those would all lie in one page
    samples = []
    for _ in range(_COLD_HITS):
        stub.begin()
        time.sleep(_PAUSE_S)
        others.find(b"\1")
        samples.append(stub.ticks())
    return samples


def _clock_ns() -> int:
    """An upper bound of one reading of CLOCK_MONOTONIC: Python's own way of doing it comes on top."""
    count = 1000
    began = time.monotonic_ns()
    for _ in range(count):
        time.monotonic_ns()
    return (time.monotonic_ns() - began) // count


def percentile(samples: Sequence[int], fraction: float) -> int:
    """The sample below which `fraction` of them lie."""
    return sorted(samples)[int(len(samples) * fraction)]
