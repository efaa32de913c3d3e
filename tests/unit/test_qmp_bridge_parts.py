"""The bridge's parts on their own: cutting a stream into messages, and the listening socket."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colotrace.errors import OutputError
from colotrace.qmp.framing import MAX_NESTING, MalformedError, MessageSplitter, decode
from colotrace.qmp.listener import Listener, check_path
from colotrace.qmp.peer import peer_pid

from .fakeqemu import short_directory

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('{}[]"\\\n\x00'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
LAYOUTS = st.sampled_from([None, 0, 2])
GAPS = st.text(" \t\r\n", max_size=3)


def cut(stream: bytes, sizes: list[int], max_bytes: int = 1 << 20) -> list[bytes | MalformedError]:
    """What a splitter makes of a stream that arrives in pieces of these sizes, over and over."""
    splitter = MessageSplitter(max_bytes)
    result: list[bytes | MalformedError] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] if sizes else len(stream)
        result += splitter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    return result


@given(st.lists(st.tuples(OBJECTS, LAYOUTS, GAPS, st.booleans()), max_size=5), st.lists(st.integers(1, 20), max_size=5))
def test_every_message_is_found_however_it_arrives(
    messages: list[tuple[dict[str, Any], int | None, str, bool]], sizes: list[int]
) -> None:
    stream = "".join(gap + json.dumps(one, indent=indent, ensure_ascii=ascii_only)
                     for one, indent, gap, ascii_only in messages)  # fmt: skip
    found = cut(stream.encode(), sizes)
    assert [json.loads(one) for one in found if isinstance(one, bytes)] == [one for one, *_ in messages]
    assert len(found) == len(messages)


@given(st.binary(max_size=200) | st.text('{}[]"\\:,a1\n', max_size=200).map(str.encode), st.integers(1, 20))
def test_no_input_breaks_it_and_a_newline_and_0xff_always_lead_out(junk: bytes, size: int) -> None:
    """0xff is no UTF-8, newlines are not in strings: after both, whatever came before, a message is found."""
    for one in cut(junk, [size]):
        if isinstance(one, bytes):
            try:
                assert isinstance(decode(one), dict)
            except MalformedError as error:
                assert str(error)
    found = cut(junk + b'\n"\n\xff\n{"execute": "x"}', [size])
    assert found[-1] == b'{"execute": "x"}'


def test_pieces_do_not_change_what_is_found() -> None:
    stream = b' oops {"a": "}\\"{"}[1]{"b"\x01 }{"c": {}} "x\n\n\\{"d": "\\\\"}{]}'
    whole = [str(one) for one in cut(stream, [])]
    for size in range(1, len(stream)):
        assert [str(one) for one in cut(stream, [size])] == whole
    assert whole[1] == str(b'{"a": "}\\"{"}') and whole[-2] == str(b"{]")


@pytest.mark.parametrize("sizes", [[], [7], [1000]])
def test_a_message_that_is_too_long_is_told_at_once_and_not_kept(sizes: list[int]) -> None:
    long = json.dumps({"text": "x" * 5000}).encode()
    told = cut(long[:-1], sizes, max_bytes=1000)
    assert [str(one) for one in told] == ["JSON message is longer than 1000 bytes"], "before its end, and once"
    found = cut(long + b'{"a":1}', sizes, max_bytes=1000)
    assert len(found) == 2 and found[1] == b'{"a":1}'


def test_nesting_is_limited_where_python_still_can() -> None:
    deepest = b'{"a":' + b"[" * (MAX_NESTING - 1) + b"]" * (MAX_NESTING - 1) + b"}"
    (found,) = cut(deepest, [])
    assert isinstance(found, bytes) and decode(found)
    told = cut(b'{"a":[' + deepest + b"]}{}", [])
    assert isinstance(told[0], MalformedError) and "nesting" in str(told[0]) and told[1:] == [b"{}"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_directory() as one:
        yield one


def test_the_socket_is_for_its_owner_whatever_the_umask(folder: Path) -> None:
    path = folder / "bridge.sock"
    before = os.umask(0)
    try:
        with Listener(str(path)) as listener:
            mode = path.lstat().st_mode
            assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                assert peer_pid(listener.socket.accept()[0]) == os.getpid()
    finally:
        os.umask(before)
    assert not path.exists() and list(folder.iterdir()) == []


def _refused(path: Path, words: str) -> None:
    for attempt in (check_path, Listener):
        with pytest.raises(OutputError, match=words) as caught:
            attempt(str(path))
        assert caught.value.remedy


def test_what_is_there_stays(folder: Path) -> None:
    file, link, dangling = folder / "file", folder / "link", folder / "dangling"
    file.write_text("mine")
    link.symlink_to(file)
    dangling.symlink_to(folder / "elsewhere")
    _refused(file, "there is a file")
    _refused(link, "symbolic link")
    _refused(dangling, "symbolic link")
    _refused(folder, "there is a file")
    _refused(folder / "no" / "where", "no directory")
    _refused(file / "x", "Not a directory|no directory")
    assert file.read_text() == "mine" and link.is_symlink() and not (folder / "elsewhere").exists()


def test_a_path_that_no_socket_can_have_is_told(folder: Path) -> None:
    room = 106 - len(os.fsencode(folder)) - 1
    with Listener(str(folder / ("x" * room))):
        pass
    _refused(folder / ("x" * (room + 1)), "1 to 106 bytes")
    _refused(folder / ("ü" * (room // 2 + 1)), "1 to 106 bytes")


def test_a_socket_in_use_stays_and_a_stale_one_is_replaced(folder: Path) -> None:
    path = folder / "bridge.sock"
    with Listener(str(path)) as first:
        _refused(path, "in use")
        first.socket.close()  # as if the bridge had been killed: the file stays
        assert path.is_socket()
        with Listener(str(path)), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert not path.exists()


def test_whoever_sees_the_socket_can_connect(folder: Path) -> None:
    """Its appearing is the sign that the bridge is ready: nothing may come between."""
    path, refusals, seen = folder / "bridge.sock", 0, 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal refusals, seen
        while not stop.is_set():
            with socket.socket(socket.AF_UNIX) as client:
                found = client.connect_ex(str(path))
            seen += found == 0
            refusals += found == errno.ECONNREFUSED

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(200):
            with Listener(str(path)) as listener:
                listener.socket.setblocking(True)
                listener.socket.accept()[0].close()
                path.unlink()
    finally:
        stop.set()
        watcher.join()
    assert seen and not refusals


def test_a_full_backlog_is_no_stale_socket(folder: Path) -> None:
    path = folder / "busy.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen(0)
        client.connect(str(path))
        _refused(path, "in use")


def test_what_has_taken_its_place_is_not_removed(folder: Path) -> None:
    path = folder / "bridge.sock"
    with Listener(str(path)):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"
    path.unlink()
    with Listener(str(path)) as listener:
        path.unlink()
        listener.close()
        listener.close()
    assert list(folder.iterdir()) == []
