"""The judgement of pasted answers: the seed's nine results exactly, and each rule by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from colotrace.cli import main
from colotrace.crosscheck.audit import audit
from colotrace.crosscheck.capture import captures
from colotrace.crosscheck.fields import FIELDS
from colotrace.crosscheck.plausible import ROUND_TRIP_FLOOR_NS, judge
from colotrace.crosscheck.reading import parse_reading
from colotrace.phases import Role

from .patchmodel import Patch, took

SEED = Path(__file__).parents[1] / "data" / "seed_results.jsonl"
RAM, RECV_0 = ("always-zero", ("ram_size",)), ("always-zero", ("recv_time",))
SHORT = ("recv-below-round-trip", ("recv_time",))
PARTS = (
    "phases-exceed-average",
    ("stat_time", "dev_time", "ram_time", "put_time", "recv_time", "load_time", "resume_time"),
)
EXPECTED = [
    (1, [RAM, SHORT]), (2, [RAM, SHORT]), (4, [PARTS, RAM, SHORT]), (8, [RAM, SHORT]), (16, [RAM, SHORT]),
    (4, [RAM, SHORT]), (8, [RAM, SHORT]), (16, [RECV_0, RAM]), (16, [PARTS, RAM, SHORT]),
]  # fmt: skip


def test_the_seeds_nine_results() -> None:
    judged = audit(captures(SEED.read_text(), "seed"))
    found = [(one.capture.vcpus, [(f.code, f.fields) for f in one.findings]) for one in judged.judged]
    assert found == EXPECTED and judged.across == ()
    excess = [f.numbers["excess"] for f in judged.findings if f.code == PARTS[0]]
    assert excess == [9, 935]
    assert [one.average_holds for one in judged.judged] == [True] * 9
    assert [one.capture.garbage for one in judged.judged] == [()] * 4 + [('{"timestamp"}',)] * 3 + [()] * 2
    assert {one.role for one in judged.judged} == {Role.PRIMARY}
    recv = [f.numbers["recv"] for f in judged.findings if f.code == SHORT[0]]
    assert recv == [1947, 2245, 2538, 2315, 2007, 1985, 2864, 3049]


def test_device_state_grows_with_vcpus() -> None:
    slope = audit(captures(SEED.read_text(), "seed")).slope
    assert slope and (slope.bytes_per_vcpu, slope.bytes_at_zero, slope.residual) == (2211.0, 14708.0, 0.0)
    assert slope.points == ((1, 16919), (2, 19130), (4, 23552), (8, 32396), (16, 50084))


def test_each_raw_text_alone(tmp_path: Path) -> None:
    """As it was pasted, without the words about it: the same findings."""
    for number, line in enumerate(SEED.read_text().splitlines()):
        raw = json.loads(line)["raw"]
        (one,) = audit(captures(raw, "raw")).judged
        assert [(f.code, f.fields) for f in one.findings] == EXPECTED[number][1]


def primary(**changes: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The findings in a sound primary's answer, with some fields changed."""
    patch = Patch(Role.PRIMARY)
    for number in range(7):
        patch.take(took(Role.PRIMARY, number))
    return [(f.code, f.fields) for f in judge(parse_reading({**patch.answer(), **changes}))]


def test_a_sound_answer_has_no_findings() -> None:
    assert primary() == []
    assert primary(info={"total-time": 1_000_000, "ram": {"transferred": 5}}, something="else") == []


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"ram_size": 0}, [RAM]),
        ({"recv_time": 0}, [RECV_0]),
        ({"recv_time": ROUND_TRIP_FLOOR_NS - 1}, [SHORT]),
        ({"recv_time": ROUND_TRIP_FLOOR_NS}, []),
        ({"init_time": -5}, [("negative-init", ("init_time",))]),
        ({"stat_time": -5}, [("negative-stat", ("stat_time",))]),
        ({"load_time": 13_000_000}, [PARTS]),
        ({"load_time": 7 * 2_854_255}, [("averages-mixed-with-totals", ("load_time",))]),
        ({"avg_time": 11_500_000}, [("average-inconsistent", ("avg_time", "tot_time", "tot_num"))]),
        ({"dev_time": None}, [("field-missing", ("dev_time",))]),
        ({"dev_time": "1"}, [("field-of-wrong-type", ("dev_time",))]),
        ({"info": {"total-time": 690}}, [("longer-than-the-migration", ("tot_time", "wait_time"))]),
        ({"info": {"total-time": "698"}}, []),
        ({"info": 5}, []),
    ],
    ids=str,
)
def test_each_rule(changes: dict[str, Any], codes: list[Any]) -> None:
    assert primary(**changes) == codes


