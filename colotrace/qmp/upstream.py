"""The one connection to QEMU: requests of many clients go out on it, and QEMU's messages come back in QEMU's order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from qemu.qmp import Message, Runstate

from colotrace.errors import QmpError, QmpRefusal
from colotrace.qmp.framing import MAX_MESSAGE_BYTES
from colotrace.qmp.hangup import hang_up
from colotrace.qmp.monitor import FAULTS, MonitorClient
from colotrace.qmp.peer import connect
from colotrace.qmp.requests import OOB, error_reply

TIMEOUT_S = 5.0
"""For QEMU's greeting and the bridge's own questions. A client's command may take as long as it takes."""
IN_BAND_LIMIT = 6
"""In-band requests that QEMU has at a time. From 8 on (QMP_REQ_QUEUE_LEN_MAX, monitor/qmp.c) it stops reading, and
out-of-band requests would not get through."""
_ID = "colotrace#"

Deliver = Callable[[Message], None]
"""Takes a reply, without its id, at the moment it has come."""


@dataclass
class _Waiting:
    deliver: Deliver
    in_band: bool
    done: asyncio.Future[None]


class Upstream(MonitorClient):
    """qemu.qmp's client, with replies handed on as they are and in their order among the events."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__("colotrace-bridge", readbuflen=MAX_MESSAGE_BYTES)
        self.path = path
        self._timeout_s = timeout_s
        self.on_event: Deliver = lambda _event: None
        """Called with each event, as it has come."""
        self.has_oob = False
        self._count = 0
        self._slots = asyncio.Semaphore(IN_BAND_LIMIT)
        self._waiting: dict[str, _Waiting] = {}

    async def forward(self, request: Message, deliver: Deliver) -> None:
        """Sends a request under an id of its own, and returns once its reply has been delivered.

        If QEMU goes before it answers, an error reply is delivered.
        """
        in_band = OOB not in request
        if in_band:
            await self._slots.acquire()
        done = asyncio.get_running_loop().create_future()
        waiting = _Waiting(deliver, in_band, done)
        if self.runstate is not Runstate.RUNNING:
            self._settle(waiting, self._gone_reply())
            return
        self._count += 1
        own_id = f"{_ID}{self._count}"
        self._waiting[own_id] = waiting
        self._outgoing.put_nowait(Message({**request, "id": own_id}))
        await done

    async def ask(self, command: str) -> object:
        """What QEMU returns. Raises QmpRefusal if that is an error, QmpError if nothing comes in time."""
        replies: list[Message] = []
        try:
            await asyncio.wait_for(self.forward(Message({"execute": command}), replies.append), self._timeout_s)
        except TimeoutError as error:
            raise QmpError(f"{self.path} did not answer {command} within {self._timeout_s:g} s") from error
        refusal = replies[0].get("error")
        if isinstance(refusal, dict):
            raise QmpRefusal(f"{command} failed on {self.path}: {refusal.get('desc')}", str(refusal.get("class")))
        return replies[0].get("return")

    async def wait_gone(self) -> str:
        """Returns when the connection has ended, with the reason."""
        while self.runstate is Runstate.RUNNING:
            await self.runstate_changed()
        try:
            await self.hang_up()
        except FAULTS as error:
            return str(error) or type(error).__name__
        return "disconnected"

    async def hang_up(self) -> None:
        """Disconnects; raises as disconnect() does."""
        await hang_up(self, self._writer)

    def _gone_reply(self) -> Message:
        return error_reply("QEMU has gone; whether it has executed the command is not known")

    def _settle(self, waiting: _Waiting, reply: Message) -> None:
        if waiting.in_band:
            self._slots.release()
        waiting.deliver(reply)
        if not waiting.done.done():  # whoever waited may have been cancelled
            waiting.done.set_result(None)

    def _take_waiting(self, reply: Message) -> _Waiting | None:
        """Whose reply it is. One without an id is QEMU's word on a request that it could not even parse; it answers
        in-band requests in their order, so it is the oldest."""
        if "id" in reply:
            own_id = reply["id"]
            return self._waiting.pop(own_id, None) if isinstance(own_id, str) else None
        oldest = next((own_id for own_id, one in self._waiting.items() if one.in_band), None)
        return self._waiting.pop(oldest) if oldest else None

    async def _on_message(self, msg: Message) -> None:
        """Hands a message on, at once, so that their order stays."""
        if "event" in msg:
            self.on_event(msg)
        else:
            waiting = self._take_waiting(msg)
            if waiting:
                reply = {name: value for name, value in msg.items() if name != "id"}
                self._settle(waiting, Message(reply, eager=False))

    async def _bh_disconnect(self) -> None:
        try:
            await super()._bh_disconnect()
        finally:
            waiting, self._waiting = self._waiting, {}
            for one in waiting.values():
                self._settle(one, self._gone_reply())

    def _cb_inbound(self, msg: Message) -> Message:
        return msg  # the library's hook formats every message for the debug log, whether it is on or not

    def _cb_outbound(self, msg: Message) -> Message:
        return msg


async def open_upstream(path: str, pid: int, timeout_s: float = TIMEOUT_S) -> Upstream:
    """A connection to the QMP server that process `pid` has at `path`.

    Raises QmpError: nobody or somebody else listens there, it is in use, or what answers does not speak QMP.
    """
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # its warnings repeat what the exception says
    upstream = Upstream(path, timeout_s)
    connection = await asyncio.to_thread(connect, path, pid, timeout_s)
    try:
        await asyncio.wait_for(upstream.connect(connection), timeout_s)
    except TimeoutError as error:
        connection.close()
        raise QmpError(
            f"{path} did not answer with a QMP greeting within {timeout_s:g} s",
            "A QMP socket takes one client: is it in use? QEMU can have several: -qmp unix:PATH,server=on,wait=off.",
        ) from error
    except FAULTS as error:
        with contextlib.suppress(*FAULTS):  # else asyncio prints what nobody has asked for
            await upstream.hang_up()
        connection.close()
        raise QmpError(
            f"cannot talk QMP on {path}: {str(error) or type(error).__name__}",
            "Name the socket given to -qmp unix:PATH,server.",
        ) from error
    greeting = upstream.greeting
    upstream.has_oob = greeting is not None and "oob" in greeting.QMP.capabilities
    return upstream


__all__ = ["IN_BAND_LIMIT", "TIMEOUT_S", "Deliver", "Upstream", "open_upstream"]
