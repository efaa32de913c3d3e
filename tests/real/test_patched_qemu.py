"""The patched QEMU: the correct variant's figures hold together, and the faithful one has its defects.

The first run builds it, which takes some minutes.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from colo_lab.monitor import MonitorError, Refused
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from colo_lab.vm import Vm
from qemu_patch.build import binary
from support import colotrace, wait_for

from colotrace.phases import ROLE_PHASES, Role

DELAY_MS = 100
FIGURES = [
    "tot_time", "tot_num", "init_time", "wait_time", "avg_time", "stat_time", "dev_time", "ram_time", "put_time",
    "recv_time", "load_time", "resume_time", "dev_size", "ram_size",
]  # fmt: skip
PHASES = ["stat_time", "dev_time", "ram_time", "put_time", "recv_time", "load_time", "resume_time"]
NOT_ON_SECONDARY = {"dev_time", "resume_time", "ram_size"}
QUIET_DELAY_MS = 600_000
QUIET_S = 1.0
ENOUGH = 20


@pytest.fixture(scope="module", params=["correct", "faithful", "micro"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[str, ColoPair]]:
    """A variant's name and a pair of it in COLO, ENOUGH checkpoints done."""
    with ColoPair(Settings(qemu=str(binary(request.param)), dirty_mib=8, delay_ms=DELAY_MS)) as pair:
        # By events: to ask the faithful one before it has counted a checkpoint would kill it.
        wait_for("the checkpoints", lambda: min(resumes(pair)) > ENOUGH + 1)
        yield request.param, pair
        assert pair.trouble() == []


