"""Every parser of what others write: damaged seeds, made-up JSON, anything at all; bounded time and memory."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colotrace.crosscheck.audit import Audit
from colotrace.crosscheck.fields import FIELDS
from colotrace.errors import ColotraceError
from colotrace.resolve.plan import ProbePlan

from .fakeqmp import GREETING, NEGOTIATED
from .fuzzing import PARSERS

OTHERS = sorted(PARSERS.keys() - {"elf", "debug-file", "dwarf"})
"""test_damage.py has those three."""
SLOW = {"qmp-reply": 100, "host": 60}
QUICK = 150
KEYS = st.one_of(
    st.sampled_from([*FIELDS, "return", "error", "desc", "class", "event", "QMP", "id", "raw", "vcpus", "name"]),
    st.text(max_size=4),
)
LIMITS = st.sampled_from([0, -1, 1 << 63, 1 << 64, 10**400, 0.5, 1e308])
NUMBERS = st.one_of(st.integers(), LIMITS, st.floats(allow_nan=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=14)),
    max_leaves=20,
)
ANSWERS = st.builds(
    lambda numbers, rest: {**rest, **dict(zip(FIELDS, numbers, strict=False))},
    st.lists(st.one_of(NUMBERS, st.none(), VALUES), min_size=14, max_size=14),
    st.dictionaries(KEYS, VALUES, max_size=3),
)


def of_examples(name: str) -> settings:
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=SLOW.get(name, QUICK), deadline=None, derandomize=True, suppress_health_check=quiet)


@pytest.mark.parametrize("name", OTHERS)
def test_damaged_seeds(name: str) -> None:
    parser = PARSERS[name]

    @of_examples(name)
    @given(st.sampled_from(sorted(parser.seeds())), st.integers(0, 1 << 32))
    def survives(seed: str, number: int) -> None:
        parser.survives(parser.hurt(parser.seeds()[seed], random.Random(number)))

    survives()


@pytest.mark.parametrize("name", OTHERS)
def test_anything(name: str) -> None:
    @of_examples(name)
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
    def survives(data: bytes) -> None:
        PARSERS[name].survives(data)

    survives()


@pytest.mark.parametrize("name", ["capture", "qmp-reply", "plan"])
def test_any_json(name: str) -> None:
    before = GREETING + NEGOTIATED if name == "qmp-reply" else b""
    replies = st.one_of(VALUES, ANSWERS).map(lambda value: {"return": value, "id": "@ID@"})

    @of_examples(name)
    @given(st.one_of(VALUES, replies, VALUES.map(lambda value: {"error": value, "id": "@ID@"})))
    def survives(value: object) -> None:
        PARSERS[name].survives(before + json.dumps(value).encode() + b"\n")

    survives()


@pytest.mark.parametrize("depth", [500, 990, 3000, 100_000])
@pytest.mark.parametrize("name", OTHERS)
def test_deep(name: str, depth: int) -> None:
    before = GREETING + NEGOTIATED if name == "qmp-reply" else b""
    lists = b"[" * depth + b"]" * depth
    for data in (b"[" * depth, b'{"a":' * depth, lists, b'{"return": ' + lists + b"}"):
        PARSERS[name].survives(before + data + b"\n")


@pytest.mark.parametrize("name", OTHERS)
def test_long(name: str) -> None:
    before = GREETING + NEGOTIATED if name == "qmp-reply" else b""
    for unit in (b"9", b"a", b'"', b"{", b"\n", b": ", b"\\", b"\xff"):
        PARSERS[name].survives(before + unit * 300_000)


@pytest.mark.parametrize("name", OTHERS)
def test_seeds_are_read_to_the_end(name: str) -> None:
    """A fuzzer that begins with what is refused at once tests nothing."""
    answers = {seed: PARSERS[name].survives(data) for seed, data in PARSERS[name].seeds().items()}
    if name == "capture":
        assert all(isinstance(answer, Audit) and answer.judged for answer in answers.values())
    elif name == "plan":
        assert isinstance(answers["plan"], ProbePlan)
    elif name == "qmp-request":
        assert answers["plain"] == answers["escapes"] == 2
    elif name == "qmp-reply":
        assert answers["answer"][0]["status"] == "colo"  # type: ignore[index]
        assert len(answers["schema"][1]) == 2  # type: ignore[index]
    elif name == "proc":
        assert answers["maps"] == 0x55B0C5F4C000 - 0x34C000 and isinstance(answers["stat"], ColotraceError)
    elif name == "host":
        assert all(isinstance(answer, int) for answer in answers.values())
