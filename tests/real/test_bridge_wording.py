"""The bridge answers for QEMU where a client must not notice: held against a real QEMU's own monitor, word for word."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from colo_lab.pair import ColoPair
from support import DEADLINE_S, colotrace_running, wait_for

SAME_WORDS: list[bytes] = [
    b'{"execute":"query-name","id":[1,{"a":null}]}', b'{"exec-oob":"query-name","id":1}',
    b'{"execute":"qmp_capabilities","arguments":{"enable":7}}', b'{"execute":"qmp_capabilities","arguments":{"x":7}}',
    b'{"execute":7}', b'{"execute":"query-name","bogus":1}',
    b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":null}', b'{"execute":"qmp_capabilities"}',
    b'{"exec-oob":"qmp_capabilities"}', b'{"exec-oob":"query-name","id":"o"}', b'{"exec-oob":"nope","id":"o"}',
    b'{"exec-oob":"query-yank"}', b'{"execute":"query-name","bogus":1}', b'{"execute":7}', b'{"arguments":{}}',
    b'{"execute":"query-name","arguments":7}', b'{"execute":"query-name","arguments":{"a":1}}', b"{}", b"[1]",
    b'{"execute":"query-name","id":-0.5}', b'{"execute":"query-name","id":"\\u0000\\u00fc\\ud83d\\ude00"}',
    b'\n{\n"execute" :"query-name"\n,"id":[]}\n',
]  # fmt: skip
SAME_CLASS: list[bytes] = [
    b'{"execute":"query-name","exec-oob":"query-name"}',
    b'{"execute" "query-name"}', b"}", b"hello\n", b'{"execute":"que\n', b'{"execute":"query-name","id":"\\ud800"}',
    b'{"execute":"query-name","id":"\\ufdd0"}', b'{"execute":"query-name","execute":"query-name"}', b"{]",
    b'{"execute":"query-name","id":"\xed\xa0\x80"}',
]  # fmt: skip
"""QEMU's words depend on the order of its hash table, or are its JSON parser's."""


def answers(path: Path) -> list[dict[str, Any]]:
    """The greeting, and one reply to each request."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(path))
        stream = connection.makefile("rb")
        result: list[dict[str, Any]] = []

        def read() -> dict[str, Any]:
            until = time.monotonic() + DEADLINE_S
            while time.monotonic() < until:  # events come without end
                message: dict[str, Any] = json.loads(stream.readline())
                if "event" not in message:
                    return message
            raise AssertionError(f"no reply after {result}")

        result.append(read())
        for request in SAME_WORDS + SAME_CLASS:
            connection.sendall(request)
            result.append(read())
    return result


def test_qemu_and_the_bridge_answer_alike(pair: ColoPair) -> None:
    vm = pair.secondary
    direct = answers(vm.qmp_path)
    with tempfile.TemporaryDirectory(prefix="qb") as folder:
        path = Path(folder) / "bridge.sock"
        with colotrace_running("qmp-bridge", "--pid", vm.pid, "--qmp", vm.qmp_path, "--listen", path) as process:
            wait_for("the bridge's socket", lambda: path.exists() or process.poll() is not None)
            bridged = answers(path)
    exact = 1 + len(SAME_WORDS)
    for request, one, other in zip([b"greeting", *SAME_WORDS], direct[:exact], bridged[:exact], strict=True):
        assert one == other, request
    for request, one, other in zip(SAME_CLASS, direct[exact:], bridged[exact:], strict=True):
        assert one.keys() == other.keys() == {"error"}, request
        assert one["error"]["class"] == other["error"]["class"], request


def test_the_bridge_asks_qemu_only_what_it_can_parse(pair: ColoPair) -> None:
    """QEMU takes 1e400 for an id and answers with `inf`, which is no JSON: such a request must not reach it."""
    with tempfile.TemporaryDirectory(prefix="qb") as folder:
        path = Path(folder) / "bridge.sock"
        vm = pair.secondary
        with colotrace_running("qmp-bridge", "--pid", vm.pid, "--qmp", vm.qmp_path, "--listen", path) as process:
            wait_for("the bridge's socket", lambda: path.exists() or process.poll() is not None)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(DEADLINE_S)
                connection.connect(str(path))
                stream = connection.makefile("rb")
                assert b"QMP" in stream.readline()
                connection.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-name","id":1e400}')
                replies = (json.loads(line) for line in stream)
                refused = next(one for one in replies if "error" in one)
                assert refused["error"]["class"] == "GenericError" and "JSON" in refused["error"]["desc"]
                connection.sendall(b'{"execute":"query-name","id":1}')
                assert next(one for one in replies if one.get("id") == 1)["return"]["name"] == "colo-secondary"
