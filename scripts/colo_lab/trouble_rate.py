"""Troubles with rates: a slow network between the VMs of a running pair over TCP, and QEMU's own limit.

    with paced(pair, 117_700_000):      # what a network of 1 Gb/s carries
        ...
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from colotrace.target.sockets import connections, duplicate, socket_descriptors

from .errors import VmError
from .pair import MAX_BANDWIDTH_BYTES_PER_S, ColoPair
from .vm import Vm

_SO_MAX_PACING_RATE, _UNLIMITED = 47, 2**64 - 1


@contextlib.contextmanager
def paced(pair: ColoPair, bytes_per_s: int) -> Iterator[None]:
    """The primary's end of the stream sends no faster than that: the kernel's own pacing of TCP, which needs no qdisc.

    The option is set on a duplicate of the socket, which belongs to QEMU. Raises VmError if the pair is not over TCP.
    """
    pace(pair, bytes_per_s)
    try:
        yield
    finally:
        pace(pair, _UNLIMITED)


def pace(pair: ColoPair, bytes_per_s: int) -> None:
    """The same until further notice."""
    with _stream(pair.primary) as copy:
        copy.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, bytes_per_s.to_bytes(8, "little"))


def without_nagle(pair: ColoPair) -> None:
    """Sets TCP_NODELAY on both ends, so that no delayed acknowledgement is in the times. Raises as paced() does."""
    for vm in pair.vms:
        with _stream(vm) as copy:
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextlib.contextmanager
def _stream(vm: Vm) -> Iterator[socket.socket]:
    streams = connections(vm.pid)  # the lab's monitors are on unix sockets
    if len(streams) != 1:
        raise VmError(f"the {vm.role} has {len(streams)} TCP connections, where the stream alone was expected")
    with duplicate(vm.pid, socket_descriptors(vm.pid)[streams[0].inode]) as copy:
        yield copy


@contextlib.contextmanager
def limited(pair: ColoPair, bytes_per_s: int) -> Iterator[None]:
    """The primary's max-bandwidth is that; afterwards the lab's again, which is none in practice."""
    pair.primary.execute("migrate-set-parameters", max_bandwidth=bytes_per_s)
    try:
        yield
    finally:
        pair.primary.execute("migrate-set-parameters", max_bandwidth=MAX_BANDWIDTH_BYTES_PER_S)
