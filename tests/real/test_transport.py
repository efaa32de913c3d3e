"""The stall that colotrace was made to see: Nagle against delayed ACK, over TCP and not over a unix socket."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from colo_lab.pair import ColoPair
from support import colotrace, json_lines, of_type

DELAYED_ACK_NS = 40_000_000


def test_tcp_stalls_and_unix_does_not(make_pair: Callable[..., ColoPair]) -> None:
    """With an idle guest nothing else takes time, and both waits for the secondary's answers stall."""
    waits = {}
    for transport in ("unix", "tcp"):
        pair = make_pair(transport=transport, dirty_mib=0, delay_ms=200)
        run = colotrace("attach", "--pid", pair.primary.pid, "-n", 12, "--json")
        assert run.returncode == 0, run.stderr
        records = [r for r in of_type(json_lines(run.stdout), "checkpoint") if r["outcome"] == "completed"]
        waits[transport] = {name: statistics.median(r[name] for r in records) for name in ("recv_ns", "load_ns")}
        pair.close()
    for name in ("recv_ns", "load_ns"):
        assert waits["tcp"][name] - waits["unix"][name] > DELAYED_ACK_NS / 2, (name, waits)
        assert waits["unix"][name] < DELAYED_ACK_NS / 2
