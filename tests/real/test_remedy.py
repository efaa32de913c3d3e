"""Remedies on a running pair: the stall goes and comes back, and nothing else is touched."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from support import colotrace

from colotrace.target.sockets import connections, duplicate, socket_descriptors

STALL_NS, NO_STALL_NS = 35_000_000, 15_000_000


def options(pid: int) -> dict[int, int]:
    """TCP_NODELAY of each established connection of a process, by its local port."""
    found, held = {}, socket_descriptors(pid)
    for one in connections(pid):
        with duplicate(pid, held[one.inode]) as copy:
            found[one.local.port] = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    return found


def remedy(*words: object) -> dict[str, Any]:
    run = colotrace("remedy", *words, "--json")
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_nodelay_takes_the_stall_away_and_back(
    make_pair: Callable[..., ColoPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each --pid's end is changed; another TCP connection of the same QEMU (a monitor) keeps what it had."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    extra = (
        "-chardev",
        "socket,id=other,host=127.0.0.1,port=0,server=on,wait=off,nodelay=off",
        "-mon",
        "chardev=other",
    )
    pair = make_pair(transport="tcp", dirty_mib=0, delay_ms=200, qemu_options=extra)
    pids = (pair.primary.pid, pair.secondary.pid)
    both = ("--pid", pids[0], "--pid", pids[1])
    label = next(c["filename"] for c in pair.primary.execute("query-chardev") if c["label"] == "other")
    port = int(label.split(",")[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as foreign:
        assert foreign.recv(1)  # QEMU has accepted it
        before = {pid: options(pid) for pid in pids}
        assert len(before[pids[0]]) == 2 and not any(before[pids[0]].values())
        applied = remedy("nodelay", *both, "--apply", "-n", 10)
        now = {pid: options(pid) for pid in pids}
        (primary,) = [one for one in applied["gains"] if one["role"] == "primary"]
        for row in primary["rows"]:
            if row["row"] in ("recv", "load"):
                assert row["before_ns"] > STALL_NS and row["after_ns"] < NO_STALL_NS and row["significant"]
        (expected,) = [one for one in applied["expectations"] if one["pid"] == pids[0]]
        assert expected["saves_ns"] > 2 * STALL_NS
        assert now[pids[0]][port] == 0 and sorted(now[pids[0]].values()) == [0, 1]
        assert [*now[pids[1]].values()] == [1]
        reverted = remedy("nodelay", *both, "--revert")
        assert [one["after"] for one in reverted["reverted"]] == [0, 0]
        assert {pid: options(pid) for pid in pids} == before
        again = remedy("nodelay", *both, "-n", 8)
        assert (
            not again["applied"] and {one["pid"]: one["saves_ns"] for one in again["expectations"]}[pids[0]] > STALL_NS
        )
    assert pair.trouble() == []
    assert not any(os.scandir(tmp_path / "colotrace" / "remedies"))
    left = colotrace("remedy", "nodelay", "--pid", pids[0], "--revert")
    assert left.returncode == 3 and "nothing is kept" in left.stderr


def test_over_a_unix_socket_there_is_nothing_to_set(pair: ColoPair) -> None:
    run = colotrace("remedy", "nodelay", "--pid", pair.primary.pid, "--apply")
    assert run.returncode == 3 and "is a unix socket, not TCP" in run.stderr and "nothing was changed" in run.stderr


def test_delay_is_set_over_qmp_and_back(pair: ColoPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    vm = pair.primary
    answer = remedy("delay", "--pid", vm.pid, "--qmp", vm.qmp_path, "--value", 300, "-n", 8, "--apply")
    (wait,) = [row for row in answer["gains"][0]["rows"] if row["row"] == "wait"]
    assert wait["after_ns"] > 2 * wait["before_ns"]
    assert vm.execute("query-migrate-parameters")["x-checkpoint-delay"] == 300
    assert remedy("delay", "--pid", vm.pid, "--revert")["reverted"][0]["after"] == 100
    assert vm.execute("query-migrate-parameters")["x-checkpoint-delay"] == 100
