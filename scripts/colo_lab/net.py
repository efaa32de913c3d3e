"""The network of --net: the filters and colo-compare of docs/COLO-FT.txt around a netdev, and what goes through them.

The lab's guest is a firmware without a NIC driver, so that the lab plays the guests' part of the network itself: each
VM's netdev `hn0` is joined by a hub to a second netdev, in whose place a NIC would be, and the lab holds both ends. A
request from outside reaches the primary's guest and, by filter-mirror and filter-redirector, the secondary's; both
answer; filter-redirectors bring the two answers to colo-compare, which lets the primary's go if they are equal, and
asks for a checkpoint if they are not. filter-rewriter is left out: it is for TCP, and this is UDP. Chardevs are unix
sockets in the run directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .errors import LabError, VmError
from .rundir import RunDirectory

ANSWER_S = 2.0
COMPARE_TIMEOUT_MS = 60_000
"""A packet that is lost while a VM stands still must not look like a mismatch: it is the lab that forces those."""
_LENGTH = struct.Struct("!I")
_SERVER, _HERE = "server=on,wait=off", "10.0.0.2"


class NetEnds:
    """The lab's ends of a VM's two netdevs, and QEMU's, which are handed down to it."""

    def __init__(self) -> None:
        self.outside, self._outside = socket.socketpair()
        self.guest, self._guest = socket.socketpair()
        for end in (self.outside, self.guest):
            end.settimeout(ANSWER_S)

    @property
    def fds(self) -> tuple[int, int]:
        """For the child: hn0's, and the one in the NIC's place."""
        return self._outside.fileno(), self._guest.fileno()

    def handed_down(self) -> None:
        """QEMU has its own copies now; without ours, its end is seen."""
        self._outside.close()
        self._guest.close()

    def close(self) -> None:
        """Closes all of them."""
        for end in (self.outside, self.guest, self._outside, self._guest):
            end.close()


def options(role: str, run: RunDirectory, ends: NetEnds) -> list[str]:
    """QEMU's options; the primary must listen before the secondary is started."""
    outside, guest = ends.fds
    words = [
        *("-netdev", f"socket,id=hn0,fd={outside}", "-netdev", "hubport,id=port0,hubid=0,netdev=hn0"),
        *("-netdev", f"socket,id=guest0,fd={guest}", "-netdev", "hubport,id=port1,hubid=0,netdev=guest0"),
    ]
    if role == "secondary":
        return [
            *words,
            *("-chardev", f"socket,id=red0,path={run / 'mirror.net'}"),
            *("-chardev", f"socket,id=red1,path={run / 'secondary-in.net'}"),
            *("-object", "filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0"),
            *("-object", "filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1"),
        ]
    return [
        *words,
        *("-chardev", f"socket,id=mirror0,path={run / 'mirror.net'},{_SERVER}"),
        *("-chardev", f"socket,id=compare1,path={run / 'secondary-in.net'},{_SERVER}"),
        *("-chardev", f"socket,id=compare0,path={run / 'primary-in.net'},{_SERVER}"),
        *("-chardev", f"socket,id=compare0-0,path={run / 'primary-in.net'}"),
        *("-chardev", f"socket,id=compare_out,path={run / 'out.net'},{_SERVER}"),
        *("-chardev", f"socket,id=compare_out0,path={run / 'out.net'}"),
        *("-object", "filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=mirror0"),
        *("-object", "filter-redirector,id=redire0,netdev=hn0,queue=rx,indev=compare_out"),
        *("-object", "filter-redirector,id=redire1,netdev=hn0,queue=rx,outdev=compare0"),
        *("-object", "iothread,id=iothread1"),
        "-object",
        "colo-compare,id=comp0,primary_in=compare0-0,secondary_in=compare1,outdev=compare_out0,iothread=iothread1,"
        f"compare_timeout={COMPARE_TIMEOUT_MS}",
    ]


