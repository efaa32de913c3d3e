"""What colotrace's own probes add to a pause: which hits lie in it, and from what pause on they matter."""

from __future__ import annotations

from typing import Any

import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.rule import Unknowable
from colotrace.analysis.findings.rules.probe_cost import hits_in_pause
from colotrace.phases import BOUNDARIES, Role

from .samples import look, sample_of_columns

COST = {
    "emulated_warm_ns": 1_000, "emulated_cold_ns": 12_000, "stepped_warm_ns": 10_000, "stepped_cold_ns": 50_000,
    "clock_ns": 60,
}  # fmt: skip
PRIMARY_HITS, SECONDARY_HITS = 14, 14
"""From vm-stop to vm-started there are 14 boundaries in either role; the ends count as one, and the takeover's comes on
top."""


def plan(*left_out: str, stepped: tuple[str, ...] = (), takeover: bool = True) -> dict[str, Any]:
    names = {role.value: [name for name in BOUNDARIES[role] if name not in left_out] for role in Role}
    names["process"] = ["takeover"] * takeover + ["notify-timer"]
    return {
        "probes": {role: {name: "0x1000" for name in places} for role, places in names.items()},
        "stepped": {role: sorted(set(places) & set(stepped)) for role, places in names.items()},
    }


def found(pause: float, role: Role = Role.PRIMARY, **header: Any) -> list[Finding]:
    header = {"probe_cost": COST, "plan": plan()} | header
    return look("probe-cost", sample_of_columns(role, 30, header, pause_ns=pause))


@pytest.mark.parametrize(("role", "hits"), [(Role.PRIMARY, PRIMARY_HITS), (Role.SECONDARY, SECONDARY_HITS)])
def test_from_one_percent_on_they_matter_for_certain(role: Role, hits: int) -> None:
    (hint,) = found(hits * 1_000 * 100 + 100, role)
    (one,) = found(hits * 1_000 * 100, role)
    assert (hint.confidence, one.confidence) == (Confidence.LOW, Confidence.HIGH)
    assert (one.numbers["hits"], one.numbers["stepped_hits"]) == (hits, 0)
    assert (one.numbers["warm_ns"], one.numbers["cold_ns"]) == (hits * 1_000, hits * 12_000)
    assert one.numbers["warm_part"] == 0.01 and one.numbers["cold_part"] == 0.12 and one.cost_ns == hits * 1_000
    assert one.phase == "pause" and one.title.endswith(": 1.0% to 12%")


def test_from_ten_percent_of_what_they_may_cost_there_is_a_hint() -> None:
    (one,) = found(PRIMARY_HITS * 12_000 * 10)
    assert one.confidence is Confidence.LOW and one.numbers["cold_part"] == 0.1
    assert found(PRIMARY_HITS * 12_000 * 10 + 100) == [] == found(5e6) == found(float("nan"))


def test_they_take_no_more_than_the_pause() -> None:
    (one,) = found(PRIMARY_HITS * 6_000)
    assert one.title.endswith("100%") and "of a pause of 84.0 µs" in one.title and "168" not in one.title
    assert "168 µs: some of them are not" in one.evidence[-1]
    assert one.numbers["cold_ns"] == PRIMARY_HITS * 12_000 and one.numbers["cold_part"] == 2


def test_single_stepped_ones_cost_more() -> None:
    (one,) = found(1_000_000, plan=plan(stepped=("dev-begin", "takeover", "wait-begin")))
    assert one.numbers["stepped_hits"] == 2  # the wait is not in the pause
    assert one.numbers["warm_ns"] == (PRIMARY_HITS - 2) * 1_000 + 2 * 10_000
    assert one.numbers["cold_ns"] == (PRIMARY_HITS - 2) * 12_000 + 2 * 50_000
    assert "2 of them single-stepped" in one.evidence[0]


def test_which_hits_lie_in_the_pause() -> None:
    assert hits_in_pause(plan(), Role.PRIMARY) == {"emulated": PRIMARY_HITS, "stepped": 0}
    assert hits_in_pause(plan(takeover=False), Role.PRIMARY) == {"emulated": PRIMARY_HITS - 1, "stepped": 0}
    assert hits_in_pause(plan("dev-end", "reply"), Role.PRIMARY) == {"emulated": PRIMARY_HITS - 1, "stepped": 0}
    one = plan("resume-begin", "vm-start")
    one["probes"]["primary"]["resume-begin+vm-start"] = "0x2000"  # two boundaries at one instruction: one hit
    one["stepped"]["primary"] = ["resume-begin+vm-start"]
    assert hits_in_pause(one, Role.PRIMARY) == {"emulated": PRIMARY_HITS - 2, "stepped": 1}


BAD = [{}, {"probes": []}, plan("vm-stop"), {**plan(), "stepped": {}}, {"probes": {"primary": 5}}]


@pytest.mark.parametrize("bad", BAD)
def test_a_plan_that_does_not_tell(bad: dict[str, Any]) -> None:
    assert hits_in_pause(bad, Role.PRIMARY) is None
    with pytest.raises(Unknowable, match="does not tell which probes"):
        found(1_000_000, plan=bad)


def test_what_is_not_measured_has_its_remedy() -> None:
    with pytest.raises(Unknowable, match=r"only where a recording is written \(--output\)"):
        found(1e6, probe_cost=None, missing={"probe_cost": "measured only where a recording is written (--output)"})
    with pytest.raises(Unknowable, match="stepped_warm_ns is None"):
        found(1e6, probe_cost={"emulated_warm_ns": 1})
    with pytest.raises(Unknowable, match="is 'x'"):
        found(1e6, probe_cost=COST | {"stepped_warm_ns": "x"})
    with pytest.raises(Unknowable, match="is 10000"):
        found(1e6, probe_cost=COST | {"stepped_warm_ns": 10**400})
