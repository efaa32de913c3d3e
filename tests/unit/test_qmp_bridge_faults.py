"""The bridge among those who misbehave: malformed input, a QEMU that hangs or goes, clients that do not read."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colotrace.errors import QmpError, TargetError
from colotrace.qmp import bridge as bridge_module
from colotrace.qmp.schema import QEMU_GONE
from colotrace.qmp.upstream import IN_BAND_LIMIT, open_upstream

from .fakeqemu import FakeQemu, Wire, bridged, scenario, short_directory, until

PING = b'{"execute":"echo","id":"ping"}'
PONG = {"return": {}, "id": "ping"}


@pytest.fixture
def short_path() -> Iterator[Path]:
    with short_directory() as folder:
        yield folder


@pytest.mark.parametrize(
    "junk",
    [
        b"{bad}", b"}", b"hello\n", b'{"execute" "echo"}', b"[1]", b"12\n", b'"text"\n', b"{]", b'{"execute":"ec\n',
        b'{"a":"\xff"}', b"{\xff", b'{"id":NaN}', b'{"id":Infinity}', b'{"id":1e400}', b'{"id":"\\ud800"}',
        b'{"id":"\\ufdd0"}', b'{"id":"\xed\xa0\x80"}', b'{"execute":"echo","execute":"echo"}', b"{'execute':'echo'}",
        b'{"id":' + b"9" * 5000 + b"}", b'{"id":' + b"[" * 5000 + b"]" * 5000 + b"}", b"{\x00", b'{"x":tru}',
        b'{"a":"x\x01y"}',
    ],
    ids=lambda junk: repr(junk[:24]),
)  # fmt: skip
def test_malformed_input_gets_one_error_and_the_connection_lives_on(junk: bytes) -> None:
    async def work() -> None:
        async with bridged() as setup:
            wire = await setup.wire("oob")
            wire.send(b'{"execute":"echo","id":1}' + junk + PING)
            assert await wire.read() == {"return": {}, "id": 1}
            refused = await wire.read()
            assert set(refused) == {"error"} and refused["error"]["class"] == "GenericError"
            assert "JSON" in refused["error"]["desc"]
            assert await wire.read() == PONG
            assert len(setup.qemu.requests) == 2, "QEMU was not bothered with it"

    scenario(work)()


@scenario
async def test_a_request_that_qemu_cannot_parse_gets_its_error() -> None:
    """QEMU's parser has limits of its own; its error then has no id, and answers the oldest in-band request."""
    async with bridged() as setup:

        async def no_id(_request: dict[str, Any]) -> object:
            setup.qemu.send(b'{"error": {"class": "GenericError", "desc": "JSON token count limit exceeded"}}\r\n')
            return await asyncio.get_running_loop().create_future()

        setup.qemu.handlers["long"] = no_id
        wire = await setup.wire("oob")
        reply = await wire.ask({"execute": "long", "id": "it"})
        assert reply["id"] == "it" and "limit exceeded" in reply["error"]["desc"]
        assert await wire.ask({"exec-oob": "echo", "id": 2}) == {"return": {}, "id": 2}


@scenario
async def test_answers_that_nobody_waits_for_do_no_harm() -> None:
    async with bridged() as setup:
        leaver, stayer = await setup.wire(), await setup.wire()
        leaver.send({"execute": "hold", "id": 1})
        await until("hold", lambda: setup.qemu.held == 1)
        leaver.close()
        setup.qemu.send(b'{"return": {}, "id": "unheard of"}\r\n{"return": {}, "id": [1]}\r\n')
        setup.qemu.release.set()
        assert await stayer.ask(PING) == PONG
        await until("leaving", lambda: "client-left" in setup.words())


@scenario
async def test_a_silent_client_that_leaves_gives_its_slot_back() -> None:
    async with bridged() as setup:
        for _ in range(3 * IN_BAND_LIMIT):
            wire = await setup.wire()
            wire.send({"execute": "hold"})
            await until("hold", lambda: setup.qemu.held > 0)
            wire.close()
            setup.qemu.release.set()
            assert await (await setup.wire()).ask(PING) == PONG
            setup.qemu.release.clear()
            setup.qemu.held = 0


def test_an_upstream_that_does_not_answer_is_told(short_path: Path) -> None:
    path = short_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        began = time.monotonic()
        with pytest.raises(QmpError, match="greeting") as caught:
            asyncio.run(open_upstream(str(path), os.getpid(), 0.2))
        assert time.monotonic() - began < 10 and "in use" in str(caught.value.remedy)


def test_an_upstream_in_use_is_told(short_path: Path) -> None:
    async def work() -> None:
        async with FakeQemu(short_path / "qemu.sock") as qemu:
            await Wire.open(qemu.path)
            with pytest.raises(QmpError, match="greeting"):
                await open_upstream(str(qemu.path), os.getpid(), 0.2)

    scenario(work)()


@pytest.mark.parametrize("says", [b"SSH-2.0-x\r\n", b'{"hello": 1}\r\n', b""], ids=["ssh", "json", "nothing"])
def test_an_upstream_that_speaks_something_else_is_told(short_path: Path, says: bytes) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    async def work() -> None:
        path = short_path / "other.sock"
        async with await asyncio.start_unix_server(answer, path):
            with pytest.raises(QmpError, match="cannot talk QMP"):
                await open_upstream(str(path), os.getpid(), 5)

    scenario(work)()


def test_an_upstream_of_another_process_is_told(short_path: Path) -> None:
    async def work() -> None:
        async with FakeQemu(short_path / "qemu.sock") as qemu:
            with pytest.raises(QmpError, match="belongs to process"):
                await open_upstream(str(qemu.path), os.getppid(), 5)

    scenario(work)()


