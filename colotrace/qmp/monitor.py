"""qemu.qmp's client, ready for events that overtake the reply to the negotiation.

QEMU counts a monitor as negotiated before it has sent that reply, and a COLO thread may emit STOP or RESUME just then.
The library takes the next message for the reply, whatever it is, and gives up.
"""

from __future__ import annotations

from qemu.qmp import Message, QMPClient, Runstate


class MonitorClient(QMPClient):
    """A QMPClient that can connect while events flow."""

    async def _do_recv(self) -> Message:
        """The next message; while connecting, the next that is no event. Events go where they always do."""
        message = await super()._do_recv()
        while self.runstate is Runstate.CONNECTING and "event" in message:
            await self._on_message(message)
            message = await super()._do_recv()
        return message
