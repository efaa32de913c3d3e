"""Reads a ring buffer through libbpf, which bcc is built on: it has the memory barriers that Python has not."""

from __future__ import annotations

import ctypes as ct
import functools
import os
from collections.abc import Callable

from colotrace.errors import EnvironmentFault

_LIBRARY = "libbpf.so.1"
_CALLBACK = ct.CFUNCTYPE(ct.c_int, ct.c_void_p, ct.c_void_p, ct.c_size_t)


@functools.cache
def libbpf() -> ct.CDLL:
    """The library, with its ring buffer's functions declared. Raises EnvironmentFault with the package it is in."""
    try:
        library = ct.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise EnvironmentFault(
            f"libbpf cannot be loaded ({error})",
            "Install the distribution's package: libbpf1 (Debian, Ubuntu) or libbpf (Fedora, RHEL).",
        ) from error
    library.ring_buffer__new.restype = ct.c_void_p
    library.ring_buffer__new.argtypes = (ct.c_int, _CALLBACK, ct.c_void_p, ct.c_void_p)
    library.ring_buffer__poll.argtypes = (ct.c_void_p, ct.c_int)
    library.ring_buffer__consume.argtypes = (ct.c_void_p,)
    library.ring_buffer__free.restype = None
    library.ring_buffer__free.argtypes = (ct.c_void_p,)
    return library


class RingBuffer:
    """The reader of a ring buffer map. `take` gets each message, and ends a round by answering False. It may get one
    twice in a row, the same object, if a signal's handler raised meanwhile; poll() and consume() raise that again.

    It is mapped into memory here and now: reading it later takes no privileges.
    """

    def __init__(self, map_fd: int, take: Callable[[bytes], bool]) -> None:
        self._library = libbpf()
        self._take = take
        self._raised: BaseException | None = None
        self._callback = _CALLBACK(self._called)
        self._reader = self._library.ring_buffer__new(map_fd, self._callback, None, None)
        if not self._reader:
            code = ct.get_errno()
            raise EnvironmentFault(f"the ring buffer cannot be mapped: {os.strerror(code)} (errno {code})")

    def poll(self, timeout_ms: int) -> None:
        """Waits for a message that wakes, and takes what is there then; a signal ends the waiting."""
        if self._reader:
            self._library.ring_buffer__poll(self._reader, timeout_ms)
            self._raise()

    def consume(self) -> None:
        """Takes what is there."""
        if self._reader:
            self._library.ring_buffer__consume(self._reader)
            self._raise()

    def _called(self, _context: object, data: int, size: int) -> int:
        message = None
        try:
            message = ct.string_at(data, size)
            more = self._take(message)
        except BaseException as error:  # a signal's handler has raised, which ctypes would only print
            self._raised = error
            self._take(ct.string_at(data, size) if message is None else message)
            more = False
        return 0 if more else -1

    def _raise(self) -> None:
        error, self._raised = self._raised, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Unmaps it; safe to call twice."""
        if self._reader:
            self._library.ring_buffer__free(self._reader)
            self._reader = None
