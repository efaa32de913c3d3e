"""A QMP server that behaves as QEMU's monitor does where the bridge depends on it, and a client that sees raw lines."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colotrace.qmp.bridge import Bridge
from colotrace.qmp.downstream import BACKLOG_LIMIT_BYTES
from colotrace.qmp.listener import Listener
from colotrace.qmp.recorder import Recorder
from colotrace.qmp.upstream import open_upstream

DEADLINE_S = 30.0
QUEUE_LEN_MAX = 8  # QMP_REQ_QUEUE_LEN_MAX
VERSION = {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "fake"}
SCHEMA: list[dict[str, Any]] = [
    {"name": "stop", "ret-type": "0", "meta-type": "command", "arg-type": "0"},
    {"name": "query-migrate", "ret-type": "140", "meta-type": "command", "arg-type": "0"},
    {"name": "0", "members": [], "meta-type": "object"},
    {"name": "140", "members": [{"name": "status", "default": None, "type": "str"}], "meta-type": "object"},
    {"name": "int", "json-type": "int", "meta-type": "builtin"},
    {"name": "str", "json-type": "string", "meta-type": "builtin"},
]
Handler = Callable[[dict[str, Any]], Awaitable[object]]


class RefusedError(Exception):
    """A handler raises it to have an error replied."""


class FakeQemu:
    """One client at a time, in-band requests in order, out-of-band ones at once; reads no more with eight queued."""

    def __init__(self, path: Path, *, commands: tuple[str, ...] = ("stop",), capabilities: tuple[str, ...] = ("oob",)):
        self.path = path
        self.requests: list[dict[str, Any]] = []
        """Every request after the negotiation, as it came."""
        self.handlers: dict[str, Handler] = {
            "query-commands": self._returns([{"name": name} for name in commands]),
            "query-qmp-schema": self._returns(SCHEMA),
            "query-migrate": self._returns({"status": "colo"}),
            "query-status": self._returns({"status": "running"}),
            "echo": self._echo,
            "hold": self._hold,
        }
        self.release = asyncio.Event()
        """Lets `hold` return."""
        self.held = 0
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE_LEN_MAX)
        self.reads = asyncio.Event()
        """Cleared, it reads no more."""
        self.reads.set()
        self._capabilities = capabilities
        self._writer: asyncio.StreamWriter | None = None
        self._taken = asyncio.Lock()

    async def __aenter__(self) -> FakeQemu:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.hang_up()
        self._server.close()

    def hang_up(self) -> None:
        """Closes the client's connection."""
        if self._writer:
            self._writer.close()

    def emit(self, event: str, **data: object) -> None:
        """Sends an event."""
        stamp = {"seconds": 1, "microseconds": 2}
        self.send(json.dumps({"timestamp": stamp, "event": event, "data": data}).encode() + b"\r\n")

    def send(self, line: bytes) -> None:
        """Sends bytes as they are."""
        assert self._writer
        self._writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._taken:
            self._writer = writer
            self._reply({"QMP": {"version": VERSION, "capabilities": [*self._capabilities]}})
            worker = asyncio.create_task(self._in_band())
            try:
                async for request in _requests(reader, self.reads):
                    if request.get("execute") == "qmp_capabilities":
                        self._reply({"return": {}})
                        continue
                    self.requests.append(request)
                    if "exec-oob" in request:
                        await self._execute(request)
                    else:
                        await self.queue.put(request)
            except ConnectionError:
                pass
            finally:
                worker.cancel()
                self.queue = asyncio.Queue(QUEUE_LEN_MAX)
                writer.close()

    async def _in_band(self) -> None:
        while True:
            await self._execute(await self.queue.get())

    async def _execute(self, request: dict[str, Any]) -> None:
        name = request.get("execute") or request["exec-oob"]
        answer: dict[str, object]
        try:
            if name in self.handlers:
                answer = {"return": await self.handlers[name](request)}
            else:
                answer = {"error": {"class": "CommandNotFound", "desc": f"The command {name} has not been found"}}
        except RefusedError as error:
            answer = {"error": {"class": "GenericError", "desc": str(error)}}
        self._reply(answer | ({"id": request["id"]} if "id" in request else {}))

    def _reply(self, message: dict[str, object]) -> None:
        self.send(json.dumps(message).encode() + b"\r\n")

    @staticmethod
    def _returns(value: object) -> Handler:
        async def handler(_request: dict[str, Any]) -> object:
            return value

        return handler

    async def _echo(self, request: dict[str, Any]) -> object:
        return request.get("arguments", {})

    async def _hold(self, request: dict[str, Any]) -> object:
        self.held += 1
        await self.release.wait()
        return request.get("arguments", {})


