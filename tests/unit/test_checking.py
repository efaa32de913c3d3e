"""The run of a check: when the patch is asked, when never, and what becomes of answers that are none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from colotrace import checking
from colotrace.checking import Checker, count_windows
from colotrace.checkpoint import CheckpointTotals, ColoExit, Event, HitCost, ProbeCost
from colotrace.crosscheck.compare import Verdict
from colotrace.crosscheck.fields import FIELDS
from colotrace.crosscheck.tolerance import tolerance_ns
from colotrace.errors import NothingSeenError, QmpError
from colotrace.phases import Role

from .coloprogram import Recipe, build
from .patchmodel import Kernel, Patch, took
from .truth import plan_of

COST = ProbeCost(HitCost(1_000, 10_000), HitCost(14_000, 40_000), 50)
PLAN = plan_of(build(Recipe()).data)


class World:
    """A session, a QEMU and its patch in one: each look at the session makes the next of `steps` happen."""

    def __init__(self, steps: list[str], *defects: str, role: Role = Role.PRIMARY) -> None:
        self.role = role
        self.steps: Iterator[str] = iter(steps)
        self.patch, self.kernel = Patch(role, frozenset(defects)), Kernel(role)
        self.targets = [SimpleNamespace(pid=7, plan=PLAN, role=role, alive=True)]
        self.ended, self.in_flight, self.path = False, False, "/fake.sock"
        self.asked: list[str] = []
        self.answers: Callable[[dict[str, object]], object] = lambda answer: answer
        self._idle = 1

    def receive(self, _timeout_ms: int) -> list[Event]:
        step = next(self.steps, "end")
        if step == "begin":
            self.in_flight = True
        elif step == "complete":
            one = took(self.role, len(self.kernel.seen))
            self.patch.take(one)
            self.kernel.seen.append(one)
            self.in_flight, self._idle = False, self._idle + 1
        elif step == "exit":
            return [ColoExit(self.role, 7, 5, self.role.value, "error")]
        elif step == "die":
            self.ended, self.targets[0].alive = True, False
        elif step == "end":
            self.ended = True
        return []

    def totals(self, _pid: int) -> dict[Role, CheckpointTotals]:
        now = self.kernel.totals()
        idle = None if self.in_flight else self._idle
        return {self.role: replace(now, begun=now.begun + self.in_flight, idle_since_ns=idle)}

    def execute(self, command: str) -> object:
        assert self.targets[0].alive, "a dead QEMU was asked"
        self.asked.append(command)
        if command == "reset_checkpoint":
            self.patch.reset()
            return {}
        assert self.kernel.seen and self.patch.sums["tot_num"], "asked before a checkpoint: QEMU would be dead"
        return self.answers(self.patch.answer())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks cost no time here, so that a settling of some milliseconds would be thousands of them."""
    monkeypatch.setattr(checking, "SETTLE_S", 0.0)
    monkeypatch.setattr(checking, "QUIET_DEADLINE_S", 0.2)
    yield


def checker(world: World) -> Checker:
    return Checker(world, world, COST, lambda _event: None)  # type: ignore[arg-type]


MADE = ["begin", "complete"]


@pytest.mark.parametrize("role", list(Role))
def test_a_run(role: Role) -> None:
    world = World(MADE * 60, role=role)
    one = checker(world)
    one.run(50)
    result = one.result()
    assert (result.findings, result.checkpoints, result.windows) == ((), 50, 25)
    assert world.asked == ["info_checkpoint"] * 52, "26 readings, each taken twice"


@pytest.mark.parametrize(
    ("checkpoints", "num", "windows"),
    [(50, 1, 25), (50, 10_000, 25), (50, 100_000, 7), (50, 1_000_000, 1), (1, 1, 1), (3, 1, 3), (1000, 100_000, 25)],
)
def test_windows_are_as_many_as_truncation_allows(checkpoints: int, num: int, windows: int) -> None:
    assert count_windows(checkpoints, num, 30_000) == windows
    shortest = checkpoints // windows
    assert windows == 1 or 2 * num <= 30_000 * shortest


@pytest.mark.parametrize(("wanted", "windows"), [(1, 1), (3, 3), (7, 7)])
def test_few_checkpoints_make_few_windows(wanted: int, windows: int) -> None:
    one = checker(World(MADE * 20))
    one.run(wanted)
    result = one.result()
    assert (result.checkpoints, result.windows) == (wanted, windows)


def test_nobody_is_asked_before_the_first_checkpoint() -> None:
    world = World(["begin", "exit"])
    one = checker(world)
    with pytest.raises(NothingSeenError, match="was not called"):
        one.run(10)
    assert world.asked == [] and one.result().checks == ()


def test_nobody_is_asked_in_mid_transaction() -> None:
    world = World([*MADE, "begin", *["nothing"] * 5, "complete", *MADE * 4])
    asked_in_flight = []

    def answer(given: dict[str, object]) -> object:
        asked_in_flight.append(world.in_flight)
        return given

    world.answers = answer
    one = checker(world)
    one.run(3)
    assert one.result().checkpoints == 3 and asked_in_flight and not any(asked_in_flight)


def test_an_answer_during_which_a_transaction_began_does_not_count() -> None:
    world = World(MADE * 30)
    hurry = iter([True, False, False, False])

    def answer(given: dict[str, object]) -> object:
        if next(hurry, False):
            world.receive(0)
            world.receive(0)
        return given

    world.answers = answer
    one = checker(world)
    one.run(10)
    assert one.result().findings == () and len(world.asked) == 2 * (1 + 10) + 2, "the first was asked for once more"


