"""debuginfod, against a server of our own on loopback: what is kept, what is refused, and that nobody else is asked."""

from __future__ import annotations

import http.server
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colotrace.debuginfod import fetch
from colotrace.errors import BinaryError, EnvironmentFault

from .elfwriter import BUILD_ID
from .nameless import debug_file, nameless
from .test_cli import errors_of, file

DEBUG = debug_file(nameless())
ID = BUILD_ID.hex()
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def send(data: bytes) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(data)

    return answer


def go_to(place: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", place)
        request.end_headers()

    return answer


class Server:
    """Answers the paths in `answers`, and 404 else; `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.answers.get(self.path, lambda request: request.send_error(404))(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


PATH = f"/buildid/{ID}/debuginfo"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("DEBUGINFOD_URLS", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "DEBUGINFOD_TIMEOUT", "DEBUGINFOD_MAXSIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def test_what_a_server_sends_is_kept(server: Server) -> None:
    server.answers[PATH] = send(DEBUG)
    path = fetch(ID)
    assert Path(path).read_bytes() == DEBUG and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert fetch(ID) == path and server.asked == [PATH], "asked once"


def test_the_first_server_that_has_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", f"http://127.0.0.1:1 {server.url}/none {server.url}/")
    server.answers[PATH] = go_to("/there")
    server.answers["/there"] = send(DEBUG)
    assert Path(fetch(ID)).read_bytes() == DEBUG
    assert server.asked == [f"/none{PATH}", PATH, "/there"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (send(debug_file(nameless(), BUILD_ID[::-1])), "its answer has the build-id b3"),
        (send(debug_file(nameless(), None)), "its answer has the build-id of nothing"),
        (send(b"<html>sign in first</html>"), "its answer is not an ELF file"),
        (send(b""), "its answer is empty"),
        (send(DEBUG[:-9]), "its answer is truncated"),
        (go_to("file:///etc/passwd"), "302|unknown url type|not allowed"),
        (go_to(PATH), "302|infinite loop"),
        (lambda request: request.wfile.write(b"no HTTP"), "no HTTP"),
        (lambda request: request.send_error(500), "500"),
    ],
)
def test_what_is_not_it_is_not_kept(server: Server, tmp_path: Path, answer: Answer, words: str) -> None:
    server.answers[PATH] = answer
    with pytest.raises(BinaryError, match=words):
        fetch(ID)
    assert os.listdir(tmp_path / "cache/colotrace/debuginfod") == []


@pytest.mark.parametrize(("setting", "value"), [("DEBUGINFOD_MAXSIZE", "100"), ("DEBUGINFOD_TIMEOUT", "0.000001")])
def test_bounds(server: Server, monkeypatch: pytest.MonkeyPatch, setting: str, value: str) -> None:
    server.answers[PATH] = send(DEBUG)
    monkeypatch.setenv(setting, value)
    with pytest.raises(BinaryError, match=rf"{setting}|timed out|in progress"):
        fetch(ID)


def test_no_server_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", " ")
    with pytest.raises(EnvironmentFault, match="DEBUGINFOD_URLS"):
        fetch(ID)


@pytest.mark.parametrize("build_id", ["", "12", "../../etc", "AB" * 10, "a" * 200])
def test_what_is_no_build_id_is_not_asked_for(server: Server, build_id: str) -> None:
    with pytest.raises(BinaryError):
        fetch(build_id)
    assert server.asked == []


def test_a_cache_that_others_can_write_to_is_not_used(server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = send(DEBUG)
    (tmp_path / "cache/colotrace").mkdir(parents=True)
    (tmp_path / "cache/colotrace/debuginfod").symlink_to(tmp_path)
    with pytest.raises(EnvironmentFault, match="ours alone"):
        fetch(ID)
    os.unlink(tmp_path / "cache/colotrace/debuginfod")
    os.chmod(tmp_path / "cache/colotrace", 0o777)
    with pytest.raises(EnvironmentFault, match="ours alone"):
        fetch(ID)


def test_inspect_asks_only_with_the_option(server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = send(DEBUG)
    binary = file(tmp_path, nameless())
    without = errors_of("inspect", binary)
    assert without.returncode == 5 and server.asked == []
    done = errors_of("inspect", binary, "--debuginfod")
    assert done.returncode == 0 and ".symtab of " in done.stdout and server.asked == [PATH]


def test_inspect_with_a_debug_file(server: Server, tmp_path: Path) -> None:
    binary, debug = file(tmp_path, nameless()), file(tmp_path, DEBUG, "qemu.debug")
    done = errors_of("inspect", binary, "--debug-file", debug)
    assert done.returncode == 0 and f".symtab of {debug}" in done.stdout and server.asked == []
    other = errors_of("inspect", binary, "--debug-file", file(tmp_path, debug_file(nameless(), b"x" * 20), "other"))
    assert other.returncode == 4 and "build-id" in other.stderr
