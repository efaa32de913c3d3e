"""One client of the bridge: a QMP server's side of a connection, with the semantics of QEMU's own monitor."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Protocol

from qemu.qmp import Message, QMPError, Runstate
from qemu.qmp.protocol import AsyncProtocol

from colotrace.qmp.framing import MalformedError, MessageSplitter, decode
from colotrace.qmp.hangup import hang_up
from colotrace.qmp.requests import (
    COMMAND_NOT_FOUND,
    NEGOTIATE,
    OOB,
    RequestError,
    command_of,
    error_reply,
    negotiated_oob,
    return_reply,
    with_id,
)
from colotrace.qmp.upstream import Deliver

QUEUE_LIMIT = 8
"""In-band requests that wait their turn; a client that sends more is not read from (QEMU: QMP_REQ_QUEUE_LEN_MAX)."""
BACKLOG_LIMIT_BYTES = 4 << 20
"""Events that a client may leave unread before the connection is cut; replies wait for it to read instead."""
GRACE_S = 5.0
"""For requests under way when a client stops sending, or QEMU has gone."""
_READ_BYTES = 64 * 1024


class Executor(Protocol):
    """What a client session needs of the bridge."""

    greeting: Message
    has_oob: bool

    async def execute(self, command: str, request: Message, deliver: Deliver) -> None:
        """Has a command executed that is well formed; returns once `deliver` has been called with the reply."""


class ClientSession(AsyncProtocol[Message]):
    """A client's connection from greeting to hang-up. Await serve(), once."""

    def __init__(self, number: int, executor: Executor, backlog_limit: int = BACKLOG_LIMIT_BYTES) -> None:
        super().__init__(f"client-{number}")
        self.number = number
        self.commands = 0
        """Requests so far, refused and malformed ones included."""
        self.was_dropped = False
        """Whether the connection was cut because the client did not read."""
        self._executor = executor
        self._backlog_limit = self._allowed_bytes = backlog_limit
        self._is_negotiated = self._has_oob = False
        self._splitter = MessageSplitter()
        self._arrived: Iterator[bytes | MalformedError] = iter(())
        self._in_band: asyncio.Queue[Message | MalformedError] = asyncio.Queue(QUEUE_LIMIT)
        self._is_idle = asyncio.Event()
        """Set while the reader waits for bytes, and has none left over."""
        self._end = asyncio.Event()

    async def serve(self, connection: socket.socket) -> None:
        """Greets, answers, and returns when the connection has ended, whoever ended it."""
        try:
            await self.connect(connection)
        except QMPError:
            connection.close()  # it went before it was greeted
            return
        tasks = [asyncio.create_task(work) for work in (self._work(), self._closed(), self._end.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(QMPError, OSError, EOFError):
                await hang_up(self, self._writer)

    def send_event(self, event: Message) -> None:
        """Passes an event on; a client gets none before it has negotiated, as with QEMU."""
        if self._is_negotiated:
            self._put(event)

    async def end(self, event: Message | None = None) -> None:
        """Has serve() hang up; with a last event, after what the client has asked for has been answered."""
        if event:
            await self._quiet()
            self.send_event(event)
        self._end.set()

    async def _establish_session(self) -> None:
        await self._send(self._executor.greeting)
        await super()._establish_session()

    async def _closed(self) -> None:
        while self.runstate is Runstate.RUNNING:
            await self.runstate_changed()

    async def _do_recv(self) -> Message:
        """The next request. What is malformed gets its error reply in its turn, and the connection lives on."""
        assert self._reader
        while True:
            for one in self._arrived:
                try:
                    if isinstance(one, MalformedError):
                        raise one
                    return Message(decode(one), eager=False)
                except MalformedError as error:
                    await self._in_band.put(error)
            self._is_idle.set()
            data = await self._reader.read(_READ_BYTES)
            if not data:
                await self._finish()
                raise EOFError
            self._is_idle.clear()
            self._arrived = self._splitter.feed(data)

    async def _quiet(self) -> None:
        """Waits until all that has arrived has been answered; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._in_band.join()
                while not self._is_idle.is_set():  # the reader had more than the queue could take
                    await self._is_idle.wait()
                    await self._in_band.join()

    async def _finish(self) -> None:
        """The client sends no more; it may well have shut down only its sending side, and still wait for replies."""
        await self._quiet()
        await self._outgoing.join()

    async def _on_message(self, msg: Message) -> None:
        """Out-of-band requests are executed here, ahead of the queue; nothing more is read meanwhile, as in QEMU."""
        if OOB in msg and "execute" not in msg and self._has_oob:
            assert self._writer
            await self._writer.drain()
            await self._answer(msg)
        else:
            await self._in_band.put(msg)

    async def _work(self) -> None:
        """Answers in-band requests, one at a time, in their order."""
        assert self._writer
        while True:
            request = await self._in_band.get()
            try:
                await self._writer.drain()  # who does not read replies gets no more of them
                if isinstance(request, MalformedError):
                    self.commands += 1
                    self._put(error_reply(str(request)))
                else:
                    await self._answer(request)
            except OSError:
                return  # it has hung up
            finally:
                self._in_band.task_done()

    async def _answer(self, request: Message) -> None:
        self.commands += 1
        try:
            command = command_of(request, oob=self._has_oob)
            if command == NEGOTIATE or not self._is_negotiated:
                self._negotiate(command, request)
                return
        except RequestError as error:
            self._put(with_id(error_reply(str(error), error.error_class), request))
            return
        await self._executor.execute(command, request, lambda reply: self._put(with_id(reply, request)))

    def _negotiate(self, command: str, request: Message) -> None:
        if not self._is_negotiated and command != NEGOTIATE:
            raise RequestError(f"Expecting capabilities negotiation with '{NEGOTIATE}'", COMMAND_NOT_FOUND)
        if OOB in request:
            raise RequestError(f"The command {NEGOTIATE} does not support OOB")
        if self._is_negotiated:
            raise RequestError("Capabilities negotiation is already complete, command ignored", COMMAND_NOT_FOUND)
        self._has_oob = negotiated_oob(request, offered=self._executor.has_oob)
        self._is_negotiated = True
        self._put(with_id(return_reply({}), request))

    def _put(self, message: Message) -> None:
        if self.runstate is Runstate.RUNNING:
            self._outgoing.put_nowait(message)

    def _do_send(self, msg: Message) -> None:
        assert self._writer
        transport = self._writer.transport
        if transport.is_closing():
            return
        data = bytes(msg)
        unread = transport.get_write_buffer_size()
        if "event" not in msg:  # it may be long, and the client may be reading it
            self._allowed_bytes = unread + len(data) + self._backlog_limit
        elif not unread:
            self._allowed_bytes = self._backlog_limit
        elif unread > self._allowed_bytes:
            self.was_dropped = True
            transport.abort()
            raise BrokenPipeError(f"client {self.number} does not read")
        self._writer.write(data if data.endswith(b"\n") else data + b"\r\n")

    def _cb_inbound(self, msg: Message) -> Message:
        return msg  # the library's hook formats every message for the debug log, whether it is on or not

    def _cb_outbound(self, msg: Message) -> Message:
        return msg