class Network:
    """What goes through a pair's network: requests with equal answers, and with unequal ones; counted here."""

    def __init__(self, primary: NetEnds, secondary: NetEnds) -> None:
        self._primary, self._secondary = primary, secondary
        self._port = 1024
        self.matched = 0
        """Answers that were equal and came out of colo-compare."""
        self.mismatched = 0
        """Answers that were made unequal; each asks for one checkpoint."""
        self.lost = 0
        """Exchanges of which a packet did not arrive: QEMU drops what comes while a VM stands still."""

    def match(self) -> bool:
        """One request that both guests answer alike; whether the answer came out."""
        request = self._ask()
        if request is None:
            return False
        answer = _frame(_HERE, "10.0.0.1", 7, self._port, b"answer to " + request)
        _send(self._primary.guest, answer)
        _send(self._secondary.guest, answer)
        came = self._received(self._primary.outside, answer)
        self.matched += came
        self.lost += not came
        return came

    def mismatch(self) -> bool:
        """One request that the guests answer differently; whether they got it, and so could."""
        request = self._ask()
        if request is None:
            return False
        for ends, word in ((self._primary, b"primary"), (self._secondary, b"another")):
            _send(ends.guest, _frame(_HERE, "10.0.0.1", 7, self._port, word + b" answer to " + request))
        self.mismatched += 1
        return True

    def counts(self) -> dict[str, int]:
        """All three."""
        return {"matched": self.matched, "mismatched": self.mismatched, "lost": self.lost}

    def _ask(self) -> bytes | None:
        """A request from outside that has reached both guests; each on a port, and so a connection, of its own."""
        self._port = self._port + 1 if self._port < 65535 else 1024
        request = b"request %d" % (self.matched + self.mismatched + self.lost)
        frame = _frame("10.0.0.1", _HERE, self._port, 7, request)
        _send(self._primary.outside, frame)
        if all([self._received(ends.guest, frame) for ends in (self._primary, self._secondary)]):
            return request
        self.lost += 1
        return None

    def _received(self, end: socket.socket, wanted: bytes) -> bool:
        """Whether a frame arrives, in time; others that arrive are of exchanges that were given up, or flushed."""
        with contextlib.suppress(TimeoutError):
            while True:
                if _receive(end) == wanted:
                    return True
        return False


class Traffic:
    """Keeps a network busy in a thread of its own, with a forced mismatch now and then; close() ends it."""

    def __init__(
        self, network: Network, counts: Path, checkpoints: Callable[[], int], every_s: float, pause_s: float = 0.05
    ) -> None:
        """`counts` is written after each forced mismatch; `checkpoints` counts those that the primary has made."""
        self._network, self._file, self._checkpoints = network, counts, checkpoints
        self._every_s, self._pause_s = every_s, pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; the exchange under way is finished."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._every_s
        with contextlib.suppress(OSError, LabError):  # a VM is gone, and the lab says so
            while not self._over.wait(self._pause_s):
                if time.monotonic() < due:
                    self._network.match()
                    continue
                self._until_another()  # the timer begins anew at each checkpoint, and is not to come first
                self._network.mismatch()
                self._write()
                self._until_another()
                due = time.monotonic() + self._every_s

    def _until_another(self) -> None:
        """Waits for the next checkpoint to be over."""
        before = self._checkpoints()
        while self._checkpoints() == before and not self._over.wait(0.005):
            pass

    def _write(self) -> None:
        """As a whole, for whoever reads it meanwhile."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._network.counts()))
        os.replace(fresh, self._file)


def _frame(source: str, destination: str, source_port: int, destination_port: int, payload: bytes) -> bytes:
    """Ethernet, IPv4 and UDP (without a checksum of its own) around a payload."""
    udp = struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + udp


def _send(end: socket.socket, frame: bytes) -> None:
    end.sendall(_LENGTH.pack(len(frame)) + frame)


def _receive(end: socket.socket) -> bytes:
    return _exactly(end, _LENGTH.unpack(_exactly(end, 4))[0])


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            raise VmError("a QEMU has closed its network")
        data += more
    return data
