"""The stall that colotrace was made to see: Nagle against delayed ACK, over TCP and not over a unix socket."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

DELAYED_ACK_NS = 40_000_000


def test_tcp_stalls_and_unix_does_not(make_pair: Callable[..., ColoPair]) -> None:
    waits = {}
    for transport in ("unix", "tcp"):
        pair = make_pair(transport=transport, dirty_mib=8, delay_ms=300)
        run = colotrace("attach", "--pid", pair.primary.pid, "-n", 12, "--json")
        assert run.returncode == 0, run.stderr
        records = [r for r in of_type(json_lines(run.stdout), "checkpoint") if r["outcome"] == "completed"]
        waits[transport] = statistics.median(record["recv_ns"] + record["load_ns"] for record in records)
        pair.close()
    assert waits["tcp"] - waits["unix"] > DELAYED_ACK_NS / 2
    assert waits["unix"] < DELAYED_ACK_NS