async def _requests(reader: asyncio.StreamReader, reads: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
    """qemu.qmp sends one object after the other, without anything in between."""
    text = ""
    while await reads.wait() and (data := await reader.read(1 << 20)):
        text += data.decode()
        while text:
            try:
                request, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            text = text[end:].lstrip()
            yield request


class Wire:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, greeting: dict[str, Any]) -> None:
        self.reader, self.writer, self.greeting = reader, writer, greeting

    @classmethod
    async def open(cls, path: Path | str, *enable: str, negotiate: bool = True) -> Wire:
        """Connects, and negotiates."""
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 28)
        wire = cls(reader, writer, json.loads(await reader.readline()))
        if negotiate:
            wire.send({"execute": "qmp_capabilities", "arguments": {"enable": [*enable]}})
            assert await wire.read() == {"return": {}}
        return wire

    def send(self, *requests: dict[str, Any] | bytes) -> None:
        """Sends objects, or bytes as they are."""
        for request in requests:
            self.writer.write(request if isinstance(request, bytes) else json.dumps(request).encode())

    async def line(self) -> bytes:
        """The next line; empty at the end."""
        return await asyncio.wait_for(self.reader.readline(), DEADLINE_S)

    async def read(self) -> dict[str, Any]:
        """The next message."""
        line = await self.line()
        assert line, "the connection has ended"
        message: dict[str, Any] = json.loads(line)
        return message

    async def ask(self, request: dict[str, Any] | bytes) -> dict[str, Any]:
        """The next message after a request."""
        self.send(request)
        return await self.read()

    def sleep(self) -> None:
        """Reads no more from the socket, until wake()."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def wake(self) -> None:
        """Reads again."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Hangs up."""
        self.writer.close()


@dataclass
class Setup:
    """A bridge in front of a fake QEMU."""

    qemu: FakeQemu
    bridge: Bridge
    path: Path
    stop: asyncio.Event
    serving: asyncio.Task[None]
    told: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    async def wire(self, *enable: str, negotiate: bool = True) -> Wire:
        """A client; hung up on at the end."""
        self.wires.append(await Wire.open(self.path, *enable, negotiate=negotiate))
        return self.wires[-1]

    def words(self) -> list[str]:
        """The words that the bridge has told."""
        return [word for word, _text, _details in self.told]


@contextlib.asynccontextmanager
async def bridged(
    recorder: Recorder | None = None, *, pid: int = 0, timeout_s: float = DEADLINE_S,
    backlog_limit: int = BACKLOG_LIMIT_BYTES, capabilities: tuple[str, ...] = ("oob",),
) -> AsyncIterator[Setup]:  # fmt: skip
    """A bridge that serves, until the block ends; what it raises by itself is for `serving` to tell."""
    told: list[tuple[str, str, dict[str, object]]] = []
    with short_directory() as folder:
        async with FakeQemu(folder / "qemu.sock", capabilities=capabilities) as qemu:
            upstream = await open_upstream(str(qemu.path), os.getpid(), timeout_s)
            bridge = Bridge(
                upstream, pid or os.getpid(), recorder, lambda *one: told.append(one), backlog_limit=backlog_limit
            )
            stop = asyncio.Event()
            with Listener(str(folder / "bridge.sock")) as listener:
                serving = asyncio.create_task(bridge.serve(listener.socket, stop))
                setup = Setup(qemu, bridge, folder / "bridge.sock", stop, serving, told)
                yield setup
                stop.set()
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(serving, DEADLINE_S)
            with contextlib.suppress(Exception):
                await upstream.hang_up()
            for wire in setup.wires:
                wire.close()


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Waits for a state; AssertionError at the deadline."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not holds():
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen within {DEADLINE_S:g} s"
        await asyncio.sleep(0.002)


def scenario(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Makes a coroutine function a test."""

    async def watched() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        await asyncio.wait_for(work(), 2 * DEADLINE_S)
        gc.collect()  # has tasks whose exceptions nobody has asked for complain
        assert complaints == []

    def test() -> None:
        asyncio.run(watched())

    test.__doc__, test.__module__ = work.__doc__, work.__module__
    return test


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose name leaves room in a unix socket's path."""
    with tempfile.TemporaryDirectory(prefix="qb") as name:
        yield Path(name)