async def _told_of_the_end(wire: Wire, ids: list[object]) -> None:
    for one in ids:
        reply = await wire.read()
        assert reply["id"] == one and "QEMU has gone" in reply["error"]["desc"]
    event = await wire.read()
    assert event["event"] == QEMU_GONE and event["data"]["desc"] and event["timestamp"]["seconds"] > 1_600_000_000
    assert await wire.line() == b""


async def _goes(ends: Callable[[], object], error: type[Exception], words: str, pid: int) -> None:
    async with bridged(pid=pid) as setup:
        busy, also_busy, idle = [await setup.wire("oob") for _ in range(3)]
        early = await setup.wire(negotiate=False)
        setup.qemu.handlers["slow-oob"] = setup.qemu.handlers["hold"]
        busy.send(*({"execute": "hold", "id": n} for n in range(50)), {"execute": "info_checkpoint", "id": None})
        also_busy.send({"execute": "hold", "id": {"x": 1}})
        await until("requests to be under way", lambda: setup.bridge.counts.commands == 2)
        setup.qemu.send(b'{"event": "LAST"}\r\n')
        setup.qemu.hang_up()
        ends()
        for wire in (busy, also_busy, idle):
            assert await wire.line() == b'{"event": "LAST"}\r\n'
        await _told_of_the_end(busy, [*range(50), None])
        await _told_of_the_end(also_busy, [{"x": 1}])
        await _told_of_the_end(idle, [])
        assert await early.line() == b"", "it has not negotiated, and only sees the end"
        with pytest.raises(error, match=words):
            await setup.serving


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "EXIT_S", 0.2)


def test_a_qemu_that_ends_is_told_to_all(impatient: None) -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            scenario(lambda: _goes(child.kill, TargetError, f"process {child.pid} .* has ended", child.pid))()
        finally:
            child.kill()


def test_a_qemu_that_only_closes_the_connection_is_told_apart(impatient: None) -> None:
    scenario(lambda: _goes(lambda: None, QmpError, "runs on, but the connection", os.getpid()))()


def test_a_qemu_that_ends_while_another_holds_its_socket(impatient: None) -> None:
    async def work() -> None:
        with subprocess.Popen(["sleep", "600"]) as child:
            try:
                async with bridged(pid=child.pid) as setup:
                    wire = await setup.wire()
                    child.kill()
                    await _told_of_the_end(wire, [])
                    with pytest.raises(TargetError):
                        await setup.serving
            finally:
                child.kill()

    scenario(work)()


def test_a_qemu_that_sends_no_json_ends_the_bridge(impatient: None) -> None:
    async def work() -> None:
        async with bridged() as setup:
            wire = await setup.wire()
            setup.qemu.send(b"Segmentation fault\r\n")
            await _told_of_the_end(wire, [])
            with pytest.raises(QmpError):
                await setup.serving

    scenario(work)()


@scenario
async def test_a_client_that_does_not_read_events_is_dropped_and_told() -> None:
    async with bridged(backlog_limit=100_000) as setup:
        reader, sleeper = await setup.wire(), await setup.wire()
        sleeper.sleep()
        sent = 0
        while not setup.bridge.counts.dropped:
            setup.qemu.emit("NOISE", number=sent, text="x" * 10_000)
            assert (await reader.read())["data"]["number"] == sent
            sent += 1
            assert sent < 1000, "10 MB unread, and still connected"
        assert [details["client"] for word, _, details in setup.told if word == "client-dropped"] == [2]
        sleeper.wake()
        await asyncio.wait_for(_read_to_end(sleeper), 10)
        assert await reader.ask(PING) == PONG


async def _read_to_end(wire: Wire) -> None:
    try:
        while await wire.reader.read(1 << 20):
            pass
    except ConnectionError:
        pass


@pytest.mark.parametrize("how", ["execute", "exec-oob"])
def test_replies_wait_for_a_client_that_does_not_read(how: str) -> None:
    scenario(lambda: _asks_and_sleeps(how))()


async def _asks_and_sleeps(how: str) -> None:
    """It asks for 20 MB in 200 replies, reads later, and is neither dropped nor served from a heap of memory."""
    async with bridged(backlog_limit=100_000) as setup:
        done = 0

        async def large(_request: dict[str, Any]) -> object:
            nonlocal done
            done += 1
            return "x" * 100_000

        setup.qemu.handlers["large"] = large
        wire, other = await setup.wire("oob"), await setup.wire()
        wire.sleep()
        for number in range(200):
            wire.send({how: "large", "id": number})
        before = -1
        while before != done:
            before = done
            for _ in range(20):
                assert await other.ask(PING) == PONG
        assert 0 < done < 50
        setup.qemu.emit("NOISE")  # a long reply unread is no reason to be dropped
        assert (await other.read())["event"] == "NOISE"
        wire.wake()
        seen = [await wire.read() for _ in range(201)]
        assert [one["id"] for one in seen if "id" in one] == [*range(200)]
        assert setup.bridge.counts.dropped == 0


@scenario
async def test_stopping_hangs_up_on_clients_that_read_and_on_those_that_do_not() -> None:
    async with bridged() as setup:
        reader, sleeper, asker = [await setup.wire() for _ in range(3)]
        sleeper.sleep()
        for number in range(100):
            setup.qemu.emit("NOISE", text="x" * 10_000, number=number)
        asker.send({"execute": "hold"})
        await until("hold", lambda: setup.qemu.held == 1 and setup.bridge.counts.events == 100)
        setup.stop.set()
        await asyncio.wait_for(setup.serving, 10)
        assert [(await reader.read())["data"]["number"] for _ in range(100)] == [*range(100)]
        assert await reader.line() == b""
        assert setup.words().count("client-left") == 3
