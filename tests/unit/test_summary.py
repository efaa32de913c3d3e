"""The seed's object and a run's summary, from totals: truncated averages, nulls with reasons, the seed's key order."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from colotrace.checkpoint import CheckpointTotals
from colotrace.phases import OUTSIDE_TOTAL, ROLE_PHASES, Phase, Role
from colotrace.resolve.plan import ProbePlan
from colotrace.summary import NO_CHECKPOINT, TargetSummary, info_checkpoint

from .coloprogram import Recipe, build
from .truth import plan_of

KEYS = [
    "tot_time", "tot_num", "init_time", "wait_time", "avg_time", "stat_time", "dev_time", "ram_time", "put_time",
    "recv_time", "load_time", "resume_time", "dev_size", "ram_size",
]  # fmt: skip
"""The members of the seed's QAPI struct, in its order; `info` follows."""
SEED_RETURN = {
    "tot_time", "wait_time", "init_time", "put_time", "stat_time", "resume_time", "load_time", "dev_size", "dev_time",
    "ram_size", "avg_time", "recv_time", "tot_num", "ram_time", "info",
}  # fmt: skip
"""The keys of each of the seed's nine measured results."""
NOT_OF_ROLE = "not a phase of this role"


@cache
def plan(*stripped: str) -> ProbePlan:
    return plan_of(build(Recipe(stripped=frozenset(stripped))).data)


def totals(role: Role = Role.PRIMARY, **changes: Any) -> CheckpointTotals:
    """Three checkpoints; phase N took 1000 N + 2 in all, so that every average has a fraction."""
    phases = ROLE_PHASES[role]
    whole = CheckpointTotals(
        role=role, pid=7, checkpoints=3, total_ns=10_001, other_ns=302,
        phase_ns={p: 3000 * p.number + 2 for p in phases}, phase_num={p: 1 if p is Phase.INIT else 3 for p in phases},
        pause_ns=500, pause_num=3, device_bytes=50_000, device_num=3, ram_bytes=8_000_000, ram_pages=1950, ram_num=3,
        incomplete=2, aborted=1, lost_records=4, last_completed_ns=99, begun=6, idle_since_ns=100,
    )  # fmt: skip
    return replace(whole, **changes)


def empty(role: Role = Role.PRIMARY) -> CheckpointTotals:
    phases = ROLE_PHASES[role]
    zeroes = dict.fromkeys(
        ("checkpoints", "total_ns", "other_ns", "pause_ns", "pause_num", "device_bytes", "device_num", "ram_bytes",
         "ram_pages", "ram_num", "incomplete", "aborted", "lost_records", "last_completed_ns", "begun"), 0,
    )  # fmt: skip
    return totals(role, **zeroes, phase_ns=dict.fromkeys(phases, 0), phase_num=dict.fromkeys(phases, 0))


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("seed_compatible", [False, True])
def test_the_keys_are_the_seeds_in_its_order(role: Role, seed_compatible: bool) -> None:
    answer = info_checkpoint(totals(role), plan())
    assert list(answer.as_json(seed_compatible=seed_compatible)) == KEYS
    with_info = info_checkpoint(totals(role), plan(), {"status": "colo"}).as_json(seed_compatible=seed_compatible)
    assert list(with_info) == [*KEYS, "info"] and set(with_info) == SEED_RETURN
    assert with_info["info"] == {"status": "colo"}


def test_averages_are_truncated_and_sums_are_not() -> None:
    answer = info_checkpoint(totals(), plan())
    assert answer.missing == {}
    assert answer.values == {
        "tot_time": 10_001, "tot_num": 3, "init_time": 3002, "wait_time": 2000, "avg_time": 3333, "stat_time": 3000,
        "dev_time": 4000, "ram_time": 5000, "put_time": 6000, "recv_time": 7000, "load_time": 8000,
        "resume_time": 9000, "dev_size": 16_666, "ram_size": 2_666_666,
    }  # fmt: skip


def test_an_average_is_over_what_was_seen() -> None:
    """The first wait began before the probes were armed: two waits, three checkpoints."""
    seen = totals()
    seen = replace(seen, phase_num={**seen.phase_num, Phase.WAIT: 2}, device_num=1)
    values = info_checkpoint(seen, plan()).values
    assert values["wait_time"] == 6002 // 2 and values["dev_size"] == 50_000 and values["stat_time"] == 3000


@pytest.mark.parametrize("role", list(Role))
def test_without_a_checkpoint_all_is_null_with_a_reason(role: Role) -> None:
    answer = info_checkpoint(empty(role), plan())
    assert (answer.values["tot_time"], answer.values["tot_num"]) == (0, 0)
    nulls = set(KEYS) - {"tot_time", "tot_num"}
    assert {name for name, value in answer.values.items() if value is None} == nulls == set(answer.missing)
    own = {"init_time"} | ({"dev_time", "resume_time", "ram_size"} if role is Role.SECONDARY else set())
    assert {name for name, reason in answer.missing.items() if reason != NO_CHECKPOINT} == own
    assert answer.missing["init_time"] == "COLO had begun before the probes were armed"


