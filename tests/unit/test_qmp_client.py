"""Sockets that are no QMP, or hang, or die: each call ends in time, and says what happened."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colotrace.checking import open_patched
from colotrace.errors import QmpError, QmpRefusal
from colotrace.qmp.client import QmpConnection, query_migrate
from colotrace.qmp.upstream import open_upstream

GREETING = b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}\r\n'
LIMIT_S = 0.5


def answers(*replies: dict[str, object]) -> Callable[[socket.socket], None]:
    """A monitor that greets, negotiates, and gives these replies in turn, each with the request's id."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        for reply in ({"return": {}}, *replies):
            request = json.loads(connection.recv(65536))
            known = {"id": request["id"]} if "id" in request else {}
            connection.sendall(json.dumps({**reply, **known}).encode() + b"\r\n")
        connection.recv(1)

    return serve


def silence(connection: socket.socket) -> None:
    connection.recv(1)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    connection.recv(1)


def hangs_up(_connection: socket.socket) -> None:
    pass


def greets_and_hangs(connection: socket.socket) -> None:
    answers()(connection)
    while connection.recv(65536):
        pass


def greets_and_dies(connection: socket.socket) -> None:
    connection.sendall(GREETING)
    connection.recv(65536)
    connection.sendall(b'{"return": {}}\r\n')
    connection.recv(65536)


@contextlib.contextmanager
def server(folder: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A unix socket whose first client is served so, in a thread."""
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)

        def work() -> None:
            with contextlib.suppress(OSError, ValueError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield path
    thread.join(5)


@pytest.mark.parametrize(
    ("serve", "words"),
    [(silence, "did not answer with a QMP greeting"), (garbage, "cannot talk QMP"), (hangs_up, "cannot talk QMP")],
)
def test_what_is_no_qmp(tmp_path: Path, serve: Callable[[socket.socket], None], words: str) -> None:
    began = time.monotonic()
    with server(tmp_path, serve) as path, pytest.raises(QmpError, match=words) as caught:
        QmpConnection(path, timeout_s=LIMIT_S)
    assert time.monotonic() - began < 10 * LIMIT_S and caught.value.remedy and path in caught.value.message


def test_a_monitor_that_hangs(tmp_path: Path) -> None:
    with server(tmp_path, greets_and_hangs) as path, QmpConnection(path, timeout_s=LIMIT_S) as qmp:
        with pytest.raises(QmpError, match=r"did not answer query-status within 0\.5 s"):
            qmp.execute("query-status")
        with pytest.raises(QmpError):
            qmp.execute("query-status")


def test_a_monitor_that_dies(tmp_path: Path) -> None:
    with (
        server(tmp_path, greets_and_dies) as path,
        QmpConnection(path, timeout_s=LIMIT_S) as qmp,
        pytest.raises(QmpError, match="cannot talk QMP"),
    ):
        qmp.execute("query-status")


EVENT = b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n'


def greets_with_events(connection: socket.socket) -> None:
    """As a QEMU in COLO may: it is negotiated with before it has said so."""
    connection.sendall(GREETING)
    connection.recv(65536)
    connection.sendall(EVENT + EVENT + b'{"return": {}}\r\n' + EVENT)
    request = json.loads(connection.recv(65536))
    connection.sendall(EVENT + json.dumps({"return": {"status": "colo"}, "id": request["id"]}).encode() + b"\r\n")
    connection.recv(1)


def test_events_may_overtake_the_negotiation(tmp_path: Path) -> None:
    with server(tmp_path, greets_with_events) as path:
        assert query_migrate(path, os.getpid(), LIMIT_S) == {"status": "colo"}


def test_events_may_overtake_the_bridges_negotiation(tmp_path: Path) -> None:
    async def ask(path: str) -> object:
        upstream = await open_upstream(path, os.getpid(), LIMIT_S)
        try:
            return await upstream.ask("query-migrate")
        finally:
            await upstream.hang_up()

    with server(tmp_path, greets_with_events) as path:
        assert asyncio.run(ask(path)) == {"status": "colo"}


def test_a_refusal_keeps_its_class(tmp_path: Path) -> None:
    refusal: dict[str, object] = {"error": {"class": "CommandNotFound", "desc": "no such thing"}}
    with (
        server(tmp_path, answers(refusal)) as path,
        QmpConnection(path, timeout_s=LIMIT_S) as qmp,
        pytest.raises(QmpRefusal, match="no such thing") as caught,
    ):
        qmp.execute("info_checkpoint")
    assert caught.value.error_class == "CommandNotFound" and caught.value.exit_code == 8


def test_an_answer_that_is_no_object(tmp_path: Path) -> None:
    with server(tmp_path, answers({"return": [1]})) as path, pytest.raises(QmpError, match="no object"):
        query_migrate(path, timeout_s=LIMIT_S)


def test_the_process_behind_the_socket(tmp_path: Path) -> None:
    with server(tmp_path, answers({"return": {"status": "colo"}})) as path:
        assert query_migrate(path, os.getpid(), LIMIT_S) == {"status": "colo"}
    other = os.getppid()
    (tmp_path / "s").unlink()
    with server(tmp_path, silence) as path, pytest.raises(QmpError, match=f"not to process {other}") as caught:
        query_migrate(path, other, LIMIT_S)
    assert f"belongs to process {os.getpid()}" in caught.value.message


@pytest.mark.parametrize("commands", [[], [{"name": "stop"}], ["x", None, {"name": []}], 5], ids=str)
def test_a_qemu_without_the_command_is_never_asked(tmp_path: Path, commands: object) -> None:
    asked = []

    def serve(connection: socket.socket) -> None:
        answers({"return": commands})(connection)
        asked.append(connection.recv(65536))

    with server(tmp_path, serve) as path, pytest.raises(QmpError, match="has no info_checkpoint command"):
        open_patched(path, os.getpid())
    assert asked in ([], [b""])


def test_a_qemu_with_the_command(tmp_path: Path) -> None:
    with server(tmp_path, answers({"return": [{"name": "info_checkpoint"}]})) as path:
        open_patched(path, os.getpid()).close()
