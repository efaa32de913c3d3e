"""A QMP server that says whatever it is given, to colotrace's client and to the bridge's: what do they make of it?"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from unittest import mock

from colotrace.crosscheck.reading import parse_reading
from colotrace.errors import ColotraceError
from colotrace.qmp import client, upstream
from colotrace.qmp.bridge import amended
from colotrace.qmp.schema import is_patched, with_commands, with_schema

_VERSION = b'{"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}'
GREETING = b'{"QMP": {"version": ' + _VERSION + b', "capabilities": ["oob"]}}\n'
NEGOTIATED = b'{"return": {}}\n'
EVENT = b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\n'
_WORD = b'{"return": {"status": "colo", "ram": {"transferred": 1}}, "id": "@ID@"}\n'
_REFUSAL = b'{"error": {"class": "GenericError", "desc": "no"}, "id": "@ID@"}\n'
_LISTS = b'{"return": [{"name": "stop", "meta-type": "command", "arg-type": "0", "ret-type": "0"}, {"name": "0", ' \
    b'"meta-type": "object", "members": []}], "id": "@ID@"}\n'  # fmt: skip
SEEDS = {
    "answer": GREETING + NEGOTIATED + _WORD,
    "events": EVENT + GREETING + EVENT + NEGOTIATED + EVENT + _WORD,
    "refusal": GREETING + NEGOTIATED + _REFUSAL,
    "schema": GREETING + b'{"return": {}, "id": 1}\n' + _LISTS,
    "figures": GREETING + NEGOTIATED + b'{"return": {"tot_time": 1, "tot_num": 2}, "id": "@ID@"}\n',
}
_ID = re.compile(rb'"id": *"([^"]*)"')
TIMEOUT_S, PATIENCE_S = 0.5, 0.01


def ask_hostile(data: bytes) -> object:
    """Asks a server that sends this and closes; then the bridge asks another. An answer, or ColotraceError."""
    try:
        answer = _ask(data)
    except ColotraceError as error:
        answer = error
    with contextlib.suppress(ValueError):
        parse_reading(answer)
    return answer, _ask_for_the_bridge(data)


def _ask(data: bytes) -> object:
    with _server(data):
        answer = client.query_migrate("qmp.sock", None, TIMEOUT_S)
    assert isinstance(answer, dict)
    return answer


def _ask_for_the_bridge(data: bytes) -> object:
    async def ask() -> object:
        one = await upstream.open_upstream("qmp.sock", 4711, TIMEOUT_S)
        try:
            return await one.ask("query-qmp-schema")
        finally:
            await one.wait_gone()

    with _server(data):
        answer = asyncio.run(ask())
    is_patched(answer)
    amended({"return": answer}, with_commands)
    amended({"return": answer}, with_schema)
    return answer


@contextlib.contextmanager
def _server(data: bytes) -> Iterator[None]:
    """Whoever connects is told this, line by line, has what it sends ignored, and then is hung up on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)

    def serve() -> None:
        with ours, contextlib.suppress(OSError):
            ours.settimeout(PATIENCE_S)
            name = b"0"
            for number, line in enumerate(data.splitlines(keepends=True)):
                if number and b'"event"' not in line:
                    with contextlib.suppress(TimeoutError):  # each line but an event answers something
                        found = _ID.search(ours.recv(4096))
                        name = found[1] if found else name
                ours.sendall(line.replace(b"@ID@", name))
            ours.shutdown(socket.SHUT_WR)
            ours.settimeout(TIMEOUT_S)
            while ours.recv(4096):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with mock.patch.object(client, "connect", lambda *_: theirs), mock.patch.object(
            upstream, "connect", lambda *_: theirs
        ):
            yield
    finally:
        theirs.close()
        thread.join()
