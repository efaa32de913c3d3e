"""A QMP server in front of one QEMU: many clients, two commands more, everything else passed through as it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from qemu.qmp import Message

from colotrace.errors import ColotraceError, QmpError, TargetError
from colotrace.qmp.downstream import BACKLOG_LIMIT_BYTES, ClientSession
from colotrace.qmp.peer import peer_pid
from colotrace.qmp.recorder import Recorder
from colotrace.qmp.requests import OOB, RequestError, arguments_of, error_reply, return_reply
from colotrace.qmp.schema import COMMANDS, INFO_CHECKPOINT, QEMU_GONE, with_commands, with_schema
from colotrace.qmp.upstream import Deliver, Upstream

CLIENT_LIMIT = 64
"""Clients at a time; further ones wait in the socket's backlog, as all but one do with QEMU."""
EXIT_S = 5.0
"""For a QEMU that has closed its end to be seen to have ended."""
_ACCEPT_PAUSE_S = 0.1

Tell = Callable[[str, str, dict[str, object]], None]
"""Takes what a person, or a log, should know: a stable word, a sentence, details as JSON types."""


@dataclass
class Counts:
    """What a run has done."""

    clients: int = 0
    dropped: int = 0
    """Clients cut off because they did not read."""
    commands: int = 0
    answered: int = 0
    """Commands answered from the kernel's totals."""
    events: int = 0