def test_one_nanosecond_is_enough() -> None:
    patch = Patch(Role.PRIMARY)
    patch.take(took(Role.PRIMARY, other=0))
    answer = patch.answer()
    assert judge(parse_reading(answer)) == []
    more = {**answer, "load_time": int(str(answer["load_time"])) + 1}
    (one,) = judge(parse_reading(more))
    assert one.code == PARTS[0] and one.numbers["excess"] == 1


def test_a_secondary_may_have_zeros() -> None:
    patch = Patch(Role.SECONDARY)
    patch.take(took(Role.SECONDARY))
    assert judge(patch.reading()) == []


def test_nothing_is_said_of_no_checkpoint() -> None:
    assert judge(parse_reading(dict.fromkeys(FIELDS, 0))) == []


def test_two_answers_after_the_same_checkpoints_must_be_one() -> None:
    patch = Patch(Role.PRIMARY)
    for number in range(7):
        patch.take(took(Role.PRIMARY, number))
    first = json.dumps({"return": patch.answer()})
    patch.sums["stat_time"] += 7_000_000
    torn = json.dumps({"return": patch.answer()})
    (one,) = audit(captures(first + "\n" + torn, "f")).across
    assert (one.code, one.fields) == ("torn-reading", ("stat_time",))
    assert audit(captures(first + "\n" + first, "f")).across == ()


def run(*arguments: str, text: str | None = None) -> Result:
    result = CliRunner().invoke(main, ["audit", *arguments], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_command() -> None:
    result = run(str(SEED))
    assert result.exit_code == 1
    for words in (
        "phases sum to 935 ns more than avg_time", "avg_time = tot_time / tot_num in 9 of 9", 'no JSON: {"timestamp"}',
        "14,708 bytes + 2,211.0 a vCPU", "vcpus 16, memory_gib 4, workload kernel build",
    ):  # fmt: skip
        assert words in result.output


def test_the_command_as_json() -> None:
    result = run("--json", str(SEED))
    assert result.exit_code == 1
    record = json.loads(result.output)
    assert record["average_holds"] == 9 and record["device_state"]["bytes_per_vcpu"] == 2211
    assert [one["code"] for one in record["answers"][8]["findings"]] == [code for code, _ in EXPECTED[8][1]]


def test_the_command_on_a_sound_answer() -> None:
    patch = Patch(Role.PRIMARY)
    patch.take(took(Role.PRIMARY))
    result = run("-", text=json.dumps({"return": patch.answer()}))
    assert result.exit_code == 0 and "avg_time = tot_time / tot_num in 1 of 1" in result.output


@pytest.mark.parametrize(("text", "words"), [("", "holds no answer"), ("{}", "holds no answer")])
def test_the_command_on_what_is_none(text: str, words: str) -> None:
    result = run("-", text=text)
    assert result.exit_code == 11 and words in result.output


def test_the_command_without_a_file(tmp_path: Path) -> None:
    assert run(str(tmp_path / "absent")).exit_code == 11 and run(str(tmp_path)).exit_code == 11
    assert run().exit_code == 2


def test_words_about_a_capture_cannot_steer_the_terminal(tmp_path: Path) -> None:
    patch = Patch(Role.PRIMARY)
    patch.take(took(Role.PRIMARY))
    path = tmp_path / "f\x1b[2J"
    nasty = {"raw": json.dumps({"return": {**patch.answer(), "\x1b[2J": 1}}) + "\x1b[2J", "workload": "\x1b[2J"}
    path.write_text(json.dumps(nasty))
    assert "\x1b" not in run(str(path)).output and "\x1b" not in run("--json", str(path)).output
