"""Remedies without a VM: /proc texts, what is expected, the interval, and keeping what was there."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from colotrace.errors import QmpError, TargetError
from colotrace.phases import Role
from colotrace.remedy import changing, expectation
from colotrace.remedy.gain import ratio_interval
from colotrace.remedy.measuring import Sample
from colotrace.remedy.setting import MigrationParameter, NoDelay, is_same
from colotrace.remedy.stream import Stream, check_pair, look_up, parse_receive
from colotrace.target.sockets import Endpoint, connections, parse_tcp

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   2: 0100007F:CB50 0100007F:A44B 01 00003298:00000000 01:00000012 00000000     0        0 1289179 3 0 21\n"
LINE6 = (
    "   0: 0000000000000000FFFF00000100007F:A44B 00000000000000000000000001000000:CB50 01 00000000:00000000 "
    "00:00000000 00000000     0        0 77 1 0 20 4 1 10 -1\n"
)


@pytest.mark.skipif(sys.byteorder != "little", reason="the texts are a little-endian machine's")
def test_proc_net_tcp() -> None:
    (one,) = parse_tcp(HEAD + LINE)
    assert (one.inode, one.state) == (1289179, 1)
    assert one.local == Endpoint.of("127.0.0.1", 0xCB50) and one.peer == Endpoint.of("127.0.0.1", 0xA44B)
    (six,) = parse_tcp(HEAD + LINE6 + "nonsense\n   0: 01:02\n")
    assert six.local == Endpoint.of("127.0.0.1", 0xA44B) and str(six.peer) == "[::1]:52048"  # v4-mapped; IPv6


def test_what_a_thread_sleeps_on() -> None:
    assert parse_receive("47 0x10 0x7f 0x0 0x0 0x0 0x0 0x7ffc 0x7f", "x86_64") == 16
    assert parse_receive("46 0x10 0x7f 0x0 0x0 0x0 0x0 0x7ffc 0x7f", "x86_64") is None  # sending proves nothing
    assert parse_receive("running\n", "x86_64") is None and parse_receive("", "x86_64") is None
    assert parse_receive("212 0x5 0x0", "aarch64") == 5


def _ends(family: socket.AddressFamily, address: str) -> tuple[socket.socket, socket.socket]:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen(1)
        one = socket.socket(family)
        one.connect(listener.getsockname()[:2])
        return one, listener.accept()[0]


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_apply_twice_and_revert(
    family: socket.AddressFamily, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real sockets of this process; the other connection keeps its option, and no descriptor is left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    pid = os.getpid()
    (one, other), foreign = _ends(family, address), _ends(family, address)
    setting = NoDelay(look_up(pid, os.fstat(one.fileno()).st_ino, ""))
    peer = look_up(pid, os.fstat(other.fileno()).st_ino, "")
    check_pair([setting.stream, peer])
    with pytest.raises(TargetError, match="not the two ends"):
        check_pair([setting.stream, look_up(pid, os.fstat(foreign[0].fileno()).st_ino, "")])
    assert {setting.stream.inode, peer.inode} <= {c.inode for c in connections(pid)}
    before = len(os.listdir("/proc/self/fd"))
    first, second = changing.apply("nodelay", setting, 1), changing.apply("nodelay", setting, 1)
    assert (first.before, first.after, first.kept) == (0, 1, 0) and (second.before, second.kept) == (1, 0)
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not any(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in (other, *foreign))
    (kept,) = (tmp_path / "colotrace" / "remedies").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert changing.revert("nodelay", pid).after == 0
    assert not one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) and not kept.exists()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(TargetError, match="nothing is kept"):
        changing.revert("nodelay", pid)
    changing.apply("nodelay", setting, 1)
    one.close()
    with pytest.raises(TargetError, match="connection that was changed is gone"):
        changing.revert("nodelay", pid)
    for rest in (other, *foreign):
        rest.close()


@dataclass
class Odd:
    """A setting that takes a value, and then neither says so nor can be read for a while (a QMP socket in use)."""

    pid: int
    value: int = 100
    takes: bool = True
    silent: bool = False

    def read(self) -> int:
        if self.silent:
            raise QmpError("did not answer")
        return self.value

    def write(self, value: int) -> None:
        self.silent = self.takes
        self.value = value if self.takes else self.value
        raise QmpError("did not answer")

    def as_json(self) -> dict[str, Any]:
        return {"setting": "odd", "pid": self.pid}


def test_what_may_have_been_changed_stays_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "colotrace" / "remedies"
    with pytest.raises(QmpError, match=r"did not answer$"):
        changing.apply("delay", Odd(os.getpid(), takes=False), 300)
    assert not any(folder.iterdir()), "it reads as before"
    with pytest.raises(changing.UnsureError, match=r"whether .* is not known") as caught:
        changing.apply("delay", Odd(os.getpid()), 300)
    assert "--revert" in str(caught.value.remedy)
    (kept,) = folder.iterdir()
    assert json.loads(kept.read_text()) == {
        "setting": {"setting": "odd", "pid": os.getpid()}, "value": 100, "applied": 300,
    }  # fmt: skip


def test_a_parameter_is_the_same_by_whichever_socket(tmp_path: Path) -> None:
    one, other = (MigrationParameter(1, str(tmp_path / name), "max-bandwidth") for name in "ab")
    assert is_same(one.as_json(), other)
    assert not is_same(one.as_json(), MigrationParameter(1, one.socket, "x-checkpoint-delay"))
    assert os.path.isabs(MigrationParameter(1, "qmp.sock", "max-bandwidth").as_json()["qmp"])


def test_a_unix_socket_is_refused() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(TargetError, match="is a unix socket, not TCP"):
        look_up(os.getpid(), os.fstat(one.fileno()).st_ino, "")
    with pytest.raises(TargetError, match="has no socket 1 "):
        look_up(os.getpid(), 1, "")


def _sample(**rows: list[int]) -> Sample:
    sample = Sample(1, Role.PRIMARY)
    for name, values in rows.items():
        sample.rows[name] = values
    return sample


def test_what_is_expected_is_what_the_ends_that_are_named_can_save() -> None:
    stalled = _sample(recv=[42_000_000] * 10, load=[44_000_000] * 5 + [70_000_000] * 5)
    ends: set[Role | None] = {Role.PRIMARY}
    assert expectation.nodelay(stalled, ends, False).saves_ns == 42_000_000
    assert expectation.nodelay(stalled, ends | {Role.SECONDARY}, False).saves_ns == 64_000_000
    assert expectation.nodelay(stalled, ends, True).saves_ns == 0
    for unknown in (
        expectation.nodelay(Sample(1), {None}, False),
        expectation.delay(Sample(1), 100, 200),
        expectation.bandwidth(Sample(1), 10**9),
    ):
        assert unknown == expectation.NOTHING_MEASURED and unknown.saves_ns is None
    assert expectation.nodelay(_sample(recv=[100_000] * 9, load=[900_000] * 9), ends, False).saves_ns == 0


def test_the_interval_covers_no_change_and_shows_a_real_one() -> None:
    chance = random.Random(7)
    noise = [100 + chance.randrange(13) for _ in range(40)]
    low, high = ratio_interval(noise, noise[::-1])
    assert low and high and low <= 1 <= high
    low, high = ratio_interval(noise, [value // 2 for value in noise])
    assert low and high and 0.4 < low < high < 0.6
    assert ratio_interval(noise[:7], noise) == (None, None), "too few"


def test_a_stream_in_words() -> None:
    end = Endpoint.of("::ffff:10.0.0.1", 1)
    assert str(Stream(1, 2, 3, 4, end, end, "")).startswith("socket 3 of process 1 (descriptor 2, 10.0.0.1:1 to")


LATE = """
import os, sys
from types import SimpleNamespace
from colotrace.cli import remedy
from colotrace.remedy.gain import gains
from colotrace.remedy.measuring import ROWS, Sample

class Unreadable:
    def find_spec(self, name, path=None, target=None):
        raise ImportError(f"{name} is loaded too late")

def give_up(session, more):
    assert len(os.listdir("/proc/self/task")) == 1, "a thread that was there would keep its privileges"
    sys.meta_path.insert(0, Unreadable())
    return SimpleNamespace(details={"kept": []})

remedy.give_up = give_up
remedy._give_up(SimpleNamespace(targets=()), remedy._Run("nodelay"), None)
samples = [Sample(1, rows={row: [base + number for number in range(30)] for row in ROWS}) for base in (1000, 10)]
print(all(gain.significant for gain in gains(*samples)))
"""


def test_what_a_gain_takes_is_loaded_before_privileges_are_given_up() -> None:
    """A user's own directory may be closed to a root without CAP_DAC_OVERRIDE."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