class Bridge:
    """Serves clients until told to stop or QEMU has gone. `recorder` None passes the two commands through."""

    def __init__(
        self, upstream: Upstream, pid: int, recorder: Recorder | None, tell: Tell,
        backlog_limit: int = BACKLOG_LIMIT_BYTES,
    ) -> None:  # fmt: skip
        greeting = upstream.greeting
        assert greeting
        self.has_oob = upstream.has_oob
        capabilities = ["oob"] if self.has_oob else []
        self.greeting = Message({"QMP": {"version": dict(greeting.QMP.version), "capabilities": capabilities}})
        self.counts = Counts()
        self._upstream = upstream
        self._pid = pid
        self._recorder = recorder
        self._tell = tell
        self._backlog_limit = backlog_limit
        self._sessions: dict[ClientSession, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(CLIENT_LIMIT)
        upstream.on_event = self._broadcast

    @property
    def has_recorder(self) -> bool:
        """Whether the two commands are answered here."""
        return self._recorder is not None

    async def serve(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Returns after `stop`, when all clients have been hung up on.

        Raises TargetError if QEMU has ended, QmpError if it has only closed the connection.
        """
        with _ExitWatch(self._pid) as watch:
            accepting = asyncio.create_task(self._accept(listening))
            going = asyncio.create_task(self._wait_gone(watch))
            stopping = asyncio.create_task(stop.wait())
            tasks = (accepting, going, stopping)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                accepting.cancel()
                stopping.cancel()
                has_gone = going.done()
                if not has_gone:
                    going.cancel()
                await self._end_clients(_gone_event(self._pid) if has_gone else None)
            if accepting.done() and not accepting.cancelled():
                accepting.result()  # a defect of ours
            if has_gone:
                raise await self._explain(going.result(), watch)

    async def execute(self, command: str, request: Message, deliver: Deliver) -> None:
        """Answers ours, amends the two commands that list commands, and passes on the rest."""
        self.counts.commands += 1
        if self._recorder and command in COMMANDS:
            deliver(await self._answer(self._recorder, command, request))
        elif self._recorder and command in _AMENDED:
            amend = _AMENDED[command]
            await self._upstream.forward(request, lambda reply: deliver(amended(reply, amend)))
        else:
            await self._upstream.forward(request, deliver)

    async def _answer(self, recorder: Recorder, command: str, request: Message) -> Message:
        try:
            if OOB in request:
                raise RequestError(f"The command {command} does not support OOB")
            arguments_of(request)
            self.counts.answered += 1
            if command == INFO_CHECKPOINT:
                return return_reply(recorder.answer(await self._migration_info()))
            recorder.reset()
            return return_reply({})
        except RequestError as error:
            return error_reply(str(error), error.error_class)
        except ColotraceError as error:
            return error_reply(error.message)

    async def _migration_info(self) -> dict[str, object] | None:
        """query-migrate's answer; None if QEMU has none in time, and then `info` is left out."""
        try:
            answer = await self._upstream.ask("query-migrate")
        except QmpError:
            return None
        return answer if isinstance(answer, dict) else None

    def _broadcast(self, event: Message) -> None:
        self.counts.events += 1
        for session in self._sessions:
            session.send_event(event)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors left, or the client has gone again
                self._tell("accept-failed", f"cannot take a client: {error.strerror}", {})
                self._room.release()
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            self.counts.clients += 1
            session = ClientSession(self.counts.clients, self, self._backlog_limit)
            self._sessions[session] = asyncio.create_task(self._serve(session, connection))

    async def _serve(self, session: ClientSession, connection: socket.socket) -> None:
        details: dict[str, object] = {"client": session.number, "pid": peer_pid(connection)}
        name = f"client {session.number} (process {details['pid']})"
        self._tell("client-came", f"{name} has connected", details)
        try:
            await session.serve(connection)
        except Exception as error:  # a defect of ours, for which neither the other clients nor the VM must pay
            self._tell("client-failed", f"{name} was cut off after an internal error: {error!r}", details)
            return
        finally:
            del self._sessions[session]
            self._room.release()
        details["commands"] = session.commands
        if session.was_dropped:
            self.counts.dropped += 1
            self._tell("client-dropped", f"{name} does not read what it is sent, and was cut off", details)
        else:
            self._tell("client-left", f"{name} has left after {session.commands} commands", details)

    async def _end_clients(self, event: Message | None) -> None:
        sessions = dict(self._sessions)
        await asyncio.gather(*(session.end(event) for session in sessions))
        await asyncio.gather(*sessions.values())

    async def _wait_gone(self, watch: _ExitWatch) -> str:
        """Returns when QEMU has closed the connection, or has ended and somebody else still holds it open."""
        closing = asyncio.create_task(self._upstream.wait_gone())
        ending = asyncio.create_task(watch.ended.wait())
        try:
            await asyncio.wait({closing, ending}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({closing}, timeout=EXIT_S)
            return closing.result() if closing.done() else "its process has ended"
        finally:
            closing.cancel()
            ending.cancel()

    async def _explain(self, reason: str, watch: _ExitWatch) -> ColotraceError:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch.ended.wait(), EXIT_S)
        if watch.ended.is_set():
            return TargetError(f"process {self._pid} (QEMU) has ended, and the bridge with it")
        return QmpError(
            f"process {self._pid} runs on, but the connection to its QMP socket {self._upstream.path} ended: {reason}",
            "Start the bridge again.",
        )


class _ExitWatch:
    """Tells when a process has ended. `ended` is set at once if there is no such process."""

    def __init__(self, pid: int) -> None:
        self.ended = asyncio.Event()
        self._fd = -1
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.ended.set()

    def __enter__(self) -> _ExitWatch:
        if self._fd >= 0:
            asyncio.get_running_loop().add_reader(self._fd, self._has_ended)
        return self

    def _has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        self.ended.set()

    def __exit__(self, *_exception: object) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)


def amended(reply: Message, amend: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> Message:
    """A reply with our commands in its list; one that is not of QEMU's kind is passed on as it is."""
    answer = reply.get("return")
    try:
        return return_reply(amend(answer)) if isinstance(answer, list) else reply
    except (TypeError, KeyError, AttributeError):
        return reply


def _gone_event(pid: int) -> Message:
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return Message(
        {
            "timestamp": {"seconds": seconds, "microseconds": microseconds},
            "event": QEMU_GONE,
            "data": {"desc": f"the connection to QEMU (process {pid}) has ended, and this one ends with it"},
        }
    )


_AMENDED = {"query-commands": with_commands, "query-qmp-schema": with_schema}