@pytest.fixture
def no_core() -> Iterator[None]:
    """No core file of a QEMU that is meant to crash."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def both(pair: ColoPair) -> tuple[Vm, Vm]:
    return pair.primary, pair.secondary


def info(vm: Vm) -> dict[str, Any]:
    answer: dict[str, Any] = vm.execute("info_checkpoint")
    return answer


def resumes(pair: ColoPair) -> list[int]:
    return [vm.monitor.count("RESUME") for vm in both(pair)]


def set_delay(pair: ColoPair, delay_ms: int) -> None:
    """In COLO this also makes a checkpoint due at once (QEMU 7.2's migrate_params_apply)."""
    pair.primary.execute("migrate-set-parameters", x_checkpoint_delay=delay_ms)


def quieten(pair: ColoPair) -> list[int]:
    """No checkpoint runs from here on, nor will soon; how many each VM has counted. In a checkpoint a VM stands."""
    set_delay(pair, QUIET_DELAY_MS)
    seen, since = [], time.monotonic()

    def settled() -> bool:
        nonlocal seen, since
        now = [info(vm)["tot_num"] for vm in both(pair)]
        if now != seen or not all(vm.execute("query-status")["running"] for vm in both(pair)):
            seen, since = now, time.monotonic()
        return time.monotonic() - since > QUIET_S

    wait_for("the last checkpoint", settled)
    return seen


def test_every_figure_is_there_on_both_roles(running: tuple[str, ColoPair]) -> None:
    _variant, pair = running
    for vm in both(pair):
        answer = info(vm)
        assert sorted(answer) == sorted([*FIGURES, "info"])
        assert all(isinstance(answer[name], int) for name in FIGURES)
        assert answer["info"] == vm.execute("query-migrate")
        assert answer["info"]["status"] == "colo"


def test_the_figures_hold_together_whenever_they_are_read(running: tuple[str, ColoPair]) -> None:
    variant, pair = running
    for _reading in range(50):
        for vm in both(pair):
            answer = info(vm)
            assert answer["tot_num"] >= ENOUGH
            assert answer["avg_time"] == answer["tot_time"] // answer["tot_num"]
            if variant == "faithful":  # adds phases at once, so that they may be ahead of the total; and see below
                continue
            assert sum(answer[name] for name in PHASES) <= answer["avg_time"]
            absent = NOT_ON_SECONDARY if vm is pair.secondary else set()
            assert all(answer[name] > 0 for name in FIGURES if name not in absent)
            assert all(answer[name] == 0 for name in absent)
    # From one checkpoint's begin to the next: the wait and the checkpoint.
    unit_per_ms = 1_000 if variant == "micro" else 1_000_000
    period = info(pair.primary)["wait_time"] + info(pair.primary)["avg_time"]
    assert 0.9 * DELAY_MS * unit_per_ms < period < 10 * DELAY_MS * unit_per_ms


def test_the_sizes_are_the_guests(running: tuple[str, ColoPair]) -> None:
    variant, pair = running
    seen: list[dict[str, Any]] = []

    def of_one_checkpoint() -> bool:
        """The guest's device state changes in size, and the secondary counts a checkpoint before the primary does."""
        seen[:] = map(info, both(pair))
        return seen[0]["dev_size"] == seen[1]["dev_size"]

    wait_for("the same size on both", of_one_checkpoint)
    primary, secondary = seen
    assert primary["dev_size"] > 1000
    expected = 0 if variant == "faithful" else pytest.approx(pair.settings.dirty_mib << 20, rel=0.2)
    assert primary["ram_size"] == expected
    assert secondary["ram_size"] == 0


def test_the_checkpoints_are_as_many_as_qemus_resume_events(running: tuple[str, ColoPair]) -> None:
    _variant, pair = running
    before, events_before = quieten(pair), resumes(pair)
    assert before[0] == before[1]
    set_delay(pair, DELAY_MS)
    wait_for("five more", lambda: all(new >= old + 5 for new, old in zip(resumes(pair), events_before, strict=True)))
    after, events_after = quieten(pair), resumes(pair)
    set_delay(pair, DELAY_MS)
    for role in range(2):
        assert after[role] - before[role] == events_after[role] - events_before[role]


def test_the_signs_are_those_of_the_text(running: tuple[str, ColoPair]) -> None:
    variant, pair = running
    primary, secondary = map(info, both(pair))
    negative = {name for name in FIGURES if primary[name] < 0}, {name for name in FIGURES if secondary[name] < 0}
    assert negative == (({"init_time"}, {"init_time", "stat_time"}) if variant == "faithful" else (set(), set()))


def test_the_primarys_recv_is_where_the_text_puts_it(running: tuple[str, ColoPair]) -> None:
    variant, pair = running
    primary, secondary = map(info, both(pair))
    assert (primary["recv_time"] == 0) == (variant == "faithful")
    assert secondary["recv_time"] > 0


def two_after_reset(pair: ColoPair, variant: str) -> list[dict[str, Any]]:
    """What both sides say two checkpoints after a reset."""
    for vm in both(pair):
        assert vm.execute("reset_checkpoint") == {}
    if variant != "faithful":
        for vm in both(pair):
            with pytest.raises(Refused, match=r"^no checkpoint has completed yet$"):
                vm.monitor.execute("info_checkpoint")
    # Two: RESUME comes just before a checkpoint is counted, but the second one's after the first is.
    for extra_ms in (1, 2):
        due = [count + 1 for count in resumes(pair)]
        set_delay(pair, QUIET_DELAY_MS + extra_ms)
        wait_for("a checkpoint", lambda due=due: resumes(pair) == due)
    wait_for("the second to be counted", lambda: [info(vm)["tot_num"] for vm in both(pair)] == [2, 2])
    return [info(vm) for vm in both(pair)]


def test_reset_clears_all_or_the_first_eight(running: tuple[str, ColoPair]) -> None:
    variant, pair = running
    kept = variant == "faithful"
    quieten(pair)
    before = [info(vm) for vm in both(pair)]
    late = {"put_time", "load_time", "resume_time"}
    grown = set(late)
    for attempt in range(3):
        after = two_after_reset(pair, variant)
        for old, new in zip(before, after, strict=True):
            assert new["avg_time"] == new["tot_time"] // 2
            assert new["init_time"] == 0
            if not attempt:
                assert new["dev_size"] == old["dev_size"] * (old["tot_num"] + 2 if kept else 2) // 2
                assert new["ram_time"] < old["ram_time"] * old["tot_num"] // 2
        found = {name for old, new in zip(before, after, strict=True) for name in late
                 if old[name] and new[name] >= old[name] * old["tot_num"] // 2}  # fmt: skip
        grown &= found
        assert found == late or not kept
        if kept or not grown:  # a put of 40 us may be preempted for longer than all before it took
            break
    assert grown == (late if kept else set())
    set_delay(pair, DELAY_MS)


def test_asked_too_early_the_correct_one_answers_an_error(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(qemu=str(binary("correct")), dirty_mib=8, delay_ms=DELAY_MS, start_colo=False)
    for vm in both(pair):
        with pytest.raises(Refused, match=r"^no checkpoint has completed yet$"):
            vm.monitor.execute("info_checkpoint")
        vm.must_live("after it was asked too early")


@pytest.mark.usefixtures("no_core")
def test_asked_too_early_the_faithful_one_dies_of_a_division(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(qemu=str(binary("faithful")), dirty_mib=8, delay_ms=DELAY_MS, start_colo=False)
    for vm in both(pair):
        with pytest.raises(MonitorError):
            vm.monitor.execute("info_checkpoint")
        assert wait_for("QEMU's end", vm.death) == "signal 8"  # SIGFPE


@pytest.mark.parametrize("variant", ["correct", "faithful"])
def test_the_patch_leaves_every_boundary_provable(variant: str) -> None:
    run = colotrace("inspect", binary(variant), "--json")
    assert run.returncode == 0, run.stderr
    roles = json.loads(run.stdout)["roles"]
    for role in Role:
        phases = roles[role.value]["phases"]
        assert phases == {phase.value: "exact" for phase in ROLE_PHASES[role]}
