"""qemu.qmp's client, ready for events that overtake the reply to the negotiation, and for a peer that is no QEMU.

QEMU counts a monitor as negotiated before it has sent that reply, and a COLO thread may emit STOP or RESUME just then.
The library takes the next message for the reply, whatever it is, and gives up.
"""

from __future__ import annotations

from qemu.qmp import Message, QMPClient, QMPError, Runstate
from qemu.qmp.message import DeserializationError

FAULTS = (QMPError, OSError, EOFError, AssertionError)
"""What the library raises where the peer says something that it must not, or goes: it asserts that one is still there
after the negotiation."""


class MonitorClient(QMPClient):
    """A QMPClient that can connect while events flow."""

    async def _do_recv(self) -> Message:
        """The next message; while connecting, the next that is no event. Events go where they always do."""
        message = await self._decoded()
        while self.runstate is Runstate.CONNECTING and "event" in message:
            await self._on_message(message)
            message = await self._decoded()
        return message

    async def _decoded(self) -> Message:
        """The next message. DeserializationError also for what Python's parser gives up on, and for endless lines."""
        try:
            return await super()._do_recv()
        except (ValueError, RecursionError) as error:
            raise DeserializationError(f"this is no QMP message: {error}", b"") from error
