"""The bridge passes QMP through: ids, order, events, out-of-band, many clients; against a fake QEMU."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from qemu.qmp import ExecuteError, QMPClient

from colotrace.qmp.upstream import IN_BAND_LIMIT

from .fakeqemu import VERSION, RefusedError, Setup, Wire, bridged, scenario, until

IDS: list[object] = [
    0, -1, 1.5, 1 << 80, "", "x", "ü€😀", "\x00\x1f\"\\", True, False, None, [], [1, [None, {}]], {},
    {"id": {"id": [0]}}, "colotrace#1", "__qmp#00001",
]  # fmt: skip


@scenario
async def test_ids_of_every_json_type_come_back() -> None:
    async with bridged() as setup:
        wire = await setup.wire()
        for one in IDS:
            reply = await wire.ask({"execute": "echo", "arguments": {"a": [one]}, "id": one})
            assert reply == {"return": {"a": [one]}, "id": one} and type(reply["id"]) is type(one)
            refused = await wire.ask({"execute": "nonsense", "id": one})
            assert refused["id"] == one and refused["error"]["class"] == "CommandNotFound"
        assert "id" not in await wire.ask({"execute": "echo"})
        sent = [request["id"] for request in setup.qemu.requests]
        assert len(set(sent)) == len(sent) == 2 * len(IDS) + 1, "every request upstream has an id of its own"


@scenario
async def test_many_clients_get_their_own_answers_in_their_order() -> None:
    """A thousand requests of ten clients, in flight at once, with the same ids everywhere."""

    async def client(setup: Setup, name: int) -> None:
        wire = await setup.wire(*(["oob"] if name % 2 else []))
        for number in range(100):
            wire.send({"execute": "echo", "arguments": {"client": name, "number": number}, "id": number})
        for number in range(100):
            assert await wire.read() == {"return": {"client": name, "number": number}, "id": number}

    async with bridged() as setup:
        await asyncio.gather(*(client(setup, name) for name in range(10)))
        order = [request["arguments"]["client"] for request in setup.qemu.requests]
        assert len(order) == 1000 and order != sorted(order), "they did not wait for each other"
        assert setup.bridge.counts.commands == 1000 and setup.bridge.counts.clients == 10


@scenario
async def test_arguments_errors_and_unknown_members_go_through() -> None:
    async def refuse(_request: dict[str, Any]) -> object:
        raise RefusedError("no such thing")

    async with bridged() as setup:
        setup.qemu.handlers["refuse"] = refuse
        wire = await setup.wire()
        arguments = {"deep": [{"er": [1.25, None, "ü"]}], "big": "x" * 300_000}
        assert (await wire.ask({"execute": "echo", "arguments": arguments}))["return"] == arguments
        expected = {"error": {"class": "GenericError", "desc": "no such thing"}, "id": 3}
        assert await wire.ask({"execute": "refuse", "id": 3}) == expected


@scenario
async def test_events_reach_every_client_once_as_they_are() -> None:
    lines = [b'{"timestamp" : {"seconds": 1, "microseconds": 2},  "event":"E%d", "data": {"f": 1.50}}\r\n' % n
             for n in range(2000)]  # fmt: skip

    async def reader(wire: Wire) -> list[bytes]:
        return [await wire.line() for _ in lines]

    async with bridged() as setup:
        wires = [await setup.wire() for _ in range(4)]
        silent = await setup.wire(negotiate=False)
        readers = [asyncio.create_task(reader(wire)) for wire in wires]
        for at in range(0, len(lines), 50):
            setup.qemu.send(b"".join(lines[at : at + 50]))
            await asyncio.sleep(0)
        for got in await asyncio.gather(*readers):
            assert got == lines
        assert setup.bridge.counts.events == len(lines)
        # one that has not negotiated gets none, as with QEMU: the next thing it hears is its own reply
        assert await silent.ask({"execute": "qmp_capabilities"}) == {"return": {}}
        setup.qemu.send(lines[0])
        assert await silent.line() == lines[0]


@scenario
async def test_replies_and_events_keep_qemus_order() -> None:
    async with bridged() as setup:

        async def stop(_request: dict[str, Any]) -> object:
            setup.qemu.emit("STOP")
            asyncio.get_running_loop().call_soon(setup.qemu.emit, "RESUME")
            return {}

        setup.qemu.handlers["stop"] = stop
        wire = await setup.wire()
        for number in range(50):
            wire.send({"execute": "stop", "id": number})
            seen = [await wire.read() for _ in range(3)]
            assert [one.get("event", one.get("id")) for one in seen] == ["STOP", number, "RESUME"]


@scenario
async def test_out_of_band_overtakes_in_the_same_client() -> None:
    async with bridged() as setup:
        wire = await setup.wire("oob")
        wire.send({"execute": "hold", "id": 1}, {"execute": "echo", "id": 2})
        await until("hold", lambda: setup.qemu.held == 1)
        assert await wire.ask({"exec-oob": "echo", "id": "now"}) == {"return": {}, "id": "now"}
        assert setup.qemu.requests[-1]["exec-oob"] == "echo"
        setup.qemu.release.set()
        assert [(await wire.read())["id"] for _ in range(2)] == [1, 2]


@scenario
async def test_out_of_band_gets_through_however_much_is_queued() -> None:
    """QEMU reads no more with eight requests queued, so the bridge must hold some back. So does the fake."""
    async with bridged() as setup:
        busy = [await setup.wire("oob") for _ in range(12)]
        for number, wire in enumerate(busy):
            wire.send(*({"execute": "hold", "id": [number, n]} for n in range(3)))
        await until("requests to be under way", lambda: len(setup.qemu.requests) == IN_BAND_LIMIT)
        urgent = await setup.wire("oob")
        assert await urgent.ask({"exec-oob": "echo", "id": 0}) == {"return": {}, "id": 0}
        assert len(setup.qemu.requests) == IN_BAND_LIMIT + 1
        setup.qemu.release.set()
        for number, wire in enumerate(busy):
            assert [(await wire.read())["id"] for _ in range(3)] == [[number, n] for n in range(3)]


@scenario
async def test_negotiation_is_as_qemus() -> None:
    not_yet = "Expecting capabilities negotiation with 'qmp_capabilities'"
    done = "Capabilities negotiation is already complete, command ignored"
    unexpected = "QMP input member 'exec-oob' is unexpected"
    async with bridged() as setup:
        wire = await setup.wire(negotiate=False)
        assert wire.greeting == {"QMP": {"version": VERSION, "capabilities": ["oob"]}}
        steps: list[tuple[dict[str, Any], str | None, str]] = [
            ({"execute": "echo"}, "CommandNotFound", not_yet),
            ({"execute": "info_checkpoint"}, "CommandNotFound", not_yet),
            ({"exec-oob": "echo"}, "GenericError", unexpected),
            ({"execute": "qmp_capabilities", "arguments": {"enable": ["warp"]}}, "GenericError", "'warp'"),
            ({"execute": "qmp_capabilities", "arguments": {"enable": 1}}, "GenericError", "expected: array"),
            ({"execute": "qmp_capabilities", "arguments": {"x": 1}}, "GenericError", "Parameter 'x' is unexpected"),
            ({"execute": "qmp_capabilities"}, None, ""),
            ({"execute": "qmp_capabilities"}, "CommandNotFound", done),
            ({"exec-oob": "echo"}, "GenericError", unexpected),
            ({"execute": "echo", "bogus": 1}, "GenericError", "QMP input member 'bogus' is unexpected"),
            ({"execute": 1}, "GenericError", "QMP input member 'execute' must be a string"),
            ({"execute": "echo", "arguments": 1}, "GenericError", "QMP input member 'arguments' must be an object"),
            ({}, "GenericError", "QMP input lacks member 'execute'"),
        ]
        for number, (request, error_class, words) in enumerate(steps):
            reply = await wire.ask(request | {"id": number})
            assert reply["id"] == number
            if error_class is None:
                assert reply["return"] == {}
            else:
                assert reply["error"]["class"] == error_class and words in reply["error"]["desc"], request
        oob = await setup.wire("oob")
        for request, words in [
            ({"exec-oob": "qmp_capabilities"}, "The command qmp_capabilities does not support OOB"),
            ({"execute": "echo", "exec-oob": "echo"}, "clashes"),
        ]:
            assert words in (await oob.ask(request))["error"]["desc"]
        assert setup.qemu.requests == [], "none of them was QEMU's business"


@scenario
async def test_out_of_band_is_not_offered_if_qemu_does_not() -> None:
    async with bridged(capabilities=()) as setup:
        wire = await setup.wire(negotiate=False)
        assert wire.greeting["QMP"]["capabilities"] == []
        reply = await wire.ask({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})
        assert "not available" in reply["error"]["desc"]
        assert await wire.ask({"execute": "qmp_capabilities"}) == {"return": {}}
        assert await wire.ask({"execute": "echo"}) == {"return": {}}


@scenario
async def test_the_stock_client_works() -> None:
    """qemu.qmp sends no newlines."""
    async with bridged() as setup:
        client = QMPClient("stock")
        await client.connect(str(setup.path))
        answers = await asyncio.gather(*(client.execute("echo", {"n": n}) for n in range(100)))
        assert answers == [{"n": n} for n in range(100)]
        assert await client.execute("echo", {"oob": 1}, oob=True) == {"oob": 1}
        with pytest.raises(ExecuteError) as caught:
            await client.execute("nonsense")
        assert caught.value.error_class == "CommandNotFound"
        await client.disconnect()
        await until("leaving", lambda: "client-left" in setup.words())


@scenario
async def test_messages_may_come_in_any_pieces() -> None:
    chance = random.Random(7)
    requests = [{"execute": "echo", "arguments": {"text": '}{]["\\' * n, "n": n}, "id": n} for n in range(60)]
    styles = (json.dumps, lambda one: json.dumps(one, indent=2), lambda one: f"\r\n \t{json.dumps(one)}\n")
    stream = b"".join(chance.choice(styles)(one).encode() for one in requests)
    async with bridged() as setup:
        wire = await setup.wire()
        at = 0
        while at < len(stream):
            size = chance.randint(1, 40)
            wire.send(stream[at : at + size])
            await wire.writer.drain()
            await asyncio.sleep(0)
            at += size
        for one in requests:
            assert await wire.read() == {"return": one["arguments"], "id": one["id"]}


@scenario
async def test_a_client_that_sends_and_shuts_down_gets_its_answers() -> None:
    """As `printf ... | socat - UNIX:PATH` does."""
    async with bridged() as setup:
        wire = await setup.wire()
        wire.send(*({"execute": "echo", "id": n} for n in range(20)))
        wire.writer.write_eof()
        assert [(await wire.read())["id"] for _ in range(20)] == [*range(20)]
        assert await wire.line() == b""
