"""colotrace qmp-bridge in front of real, unmodified QEMUs in COLO: stock clients, real events, real figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from colo_lab.vm import Vm
from qemu.qmp import ExecuteError, QMPClient
from qemu_patch.build import binary
from support import DEADLINE_S, checkpoints_done, colotrace_running, kill_hard, read_until, wait_for

import colotrace
from colotrace.phases import Role
from colotrace.qmp.client import query_migrate
from colotrace.qmp.schema import COMMANDS, MISSING, QEMU_GONE, with_schema

COMMAND_COUNT = 1000
CHECKPOINTS = 5
SAME_CLOCK_NS = 300_000
"""Two tracers on the same call sites read the clock one after the other; so much may their averages differ."""


@contextlib.contextmanager
def bridge(vm: Vm, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A bridge in front of a VM, ready; and its socket."""
    with tempfile.TemporaryDirectory(prefix="qb") as folder:
        path = Path(folder) / "bridge.sock"
        arguments = ("qmp-bridge", "--pid", vm.pid, "--qmp", vm.qmp_path, "--listen", path, *options)
        with colotrace_running(*arguments) as process:
            wait_for("the bridge's socket", lambda: path.exists() or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            yield process, str(path)


@pytest.fixture(scope="module")
def served(pair: ColoPair) -> Iterator[str]:
    """The socket of a bridge in front of the primary."""
    with bridge(pair.primary) as (process, path):
        yield path
        process.terminate()
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0 and "checkpoints" in err.splitlines()[-1], err


class Client(QMPClient):
    """The stock client, and the events that it has got."""

    def __init__(self) -> None:
        super().__init__("test")
        self.seen: list[dict[str, Any]] = []
        self.events.event_filter = self._note

    def _note(self, event: Any) -> bool:
        self.seen.append(dict(event))
        return False

    def count(self, name: str) -> int:
        """How many events of that name have come."""
        return sum(event["event"] == name for event in self.seen)


@contextlib.asynccontextmanager
async def connected(path: str) -> AsyncIterator[Client]:
    client = Client()
    await client.connect(path)
    yield client
    with contextlib.suppress(Exception):
        await client.disconnect()


def run(work: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(work(), 2 * DEADLINE_S))


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Waits for a state while the loop runs; AssertionError at the deadline."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not holds():
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen within {DEADLINE_S:g} s"
        await asyncio.sleep(0.002)


async def info_checkpoint(client: QMPClient) -> dict[str, Any]:
    """The answer, once there is one."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        try:
            answer = await client.execute("info_checkpoint")
            assert isinstance(answer, dict)
            return answer
        except ExecuteError as error:
            assert "no checkpoint has completed" in str(error)
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)


async def tallies(vm: Vm, *clients: Client) -> list[tuple[int, int]]:
    """STOP and RESUME events so far: in the lab's own monitor, then in each client, at one moment between two events.

    QEMU sends its events to all monitors at once, and a reply after them: after a reply nothing is under way.
    """
    while True:
        resumed = vm.monitor.count("RESUME")
        await until("a RESUME", lambda before=resumed: vm.monitor.count("RESUME") > before)  # type: ignore[misc]
        lab = vm.monitor.count("STOP"), vm.monitor.count("RESUME")
        for client in clients:
            await client.execute("query-status")
        seen = [(client.count("STOP"), client.count("RESUME")) for client in clients]
        await asyncio.to_thread(vm.execute, "query-status")
        if lab == (vm.monitor.count("STOP"), vm.monitor.count("RESUME")):
            return [lab, *seen]


def test_the_stock_shell_shows_the_figures(pair: ColoPair, served: str) -> None:
    done_before = checkpoints_done(pair.primary)
    wait_for("checkpoints", lambda: checkpoints_done(pair.primary) > done_before + 2)
    commands = "query-status\ninfo_checkpoint\nnonsense id=7\nquery-commands\n"
    shell = [str(Path(sys.executable).with_name("qmp-shell")), served]
    done = subprocess.run(shell, input=commands, capture_output=True, text=True, timeout=DEADLINE_S, check=True,
                          env={**os.environ, "HOME": str(Path(served).parent)})  # fmt: skip
    assert "Connected to QEMU 7.2" in done.stdout
    replies = [json.loads(line.partition("{")[1] + line.partition("{")[2])
               for line in done.stdout.splitlines() if "{" in line]  # fmt: skip
    status, info, refusal, names = replies
    assert status["return"]["running"] in (True, False)
    answer = info["return"]
    assert answer["tot_num"] > 0 and answer["avg_time"] == answer["tot_time"] // answer["tot_num"]
    assert answer["info"]["status"] == "colo" and answer["init_time"] is None
    assert answer[MISSING]["init_time"] == "COLO had begun before the probes were armed"
    assert refusal["error"]["class"] == "CommandNotFound"
    assert {*COMMANDS, "migrate"} <= {one["name"] for one in names["return"]}


def test_two_clients_get_a_thousand_answers_and_every_event_once(pair: ColoPair, served: str) -> None:
    async def ask(client: Client, number: int) -> None:
        if number % 2:
            answer = await client.execute("query-version")
            assert isinstance(answer, dict) and "qemu" in answer
            return
        with pytest.raises(ExecuteError, match=f"The command nonsense-{number} has not been found"):
            await client.execute(f"nonsense-{number}")

    async def work() -> None:
        async with connected(served) as one, connected(served) as other:
            began = await tallies(pair.primary, one, other)
            marks = len(one.seen), len(other.seen)
            numbers = iter(range(COMMAND_COUNT))
            while batch := [number for _, number in zip(range(50), numbers, strict=False)]:
                await asyncio.gather(*(ask((one, other)[number // 2 % 2], number) for number in batch))
            resumed = pair.primary.monitor.count("RESUME")
            await until("more checkpoints", lambda: pair.primary.monitor.count("RESUME") >= resumed + CHECKPOINTS)
            ended = await tallies(pair.primary, one, other)
            grown = [(after[0] - before[0], after[1] - before[1]) for before, after in zip(began, ended, strict=True)]
            assert grown[0] == grown[1] == grown[2] and grown[0][1] >= CHECKPOINTS
            first, second = one.seen[marks[0] :], other.seen[marks[1] :]
            assert first == second, "the same events, with QEMU's own times, in the same order"
            assert [event["event"] for event in first if event["event"] in ("STOP", "RESUME")] == [
                "STOP", "RESUME",
            ] * grown[0][1]  # fmt: skip

    run(work)


def test_the_figures_are_those_of_a_session_beside_it(pair: ColoPair, served: str) -> None:
    """A second tracer on the same VM; a reading counts only if no checkpoint ended or was under way meanwhile."""

    async def work() -> None:
        with colotrace.attach(pair.primary.pid) as session:

            async def quiet(client: Client, command: str) -> tuple[Any, Any]:
                while True:
                    session.receive(0)
                    before = session.totals(pair.primary.pid).get(Role.PRIMARY)
                    with contextlib.suppress(ExecuteError):  # no checkpoint yet
                        answer = await client.execute(command)
                        after = session.totals(pair.primary.pid).get(Role.PRIMARY)
                        if before and after and before.idle_since_ns and before.begun == after.begun:
                            return answer, after
                    await asyncio.sleep(0.005)

            async with connected(served) as client:
                await until("a checkpoint", lambda: Role.PRIMARY in session.totals(pair.primary.pid))
                _, baseline = await quiet(client, "reset_checkpoint")
                first = await info_checkpoint(client)
                resumed = pair.primary.monitor.count("RESUME")
                await until("checkpoints", lambda: pair.primary.monitor.count("RESUME") >= resumed + CHECKPOINTS)
                answer, totals = await quiet(client, "info_checkpoint")
                beside = totals.since(baseline)
                assert first["tot_num"] < answer["tot_num"] == beside.checkpoints
                assert first["tot_time"] < answer["tot_time"]
                assert answer["avg_time"] == answer["tot_time"] // answer["tot_num"]
                assert abs(answer["avg_time"] - beside.total_ns // beside.checkpoints) < SAME_CLOCK_NS
                phases = ("stat", "dev", "ram", "put", "recv", "load", "resume")
                assert 0 < sum(answer[f"{phase}_time"] for phase in phases) <= answer["avg_time"]
                for phase in phases:
                    assert answer[f"{phase}_time"] > 0
                assert answer["init_time"] is None and answer["ram_size"] > 0

    run(work)


def test_the_schema_is_qemus_with_ours_in_it(pair: ColoPair, served: str) -> None:
    async def work() -> None:
        async with connected(served) as client:
            schema = await client.execute("query-qmp-schema")
            assert schema == with_schema(pair.primary.execute("query-qmp-schema"))

    run(work)


def test_killed_in_the_middle_it_leaves_the_vm_alone(pair: ColoPair) -> None:
    """In front of the secondary. The nothing_left fixture looks for probes."""
    with bridge(pair.secondary, "--seed-compatible") as (process, path):

        async def work() -> None:
            async with connected(path) as client:
                answer = await info_checkpoint(client)
                assert answer["dev_time"] == answer["resume_time"] == 0 and answer["ram_size"] is None
                kill_hard(process)
                await until("the end", lambda: client.runstate.name != "RUNNING")

        run(work)
        for vm in (pair.primary, pair.secondary):
            done = checkpoints_done(vm)
            wait_for("checkpoints", lambda vm=vm, done=done: checkpoints_done(vm) >= done + 3)  # type: ignore[misc]
        assert isinstance(query_migrate(str(pair.secondary.qmp_path), pair.secondary.pid, DEADLINE_S), dict)
    assert pair.trouble() == []


def test_from_before_colo_to_the_death_of_qemu(make_pair: Callable[..., ColoPair]) -> None:
    """Migration events, no figures before the first checkpoint, init, reset, and how clients learn of the end."""
    pair = make_pair(dirty_mib=8, delay_ms=300, start_colo=False)
    vm = pair.primary
    with bridge(vm, "--json") as (process, path):

        async def work() -> None:
            async with connected(path) as client, connected(path) as other:
                await client.execute(
                    "migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]}
                )
                with pytest.raises(ExecuteError, match="no checkpoint has completed since the probes were armed"):
                    await client.execute("info_checkpoint")
                await asyncio.to_thread(pair.start_colo)
                answer = await info_checkpoint(other)
                assert answer["init_time"] > 0 and "init_time" not in answer.get(MISSING, {})
                await client.execute("reset_checkpoint")
                answer = await info_checkpoint(client)
                assert answer["init_time"] is None and answer[MISSING]["init_time"] == "cleared by reset_checkpoint"
                await tallies(vm, client, other)
                for name in ("MIGRATION", "MIGRATION_PASS"):
                    assert client.count(name) == other.count(name) == vm.monitor.count(name) > 0
                statuses = [one["data"]["status"] for one in client.seen if one["event"] == "MIGRATION"]
                assert statuses[-1] == "colo"
                vm.kill()
                await until("the end", lambda: {one.runstate.name for one in (client, other)} != {"RUNNING"})
                await until("the event", lambda: client.count(QEMU_GONE) == other.count(QEMU_GONE) == 1)
                assert str(vm.pid) in client.seen[-1]["data"]["desc"]

        run(work)
        read_until(process.stdout, '"type":"summary"')
        assert process.wait(DEADLINE_S) == 3
        assert f"process {vm.pid} (QEMU) has ended" in (process.stderr.read() if process.stderr else "")
        assert not Path(path).exists()


def test_a_patched_qemu_answers_itself_unless_overridden(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(qemu=str(binary("faithful")), dirty_mib=8, delay_ms=100)
    vm = pair.primary
    wait_for("checkpoints", lambda: checkpoints_done(vm) >= CHECKPOINTS)

    async def ask(path: str) -> dict[str, Any]:
        async with connected(path) as client:
            names = [one["name"] for one in await client.execute("query-commands")]  # type: ignore[attr-defined]
            assert all(names.count(name) == 1 for name in COMMANDS)
            return dict(await client.execute("info_checkpoint"))  # type: ignore[call-overload]

    with bridge(vm) as (_, path):
        own = asyncio.run(ask(path))
    assert own["init_time"] < 0 and own["recv_time"] == 0 and MISSING not in own, "the patch's own words"
    with bridge(vm, "--override") as (_, path):
        done = checkpoints_done(vm)
        wait_for("checkpoints", lambda: checkpoints_done(vm) >= done + CHECKPOINTS)
        ours = asyncio.run(ask(path))
    assert ours["init_time"] is None and "init_time" in ours[MISSING] and ours["recv_time"] > 0
    assert pair.trouble() == []