def test_no_quiet_moment_is_an_error() -> None:
    world = World([])
    world.steps = itertools.chain([*MADE, "begin"], itertools.repeat("nothing"))
    for _ in range(3):
        world.receive(0)
    with pytest.raises(NothingSeenError, match="no moment between two checkpoints"):
        checker(world).run(1)
    assert world.asked == []


def test_colo_ends_in_the_middle() -> None:
    world = World([*MADE * 13, "exit"])
    one = checker(world)
    one.run(50)
    result = one.result()
    assert result.checkpoints == 12 and result.findings == () and any("COLO ended" in note for note in result.notes)


def test_the_process_ends_in_the_middle() -> None:
    world = World([*MADE * 13, "die"])
    one = checker(world)
    one.run(50)
    assert one.result().checkpoints == 12, "what was read before is still judged"


def test_a_window_without_a_checkpoint_is_none() -> None:
    """Checkpoints that came while the last reading was taken belong to its window; the next begins after them."""
    world = World(["begin", "complete"] * 60)
    late = iter([False] * 8 + [True])

    def answer(given: dict[str, object]) -> object:
        if next(late, False):
            for _ in range(4):
                world.receive(0)
        return given

    world.answers = answer
    one = checker(world)
    one.run(20)
    result = one.result()
    (count,) = [check for check in result.checks if check.field.name == "tot_num"]
    assert count.verdict is Verdict.AGREES and result.findings == () and result.windows < 20


def test_told_to_stop_it_takes_a_last_reading() -> None:
    one = checker(World([*MADE * 14, "end"]))
    one.run(50)
    assert one.result().checkpoints == 13


@pytest.mark.parametrize("answer", [None, [], "x", 5, {}, {"x": 1}])
def test_an_answer_that_is_none(answer: object) -> None:
    world = World(MADE * 30)
    one = checker(world)
    one.run(5)
    world.answers = lambda _given: answer
    with pytest.raises(QmpError, match="none of its fields"):
        one.run(5)
    assert one.result().checkpoints == 5, "what was compared before is not lost"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"load_time": None}, "field-missing"), ({"load_time": 1.5}, "field-of-wrong-type"),
        ({"load_time": 1 << 64}, "field-of-wrong-type"), ({"load_time": "1"}, "field-of-wrong-type"),
        ({"load_time": -1}, "negative-load"), ({"more": [1]}, None), ({"info": "x"}, None),
    ],
    ids=str,
)  # fmt: skip
def test_answers_of_another_shape(change: dict[str, object], code: str | None) -> None:
    world = World(MADE * 30)
    world.answers = lambda given: {**given, **change}
    one = checker(world)
    one.run(10)
    assert [finding.code for finding in one.result().findings] == ([code] if code else [])


def test_answers_that_change_between_checkpoints() -> None:
    world = World(MADE * 30)
    changes = iter([0, 77])
    world.answers = lambda given: {**given, "stat_time": int(str(given["stat_time"])) + next(changes, 0)}
    one = checker(world)
    one.run(10)
    assert [finding.code for finding in one.result().findings] == ["torn-reading"]


@pytest.mark.parametrize(("defects", "codes"), [((), []), (("reset-eight",), ["stale-after-reset"])])
def test_a_reset_is_tried_at_the_end(defects: tuple[str, ...], codes: list[str]) -> None:
    world = World(MADE * 30, *defects)
    one = checker(world)
    one.run(10, reset=True)
    result = one.result()
    assert [finding.code for finding in result.findings] == codes and result.checkpoints == 10
    at = world.asked.index("reset_checkpoint")
    assert at > 20 and world.asked[at + 1 :] == ["info_checkpoint"] * 2


def test_a_reset_without_a_checkpoint_after_it_is_not_asked_about() -> None:
    world = World([*MADE * 11, "exit"])
    one = checker(world)
    one.run(10, reset=True)
    assert world.asked[-1] == "reset_checkpoint"
    assert "no checkpoint came after it" in one.result().notes[-1]


def test_a_result_as_json() -> None:
    one = checker(World(MADE * 30, "recv-in-put"))
    one.run(10)
    record: Any = one.result().as_json()
    assert record["role"] == "primary" and record["checkpoints"] == 10 and record["probe_cost"]["clock_ns"] == 50
    assert [field["field"] for field in record["fields"]] == list(FIELDS)
    assert [finding["code"] for finding in record["findings"]] == ["recv-counted-in-put"]


@pytest.mark.parametrize("role", list(Role))
def test_tolerance_is_two_hits_and_their_clock_readings(role: Role) -> None:
    expected = 2 * 10_000 + 4 * 50
    assert tolerance_ns(FIELDS["load_time"], role, PLAN, COST) == expected
    assert tolerance_ns(FIELDS["tot_time"], role, PLAN, COST) == expected
    assert tolerance_ns(FIELDS["dev_size"], role, PLAN, COST) == tolerance_ns(FIELDS["tot_num"], role, PLAN, COST) == 0
    stepped = replace(
        PLAN.roles[role],
        probes=tuple(replace(probe, emulated=probe.boundary.name != "put-begin") for probe in PLAN.roles[role].probes),
    )
    slower = replace(PLAN, roles={**PLAN.roles, role: stepped})
    assert tolerance_ns(FIELDS["ram_time"], role, slower, COST) == expected + 30_000
    assert tolerance_ns(FIELDS["stat_time"], role, slower, COST) == expected