def test_init_is_known_before_the_first_checkpoint() -> None:
    begun = replace(empty(), phase_ns={Phase.INIT: 123}, phase_num={Phase.INIT: 1})
    answer = info_checkpoint(begun, plan())
    assert answer.values["init_time"] == 123 and "init_time" not in answer.missing


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"device_num": 0}, "dev_size", "its call was not seen"),
        ({"ram_num": 0}, "ram_size", "the counters could not be read"),
        ({"phase_num": {p: int(p is not Phase.LOAD) for p in Phase}}, "load_time", "never seen whole"),
        ({"phase_num": {p: int(p is not Phase.WAIT) for p in Phase}}, "wait_time", "never seen whole"),
    ],
)
def test_what_was_not_seen_is_null_and_never_zero(changes: dict[str, Any], name: str, words: str) -> None:
    answer = info_checkpoint(totals(**changes), plan())
    assert answer.values[name] is None and answer.missing == {name: words}
    assert answer.as_json(seed_compatible=True)[name] is None, "only what the role has not is 0 there"


def test_a_secondary_has_neither_dev_nor_resume_nor_ram() -> None:
    answer = info_checkpoint(totals(Role.SECONDARY), plan())
    assert answer.missing == {
        "dev_time": NOT_OF_ROLE, "resume_time": NOT_OF_ROLE,
        "ram_size": "QEMU counts what it sends, not what it loads",
    }  # fmt: skip
    plain, seeds = answer.as_json(), answer.as_json(seed_compatible=True)
    assert (plain["dev_time"], plain["resume_time"], plain["ram_size"]) == (None, None, None)
    assert (seeds["dev_time"], seeds["resume_time"], seeds["ram_size"]) == (0, 0, None)
    assert {key: value for key, value in plain.items() if value is not None}.items() <= seeds.items()


def test_the_plans_reasons_come_before_the_runs() -> None:
    poor = plan("qemu_save_device_state", "ram_counters")
    answer = info_checkpoint(totals(), poor)
    assert answer.values["dev_time"] is None and "could not be resolved" in answer.missing["dev_time"]
    assert answer.missing["ram_size"] == poor.ram_counters.evidence
    assert answer.as_json(seed_compatible=True)["dev_time"] is None
    assert "could not be resolved" in info_checkpoint(empty(), poor).missing["dev_time"]


def summary(*roles: CheckpointTotals, info: dict[str, object] | None = None) -> TargetSummary:
    return TargetSummary(
        7, "a vm", plan(), {one.role: one for one in roles}, probes=40, hits=99, lost_events=5, info=info
    )


def test_a_summary() -> None:
    as_json = summary(totals(), totals(Role.SECONDARY, checkpoints=1)).as_json()
    roles = as_json.pop("roles")
    assert as_json == {
        "pid": 7, "name": "a vm", "checkpoints": 4, "lost_records": 8, "incomplete": 4, "aborted": 2, "lost_events": 5,
        "probes": 40, "hits": 99, "failovers": [],
    }  # fmt: skip
    assert isinstance(roles, dict) and list(roles) == ["primary", "secondary"]
    primary = roles["primary"]
    assert (primary["checkpoints"], primary["incomplete"], primary["aborted"], primary["lost_records"]) == (3, 2, 1, 4)
    assert (primary["pause_time"], primary["other_time"]) == (500 // 3, 302 // 3)
    assert primary["info_checkpoint"] == info_checkpoint(totals(), plan()).as_json()
    assert primary["missing"] == {} and set(roles["secondary"]["missing"]) == {"dev_time", "resume_time", "ram_size"}


def test_a_summary_passes_on_what_it_is_asked_for() -> None:
    roles: Any = summary(totals(Role.SECONDARY), info={"status": "colo"}).as_json(seed_compatible=True)["roles"]
    assert roles["secondary"]["info_checkpoint"]["dev_time"] == 0
    assert roles["secondary"]["info_checkpoint"]["info"] == {"status": "colo"}


def test_a_summary_of_nothing() -> None:
    assert summary().checkpoints == 0 and summary().as_json()["roles"] == {}
    roles: Any = summary(empty()).as_json()["roles"]
    assert roles["primary"]["pause_time"] is None and roles["primary"]["other_time"] is None


def test_parts_of_the_total_are_those_of_the_role() -> None:
    """What the seed's fields are made of: every phase of a role but init and wait lies within tot_time."""
    for role, phases in ROLE_PHASES.items():
        named = {f"{p.value}_time" for p in phases if p not in OUTSIDE_TOTAL}
        given = {n for n, v in info_checkpoint(totals(role), plan()).values.items() if v is not None}
        assert named == {n for n in given if n.endswith("_time")} - {"tot_time", "avg_time", "init_time", "wait_time"}
