"""Pasted QMP output: answers are found in whatever surrounds them, and what is no JSON is told."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colotrace.crosscheck.capture import captures
from colotrace.crosscheck.reading import Reading, likely_role, parse_reading
from colotrace.phases import Role

from .patchmodel import Patch, took

ANSWER = {"tot_time": 4_295_509_854, "tot_num": 6, "avg_time": 715_918_309, "dev_size": 16_919}
RETURN = json.dumps({"return": ANSWER})
GREETING = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}'
EVENT = '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}'


def test_an_answer_alone() -> None:
    (one,) = captures(RETURN, "f")
    assert (one.label, dict(one.reading.values), one.garbage, one.vcpus) == ("f", ANSWER, (), None)


def test_a_session() -> None:
    text = f'{GREETING}\r\n{{"return": {{}}}}\r\n{EVENT}\r\n{RETURN}\r\n{EVENT}\r\n{RETURN}\r\n'
    assert [one.label for one in captures(text, "f")] == ["f#1", "f#2"]


def test_a_monitor_that_prints_prettily() -> None:
    text = f"(QEMU) info_checkpoint\n{json.dumps({'return': ANSWER}, indent=4)}\n(QEMU) "
    (one,) = captures(text, "f")
    assert dict(one.reading.values) == ANSWER and one.garbage == ("(QEMU) info_checkpoint", "(QEMU)")


def test_an_answer_without_its_return() -> None:
    assert len(captures(json.dumps(ANSWER), "f")) == 1
    assert captures('{"tot_time": 1, "something": 2}', "f") == [], "a single known name may be anything"


@pytest.mark.parametrize("end", ['{"timestamp"}', '{"timestamp": {"seconds": 1', "} }", '{"return": {"tot_time": 1'])
def test_a_cut_off_end_is_told(end: str) -> None:
    (one,) = captures(f"{RETURN} {end}", "f")
    assert one.garbage == (end,) and dict(one.reading.values) == ANSWER


def test_a_cut_off_answer_is_none() -> None:
    assert captures(RETURN[:-10], "f") == []


def test_vcpus_from_the_capture() -> None:
    cpus = [{"cpu-index": n, "thread-id": 100 + n, "qom-path": "/x"} for n in range(4)]
    (one,) = captures(f"{json.dumps({'return': cpus})}\n{RETURN}", "f")
    assert one.vcpus == 4
    (one,) = captures(f'{{"return": [{{"name": "a"}}]}}\n{RETURN}', "f")
    assert one.vcpus is None


def test_lines_with_words_about_them() -> None:
    lines = [json.dumps({"vcpus": n, "workload": "kernel build", "raw": RETURN, "return": {}}) for n in (1, 2)]
    found = captures("\n".join(lines) + "\n", "f")
    assert [(one.label, one.vcpus) for one in found] == [("f:1", 1), ("f:2", 2)]
    assert found[0].about == {"vcpus": 1, "workload": "kernel build"}


@pytest.mark.parametrize("vcpus", ["4", True, -1, 0, None, 2.5])
def test_vcpus_that_are_no_number(vcpus: object) -> None:
    assert captures(json.dumps({"vcpus": vcpus, "raw": RETURN}), "f")[0].vcpus is None


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "{", '{"return": NaN}', "[" * 100_000, '{"a":' * 100_000, "{" * 1_000_000, "\0{\0}",
     '{"return": ' + "9" * 5000 + "}", '{"return": [{"tot_time": 1}]}', '{"return": {"tot_time": {}}}', '{"raw": 5}'],
    ids=lambda text: text[:15],
)  # fmt: skip
def test_what_holds_no_answer(text: str) -> None:
    assert captures(text, "f") == []


def test_a_number_beyond_all_floats_is_no_json() -> None:
    """Found by scripts/fuzz capture: it would be infinity, and audit --json would say Infinity."""
    line = json.dumps({"vcpus": 1, "memory_gib": 4, "raw": RETURN})
    for text in (line.replace("4,", "1e999,"), RETURN.replace("{", '{"x": -1e999, ', 1)):
        assert "1e999" in text
        for one in captures(text, "f"):
            json.dumps(one.about, allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        "{" * 3_000_000,
        '{"a":' * 600_000,
        ('{"a":' * 900 + "1," * 20_000) * 20,
        '{"a":[' + "1," * 3_000_000 + "{" * 3000,
    ],
    ids=["braces", "nested", "nested and long", "long and braces"],
)
def test_the_search_is_given_up_in_the_end(text: str) -> None:
    """Megabytes that begin like objects over and over: a few seconds, not minutes."""
    began = time.process_time()
    assert captures(text, "f") == []
    assert time.process_time() - began < 30


def test_an_answer_behind_many_stray_braces() -> None:
    assert len(captures("{" * 3000 + RETURN, "f")) == 1


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_any_text_is_survived(text: str) -> None:
    captures(text, "f")
    found = captures(text + RETURN, "f")
    assert len(found) <= 1


NAMES = st.sampled_from([*ANSWER, "info", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_read_or_refused(answer: object) -> None:
    try:
        reading = parse_reading(answer)
    except ValueError:
        assert not isinstance(answer, dict) or not set(ANSWER) & set(answer)
        return
    assert isinstance(reading, Reading) and isinstance(answer, dict)
    for name, value in reading.values.items():
        assert answer[name] == value and type(answer[name]) is int and -(1 << 63) <= value < 1 << 63
    assert not set(reading.values) & (set(reading.missing) | set(reading.wrong))


def test_the_shape_of_an_answer() -> None:
    odd = {"tot_time": "9", "avg_time": 2.0, "stat_time": None, "load_time": True, "x": 1, "ram_time": 1 << 63}
    reading = parse_reading({"tot_num": 3, **odd})
    assert dict(reading.values) == {"tot_num": 3} and reading.unknown == ("x",) and "stat_time" in reading.missing
    assert reading.wrong == {
        "tot_time": "a string", "avg_time": "a float", "load_time": "a boolean", "ram_time": "a number beyond int64",
    }  # fmt: skip
    assert reading.parts_sum() is None and reading.num == 3


@pytest.mark.parametrize("num", [0, -1])
def test_no_checkpoints_no_sums(num: int) -> None:
    reading = parse_reading({"tot_num": num, "tot_time": 5, "avg_time": 0})
    assert reading.num is None and reading.total("avg_time") is None and reading.total("tot_time")


@pytest.mark.parametrize("role", list(Role))
def test_the_role_shows(role: Role) -> None:
    patch = Patch(role)
    patch.take(took(role))
    assert likely_role(patch.reading()) is role
