"""What the bridge answers itself: info_checkpoint, reset_checkpoint, and what it adds to the lists of commands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from colotrace.checkpoint import CheckpointTotals, Note
from colotrace.errors import NothingSeenError
from colotrace.phases import Phase, Role
from colotrace.qmp.recorder import CLEARED, KernelRecorder
from colotrace.qmp.schema import ALWAYS_KNOWN, COMMANDS, MISSING, NULLABLE, QEMU_GONE, with_commands, with_schema

from .fakeqemu import SCHEMA, RefusedError, bridged, scenario, until
from .test_summary import NOT_OF_ROLE, empty, plan, totals


class FakeRecorder:
    """Answers with what it was asked."""

    def __init__(self) -> None:
        self.resets = 0
        self.has_figures = True

    def answer(self, info: Mapping[str, object] | None) -> dict[str, object]:
        if not self.has_figures:
            raise NothingSeenError("no checkpoint has completed since the probes were armed")
        return {"tot_num": 7 - self.resets, "info": info}

    def reset(self) -> None:
        self.resets += 1


@scenario
async def test_the_two_commands_are_answered_here_and_in_their_turn() -> None:
    recorder = FakeRecorder()
    async with bridged(recorder) as setup:
        wire = await setup.wire("oob")
        wire.send(
            {"execute": "echo", "id": 1}, {"execute": "info_checkpoint", "id": [2]}, {"execute": "reset_checkpoint"},
            {"execute": "info_checkpoint", "arguments": {}, "id": None}, {"execute": "echo", "id": 5},
        )  # fmt: skip
        assert [await wire.read() for _ in range(5)] == [
            {"return": {}, "id": 1},
            {"return": {"tot_num": 7, "info": {"status": "colo"}}, "id": [2]},
            {"return": {}},
            {"return": {"tot_num": 6, "info": {"status": "colo"}}, "id": None},
            {"return": {}, "id": 5},
        ]
        asked = [request["execute"] for request in setup.qemu.requests]
        assert asked == ["echo", "query-migrate", "query-migrate", "echo"]
        other = await setup.wire()
        assert (await other.ask({"execute": "info_checkpoint"}))["return"]["tot_num"] == 6, "one baseline for all"
        assert setup.bridge.counts.answered == 4


@scenario
async def test_wrong_requests_for_the_two_commands_are_refused_as_qemu_would() -> None:
    recorder = FakeRecorder()
    async with bridged(recorder) as setup:
        wire = await setup.wire("oob")
        for name in COMMANDS:
            reply = await wire.ask({"execute": name, "arguments": {"x": 1}, "id": 1})
            assert reply == {"error": {"class": "GenericError", "desc": "Parameter 'x' is unexpected"}, "id": 1}
            reply = await wire.ask({"exec-oob": name, "id": 2})
            desc = f"The command {name} does not support OOB"
            assert reply == {"error": {"class": "GenericError", "desc": desc}, "id": 2}
        assert recorder.resets == 0
        recorder.has_figures = False
        reply = await wire.ask({"execute": "info_checkpoint", "id": 3})
        assert reply["id"] == 3 and reply["error"]["class"] == "GenericError"
        assert "no checkpoint has completed" in reply["error"]["desc"]


@scenario
async def test_info_is_left_out_if_qemu_does_not_tell_it_in_time() -> None:
    async with bridged(FakeRecorder(), timeout_s=0.5) as setup:
        setup.qemu.handlers["query-migrate"] = setup.qemu.handlers["hold"]
        wire = await setup.wire()
        assert await wire.ask({"execute": "info_checkpoint", "id": 1}) == {
            "return": {"tot_num": 7, "info": None}, "id": 1,
        }  # fmt: skip
        setup.qemu.release.set()
        assert await wire.ask({"execute": "echo", "id": 2}) == {"return": {}, "id": 2}

        async def refuse(_request: dict[str, Any]) -> object:
            raise RefusedError("not now")

        setup.qemu.handlers["query-migrate"] = refuse
        assert (await wire.ask({"execute": "info_checkpoint"}))["return"]["info"] is None


@scenario
async def test_the_lists_name_the_two_commands_once() -> None:
    async with bridged(FakeRecorder()) as setup:
        wire = await setup.wire()
        names = [one["name"] for one in (await wire.ask({"execute": "query-commands", "id": 1}))["return"]]
        assert names == ["stop", *COMMANDS]
        reply = await wire.ask({"execute": "query-qmp-schema", "id": 2})
        assert reply == {"return": with_schema(SCHEMA), "id": 2}

        async def refuse(_request: dict[str, Any]) -> object:
            raise RefusedError("not now")

        setup.qemu.handlers["query-commands"] = refuse
        assert (await wire.ask({"execute": "query-commands"}))["error"]["desc"] == "not now"


@scenario
async def test_a_patched_qemu_answers_itself() -> None:
    async with bridged(None) as setup:

        async def patched(_request: dict[str, Any]) -> object:
            return {"tot_num": 99}

        setup.qemu.handlers["info_checkpoint"] = patched
        wire = await setup.wire()
        assert await wire.ask({"execute": "info_checkpoint", "id": 1}) == {"return": {"tot_num": 99}, "id": 1}
        assert (await wire.ask({"execute": "query-qmp-schema"}))["return"] == SCHEMA
        assert (await wire.ask({"execute": "query-commands"}))["return"] == [{"name": "stop"}]
        assert setup.bridge.counts.answered == 0


def test_the_lists_of_a_patched_qemu_have_no_duplicates() -> None:
    assert with_commands([{"name": COMMANDS[0]}, {"name": "stop"}]) == [
        {"name": "stop"}, *({"name": name} for name in COMMANDS),
    ]  # fmt: skip
    patched = [*SCHEMA, {"name": COMMANDS[0], "ret-type": "7", "meta-type": "command", "arg-type": "0"}]
    names = [one["name"] for one in with_schema(patched)]
    assert len(names) == len(set(names)) and {*COMMANDS} <= {*names}


@pytest.mark.parametrize("taken", [False, True], ids=["numbers", "our names in use"])
@pytest.mark.parametrize("bare", [False, True], ids=["qemu", "no stop, no builtins"])
def test_the_schema_declares_what_is_answered(taken: bool, bare: bool) -> None:
    base = [one for one in SCHEMA if one["name"] in ("query-migrate", "140") or not bare]
    if taken:
        base += [one for one in with_schema(base) if one["name"].startswith("x-colotrace")]
    schema = with_schema(base)
    assert schema[: len(base)] == base
    by_name = {one["name"]: one for one in schema}
    assert len(by_name) == len(schema), "no name twice"
    for one in schema[len(base) :]:
        for member in one.get("members", []):
            assert member["type"] in by_name
        assert {one[key] for key in ("arg-type", "ret-type") if key in one} <= {*by_name}
    info, reset = (by_name[name] for name in COMMANDS)
    assert by_name[info["arg-type"]]["members"] == by_name[reset["ret-type"]]["members"] == []
    members = {member["name"]: member for member in by_name[info["ret-type"]]["members"]}
    answer = _answer(totals())
    assert {*members} == {*answer, MISSING} and {*answer} == {*ALWAYS_KNOWN, *NULLABLE, "info"}
    assert {name for name, member in members.items() if "default" in member} == {"info", MISSING}
    for name in NULLABLE:
        alternate = by_name[members[name]["type"]]
        kinds = [by_name[one["type"]]["json-type"] for one in alternate["members"]]
        assert alternate["meta-type"] == "alternate" and kinds == ["int", "null"]
    assert all(by_name[members[name]["type"]]["json-type"] == "int" for name in ALWAYS_KNOWN)
    assert members["info"]["type"] == "140"
    reasons = by_name[members[MISSING]["type"]]["members"]
    assert {one["name"] for one in reasons} == {*NULLABLE} and all(one["default"] is None for one in reasons)
    assert by_name[QEMU_GONE]["meta-type"] == "event"


def _answer(*seen: CheckpointTotals, seed_compatible: bool = False) -> dict[str, Any]:
    recorder = KernelRecorder(lambda: {one.role: one for one in seen}, plan(), seed_compatible=seed_compatible)
    return recorder.answer({"status": "colo"})


def test_the_answer_gives_the_reason_for_each_null() -> None:
    assert MISSING not in _answer(totals())
    secondary = _answer(totals(Role.SECONDARY, ram_num=0))
    nulls = {name for name, value in secondary.items() if value is None}
    assert {*secondary[MISSING]} == nulls == {"dev_time", "resume_time", "ram_size"}
    assert secondary[MISSING]["dev_time"] == NOT_OF_ROLE


def test_seed_compatible_gives_zero_for_what_the_role_has_not() -> None:
    answer = _answer(totals(Role.SECONDARY), seed_compatible=True)
    assert answer["dev_time"] == answer["resume_time"] == 0
    assert {*answer.get(MISSING, {})} == {name for name, value in answer.items() if value is None}


def test_the_role_with_most_checkpoints_answers() -> None:
    assert _answer(totals(), totals(Role.SECONDARY, checkpoints=4))["tot_num"] == 4
    assert _answer(totals(checkpoints=5), totals(Role.SECONDARY, checkpoints=4))["tot_num"] == 5


def test_before_the_first_checkpoint_there_is_no_answer() -> None:
    with pytest.raises(NothingSeenError, match="since the probes were armed"):
        _answer()
    with pytest.raises(NothingSeenError, match="since the probes were armed"):
        _answer(empty())


def test_reset_counts_from_there_on() -> None:
    now = {Role.PRIMARY: totals()}
    recorder = KernelRecorder(lambda: now, plan())
    assert recorder.answer(None)["init_time"] == 3002
    recorder.reset()
    with pytest.raises(NothingSeenError, match="since the last reset_checkpoint"):
        recorder.answer(None)
    before = now[Role.PRIMARY]
    later = {phase: total + 1001 * phase.number for phase, total in before.phase_ns.items() if phase is not Phase.INIT}
    counts = {phase: num + 2 for phase, num in before.phase_num.items() if phase is not Phase.INIT}
    now[Role.PRIMARY] = replace(
        before, checkpoints=5, total_ns=before.total_ns + 777, begun=before.begun + 2,
        phase_ns=dict(before.phase_ns) | later, phase_num=dict(before.phase_num) | counts,
    )  # fmt: skip
    answer: dict[str, Any] = recorder.answer(None)
    assert (answer["tot_num"], answer["tot_time"], answer["avg_time"]) == (2, 777, 388)
    assert answer["stat_time"] == 1001 * Phase.STAT.number // 2 and answer["wait_time"] == 1001 * Phase.WAIT.number // 2
    assert answer["init_time"] is None and answer[MISSING]["init_time"] == CLEARED
    recorder.reset()
    with pytest.raises(NothingSeenError):
        recorder.answer(None)
    # a second COLO, begun after the reset, has an init of its own; and the other role begins from nothing
    again = {Phase.INIT: before.phase_ns[Phase.INIT] + 55}
    base = now[Role.PRIMARY]
    now[Role.PRIMARY] = replace(
        base, checkpoints=6, begun=base.begun + 1, phase_ns={**base.phase_ns, **again},
        phase_num={**base.phase_num, Phase.INIT: 2},
    )  # fmt: skip
    assert recorder.answer(None)["init_time"] == 55
    now[Role.SECONDARY] = totals(Role.SECONDARY)
    assert recorder.answer(None)["tot_num"] == 3


@pytest.mark.parametrize("event", ["probe-lost", "traced", "target-changed"])
def test_figures_that_stand_still_are_not_given(event: str) -> None:
    recorder = KernelRecorder(lambda: {Role.PRIMARY: totals()}, plan())
    recorder.take(Note("role", "process 7 is the primary", 7))
    assert recorder.answer(None)["tot_num"] == 3
    recorder.take(Note(event, "a debugger came", 7))
    with pytest.raises(NothingSeenError, match="a debugger came"):
        recorder.answer(None)


@scenario
async def test_a_reset_while_another_client_asks_is_no_mixture() -> None:
    """info_checkpoint waits for query-migrate and reads the totals after it: a reset meanwhile counts."""
    recorder = FakeRecorder()
    async with bridged(recorder) as setup:
        setup.qemu.handlers["query-migrate"] = setup.qemu.handlers["hold"]
        asker, resetter = await setup.wire(), await setup.wire()
        asker.send({"execute": "info_checkpoint"})
        await until("query-migrate", lambda: setup.qemu.held == 1)
        assert await resetter.ask({"execute": "reset_checkpoint"}) == {"return": {}}
        setup.qemu.release.set()
        assert (await asyncio.wait_for(asker.read(), 10))["return"]["tot_num"] == 6
