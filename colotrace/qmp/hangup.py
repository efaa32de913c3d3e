"""Ends a connection in bounded time, whatever the other side does."""

from __future__ import annotations

import asyncio

from qemu.qmp import Message
from qemu.qmp.protocol import AsyncProtocol

HANG_UP_S = 1.0
"""For the other side to read what has been sent to it before the connection is cut."""


async def hang_up(protocol: AsyncProtocol[Message], writer: asyncio.StreamWriter | None) -> None:
    """Disconnects, which by itself would wait for ever for a peer that does not read. Raises as disconnect() does."""
    cut = asyncio.get_running_loop().call_later(HANG_UP_S, writer.transport.abort) if writer else None
    try:
        await protocol.disconnect()
    finally:
        if cut:
            cut.cancel()
