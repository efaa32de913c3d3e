"""Failovers while both sides are traced: on either side, in the middle of a phase, and COLO entered again."""

from __future__ import annotations

from collections.abc import Callable

from colotrace.phases import Role

from .bench import Bench
from .freeze import frozen_at
from .scenario import After, Failed, Scenario


def _heartbeat(which: str) -> Callable[[Bench], str]:
    def run(bench: Bench) -> str:
        pair = bench.pair
        one, other = (pair.primary, pair.secondary) if which == "primary" else (pair.secondary, pair.primary)
        with bench.tracer(one, other) as tracer:
            bench.fail_over(one, other)
            failover = tracer.wait_for("failover", pid=one.pid)
            tracer.end()
        if failover["role"] != which or failover["takeover_ns"] is None:
            raise Failed(f"the record says {failover}")
        late_ms = (failover["takeover_ns"] - failover["exit_ns"]) / 1e6
        return f"the event's reason is {failover['reason']}; took over {late_ms:.2f} ms later"

    return run


def _peer_killed_in(phase: str) -> Callable[[Bench], str]:
    def run(bench: Bench) -> str:
        pair = bench.pair
        with bench.tracer(pair.primary, pair.secondary) as tracer:
            with frozen_at(pair.secondary.pid, Role.SECONDARY, f"{phase}-begin"):
                pair.secondary.kill()
                tracer.wait_for("note", event="colo-exit", pid=pair.primary.pid)
            bench.fail_over(pair.primary, pair.secondary)
            failover = tracer.wait_for("failover", pid=pair.primary.pid)
            tracer.end()
        if failover["died_in"] != phase:
            raise Failed(f"it died in {phase}, and the record says {failover['died_in']}")
        return "died in " + ", then in ".join(attempt["died_in"] for attempt in failover["attempts"])

    return run


def colo_again(bench: Bench) -> str:
    """One tracer stays on the survivor through several pairs; the role it survives in alternates."""
    times = bench.times(6, 2)
    pair = bench.pair
    survivor = pair.secondary
    with bench.tracer(survivor) as tracer:
        for turn in range(times):
            other = pair.primary if survivor is pair.secondary else pair.secondary
            other.kill()
            tracer.wait_for("note", event="colo-exit", pid=survivor.pid)
            bench.fail_over(survivor, other)
            tracer.wait_for("failover", number=turn + 1)
            pair.pair_anew(survivor)
            bench.checkpoints(3)
        (summary,) = tracer.end()
    if len(summary["failovers"]) != times:
        raise Failed(f"{times} failovers, and {len(summary['failovers'])} in the summary")
    return f"{times} failovers of one VM, each time paired anew"


SCENARIOS = (
    Scenario("failover-primary", "x-colo-lost-heartbeat on the primary", _heartbeat("primary"), After.ALONE),
    Scenario("failover-secondary", "x-colo-lost-heartbeat on the secondary", _heartbeat("secondary"), After.ALONE),
    Scenario("peer-killed-in-recv", "the secondary is killed in recv", _peer_killed_in("recv"), After.ALONE),
    Scenario("peer-killed-in-load", "the secondary is killed in load", _peer_killed_in("load"), After.ALONE),
    Scenario("colo-again", "COLO entered again after failovers", colo_again),
)
