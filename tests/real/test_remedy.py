"""Remedies on running pairs: the stall goes and comes back, nothing else is touched, and every end is a clear one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from support import colotrace, colotrace_running, wait_for

import colotrace as library
from colotrace.errors import NothingSeenError
from colotrace.remedy import measuring
from colotrace.target.sockets import connections, duplicate, socket_descriptors

STALL_NS, NO_STALL_NS = 35_000_000, 15_000_000
CAP_SYS_PTRACE = 1 << 19
MONITOR = ("-chardev", "socket,id=other,host=127.0.0.1,port=0,server=on,wait=off,nodelay=off", "-mon", "chardev=other")
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def tcp() -> Iterator[ColoPair]:
    """An idle pair over TCP, which stalls in recv and in load; each VM has a monitor on TCP besides."""
    with ColoPair(Settings(transport="tcp", dirty_mib=0, delay_ms=100, qemu_options=MONITOR)) as running:
        yield running
        assert running.trouble() == []


@pytest.fixture(scope="module")
def tcp6() -> Iterator[ColoPair]:
    """The like, over IPv6."""
    with ColoPair(Settings(transport="tcp6", dirty_mib=0, delay_ms=100)) as running:
        yield running
        assert running.trouble() == []


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what was there before is kept: of each test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "colotrace" / "remedies"


def ends(pair: ColoPair) -> tuple[int, int]:
    return pair.primary.pid, pair.secondary.pid


def by_pid(*pids: int) -> tuple[object, ...]:
    return tuple(word for pid in pids for word in ("--pid", pid))


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


def refused(code: int, *words: object, run: Run = colotrace, **more: object) -> str:
    """What the command says where it can do nothing."""
    answer = run("remedy", *words, **more)
    assert answer.returncode == code, answer
    assert not answer.stdout
    return str(answer.stderr)


def rows_of(answer: dict[str, Any], role: str) -> dict[str, dict[str, Any]]:
    (one,) = [gain for gain in answer["gains"] if gain["role"] == role]
    return {row["row"]: row for row in one["rows"]}


def parameter(pair: ColoPair, name: str) -> int:
    return int(pair.primary.execute("query-migrate-parameters")[name])


def armed(pid: int) -> dict[str, str] | None:
    """The status of a run that has found what it looks for and given up its privileges: it measures now."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return status if status["NoNewPrivs"] == "1" else None


def test_nodelay_takes_the_stall_away_and_back(tcp: ColoPair, state: Path) -> None:
    """Each --pid's end is changed; another TCP connection of the same QEMU (a monitor) keeps what it had."""
    pids = ends(tcp)
    label = next(c["filename"] for c in tcp.primary.execute("query-chardev") if c["label"] == "other")
    port = int(label.split(",")[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as foreign:
        assert foreign.recv(1)  # QEMU has accepted it
        before = {pid: options(pid) for pid in pids}
        assert len(before[pids[0]]) == 2 and not any(before[pids[0]].values())
        applied = remedy("nodelay", *by_pid(*pids), "--apply", "-n", 10)
        now = {pid: options(pid) for pid in pids}
        rows = rows_of(applied, "primary")
        for name in ("recv", "load"):
            row = rows[name]
            assert row["before_ns"] > STALL_NS and row["after_ns"] < NO_STALL_NS and row["significant"]
        (expected,) = [one for one in applied["expectations"] if one["pid"] == pids[0]]
        assert expected["saves_ns"] > 2 * STALL_NS
        assert now[pids[0]][port] == 0 and sorted(now[pids[0]].values()) == [0, 1]
        assert [*now[pids[1]].values()] == [1]
        again = colotrace("remedy", "nodelay", *by_pid(*pids), "--apply", "-n", 2)
        assert again.returncode == 0 and "nothing was changed, as all of it was set already" in again.stdout
        assert f"`colotrace remedy nodelay --pid {pids[0]} --pid {pids[1]} --revert` brings back 0" in again.stdout
        reverted = remedy("nodelay", *by_pid(*pids), "--revert")
        assert [one["after"] for one in reverted["reverted"]] == [0, 0]
        assert {pid: options(pid) for pid in pids} == before
        again = remedy("nodelay", *by_pid(*pids), "-n", 8)
        saves = {one["pid"]: one["saves_ns"] for one in again["expectations"]}
        assert not again["applied"] and saves[pids[0]] > STALL_NS
    assert not any(os.scandir(state))
    left = refused(3, "nodelay", *by_pid(*pids), "--revert")
    assert all(f"nothing is kept of nodelay for process {pid}" in left for pid in pids)


def test_one_end_alone_and_over_ipv6(tcp6: ColoPair) -> None:
    """The primary's end is its recv, the secondary's is its load: one stall goes, the other stays."""
    primary, secondary = ends(tcp6)
    applied = remedy("nodelay", "--pid", primary, "--apply", "-n", 10)
    assert "[::1]" in applied["settings"][0]["local"]
    rows = rows_of(applied, "primary")
    assert rows["recv"]["before_ns"] > STALL_NS and rows["recv"]["after_ns"] < NO_STALL_NS
    assert rows["load"]["after_ns"] > STALL_NS, "the other end has been left alone"
    assert [*options(primary).values()] == [1] and [*options(secondary).values()] == [0]
    remedy("nodelay", "--pid", primary, "--revert")
    applied = remedy("nodelay", "--pid", secondary, "--apply", "-n", 10)
    assert [*options(primary).values()] == [0] and [*options(secondary).values()] == [1]
    assert applied["expectations"][0]["saves_ns"] is None, "what the primary waits for cannot be seen from here"
    (told, _) = remedy("nodelay", *by_pid(primary, secondary), "-n", 10)["expectations"]
    told_of = {text.split()[0]: text for text in told["reason"].split("; ")}
    assert "in 10 of 10" in told_of["recv"] and "in 0 of 10" in told_of["load"]
    remedy("nodelay", "--pid", secondary, "--revert")


def test_the_ends_of_two_pairs_are_no_pair(tcp: ColoPair, tcp6: ColoPair) -> None:
    pids = tcp.primary.pid, tcp6.secondary.pid
    before = [options(pid) for pid in pids]
    said = refused(3, "nodelay", *by_pid(*pids), "--apply")
    assert "are not the two ends of one connection" in said and "nothing was changed" in said
    assert [options(pid) for pid in pids] == before


def test_over_a_unix_socket_there_is_nothing_to_set(pair: ColoPair) -> None:
    said = refused(3, "nodelay", "--pid", pair.primary.pid, "--apply")
    assert "is a unix socket, not TCP" in said and "nothing was changed" in said


def test_what_is_not_in_colo(make_pair: Callable[..., ColoPair], monkeypatch: pytest.MonkeyPatch) -> None:
    vm = make_pair(start_colo=False, dirty_mib=0).primary
    said = refused(3, "delay", "--pid", vm.pid, "--qmp", vm.qmp_path, "--value", 300, "--apply")
    assert "is not in COLO: query-colo-status says none" in said and "nothing was changed" in said
    monkeypatch.setattr(measuring, "SILENT_S", 0.5)
    with (
        library.attach(vm.pid) as session,
        pytest.raises(NothingSeenError, match=r"made no checkpoint within 0\.5 s"),
    ):
        measuring.Measurer(session, lambda *_: None).streams([vm.pid])
    assert "is not a QEMU" in refused(4, "nodelay", "--pid", os.getpid(), "--apply")


def test_delay_is_set_over_qmp_and_back(pair: ColoPair) -> None:
    vm = pair.primary
    answer = remedy("delay", "--pid", vm.pid, "--qmp", vm.qmp_path, "--value", 300, "-n", 8, "--apply")
    wait = rows_of(answer, "primary")["wait"]
    assert wait["after_ns"] > 2 * wait["before_ns"]
    assert parameter(pair, "x-checkpoint-delay") == 300
    assert "takes no --value" in refused(2, "delay", "--pid", vm.pid, "--value", 100, "--revert")
    back = remedy("delay", "--pid", vm.pid, "--qmp", vm.qmp_path, "--revert")
    assert (back["reverted"][0]["applied"], back["reverted"][0]["after"]) == (300, 100)
    assert parameter(pair, "x-checkpoint-delay") == 100


def test_bandwidth_twice_changed_by_another_and_back(pair: ColoPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is brought back is what was there before the first time, whichever way the socket was named."""
    vm, was = pair.primary, parameter(pair, "max-bandwidth")
    first = remedy("bandwidth", "--pid", vm.pid, "--qmp", vm.qmp_path, "--value", 10**9, "-n", 3, "--apply")
    assert "the limit does not hold it back" in first["expectations"][0]["reason"]
    assert parameter(pair, "max-bandwidth") == 10**9
    monkeypatch.chdir(Path(vm.qmp_path).parent)
    name = Path(vm.qmp_path).name
    run = colotrace("remedy", "bandwidth", "--pid", vm.pid, "--qmp", name, "--value", 2 * 10**9, "-n", 3, "--apply")
    assert run.returncode == 0 and f"--revert` brings back {was}" in run.stdout, run
    monkeypatch.chdir("/")
    vm.execute("migrate-set-parameters", max_bandwidth=3 * 10**9)
    run = colotrace("remedy", "bandwidth", "--pid", vm.pid, "--revert")
    assert "was 3000000000 (not the 2000000000 of --apply: somebody else had changed it)" in run.stdout
    assert run.returncode == 0 and parameter(pair, "max-bandwidth") == was


@pytest.mark.parametrize("name", ["bandwidth", "delay"])
def test_the_primarys_parameters_are_not_set_on_the_secondary(pair: ColoPair, name: str) -> None:
    vm = pair.secondary
    before = vm.execute("query-migrate-parameters")
    said = refused(3, name, "--pid", vm.pid, "--qmp", vm.qmp_path, "--value", 300, "--apply")
    assert f"process {vm.pid} is the secondary" in said and "nothing was changed" in said and "primary's --pid" in said
    other = refused(8, name, "--pid", pair.primary.pid, "--qmp", vm.qmp_path, "--value", 300, "--apply")
    assert f"belongs to process {vm.pid}" in other
    assert vm.execute("query-migrate-parameters") == before


def test_ctrl_c_before_and_after_the_change(tcp: ColoPair) -> None:
    """Nothing is changed by then, or it says what was, and the command that takes it back."""
    pids = ends(tcp)
    with colotrace_running("remedy", "nodelay", *by_pid(*pids), "--apply", "-n", 1000) as run:
        status = wait_for("its measuring", lambda: armed(run.pid))
        assert int(status["CapEff"], 16) == CAP_SYS_PTRACE, "what it takes to duplicate the socket, and no more"
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0 and out.endswith("colotrace: interrupted; nothing was changed\n"), (out, err)
    assert [[*options(pid).values()] for pid in pids] == [[0], [0]]
    with colotrace_running("remedy", "nodelay", *by_pid(*pids), "--apply", "-n", 10) as run:
        wait_for("the change", lambda: all(any(options(pid).values()) for pid in pids))
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0 and "colotrace: interrupted; TCP_NODELAY of socket" in out, (out, err)
    assert out.count("is 1, and stays so") == 2
    command = out.rpartition("`colotrace ")[2].partition("`")[0]
    assert colotrace(*command.split()).returncode == 0
    assert [[*options(pid).values()] for pid in pids] == [[0], [0]]


def with_capabilities(capabilities: str) -> Run:
    """Runs the command as root with these alone; the VM has more, as an other user's would."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "colotrace", *map(str, words)]
        left = f"-all,{capabilities}".rstrip(",")
        return subprocess.run(
            ["setpriv", f"--inh-caps={left}", f"--bounding-set={left}", "--", *command],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    "capabilities, lacks",
    [("", "CAP_SYS_PTRACE"), ("+bpf,+perfmon", "CAP_SYS_PTRACE"), ("+sys_ptrace", "CAP_BPF")],
)
def test_without_the_capability(tcp: ColoPair, capabilities: str, lacks: str) -> None:
    pid, run = tcp.primary.pid, with_capabilities(capabilities)
    said = refused(6, "nodelay", "--pid", pid, "--apply", run=run)
    assert lacks in said and "sudo" in said, said
    if lacks == "CAP_SYS_PTRACE":
        assert lacks in refused(6, "nodelay", "--pid", pid, "--revert", run=run)
    assert [*options(pid).values()] == [0]


def test_checkpoints_that_are_far_apart(tcp: ColoPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU makes one every 20 s unless told otherwise, and the primary's thread must be seen in a second one."""
    monkeypatch.setattr(measuring, "SEARCH_S", 0.2)
    tcp.primary.execute("migrate-set-parameters", x_checkpoint_delay=1000)
    try:
        with library.attach(tcp.primary.pid) as session:
            (stream,) = measuring.Measurer(session, lambda *_: None).streams([tcp.primary.pid])
        assert stream.local.port in options(tcp.primary.pid)
    finally:
        tcp.primary.execute("migrate-set-parameters", x_checkpoint_delay=100)


def test_colo_ends_while_it_is_measured(make_pair: Callable[..., ColoPair], state: Path) -> None:
    """The secondary is killed: one run watches it alone, before; the other has just changed the primary's end."""
    pair = make_pair(transport="tcp", dirty_mib=0, delay_ms=100)
    primary, secondary = ends(pair)
    with (
        colotrace_running("remedy", "nodelay", "--pid", secondary, "-n", 1000) as watching,
        colotrace_running("remedy", "nodelay", "--pid", primary, "--apply", "-n", 15) as changing,
    ):
        wait_for("its measuring", lambda: armed(watching.pid))
        wait_for("the change", lambda: any(options(primary).values()))
        pair.secondary.kill()
        (_, dead), (_, ended) = (run.communicate(timeout=60) for run in (watching, changing))
    assert watching.returncode == changing.returncode == NothingSeenError.exit_code, (dead, ended)
    assert f"process {secondary} has ended" in dead and "before the change; nothing was changed" in dead
    assert "COLO has ended (error) while checkpoints were measured after the change; TCP_NODELAY of" in ended
    assert f"`colotrace remedy nodelay --pid {primary} --revert` brings back 0" in ended
    pair.primary.execute("x-colo-lost-heartbeat")
    wait_for("the end of the connection", lambda: not connections(primary))
    said = refused(3, "nodelay", *by_pid(primary, secondary), "--revert")
    assert "the connection that was changed is gone" in said and "there is nothing left to revert" in said
    assert f"process {secondary}" in said, "the other end's trouble is told as well"
    assert not any(os.scandir(state))
    assert "nothing is kept" in refused(3, "nodelay", "--pid", primary, "--revert")
