"""Dataclasses as JSON and back: the same, or ValueError."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from colotrace.phases import BOUNDARIES, TAKEOVER, Boundary
from colotrace.plain import from_plain, to_plain
from colotrace.resolve.plan import ProbePlan

from .coloprogram import Recipe, build
from .truth import plan_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    number: int
    data: bytes
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    name: str | None
    inner: tuple[Inner, ...]
    pair: tuple[int, str]
    colours: Mapping[Colour, Inner | None]


COLOURS = {Colour.BLUE: None, Colour.RED: Inner(3, b"a")}
VALUE = Outer("x", (Inner(1, b"\xff\0", True), Inner(2, b"")), (7, "seven"), COLOURS)


def through_json(value: object) -> Any:
    return json.loads(json.dumps(to_plain(value)))


def test_there_and_back() -> None:
    assert from_plain(Outer, through_json(VALUE)) == VALUE
    none = Outer(None, (), (0, ""), {})
    assert from_plain(Outer, through_json(none)) == none


def test_every_boundary() -> None:
    for boundary in [TAKEOVER, *(b for role in BOUNDARIES.values() for b in role.values())]:
        assert from_plain(Boundary, through_json(boundary)) == boundary


def test_a_plan_with_unresolved_parts() -> None:
    plan = plan_of(build(Recipe(stripped=frozenset(("qemu_event_wait", "vm_start", "ram_counters")))).data)
    assert plan.unresolved and from_plain(ProbePlan, through_json(plan)) == plan


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("name",), 7),
        (("inner",), None),
        (("inner",), {}),
        (("inner", 0, "number"), "1"),
        (("inner", 0, "number"), True),
        (("inner", 0, "number"), 1.0),
        (("inner", 0, "data"), "xyz"),
        (("inner", 0, "flag"), 0),
        (("inner", 0), {"number": 1}),
        (("inner", 0), {"number": 1, "data": "", "flag": False, "more": 1}),
        (("pair",), [1]),
        (("pair", 1), None),
        (("colours", 0, 0), "green"),
        (("colours", 1, 0), "blue"),
        (("colours",), [["red"]]),
        (("colours",), {"red": None}),
    ],
)
def test_what_does_not_fit_is_refused(place: tuple[str | int, ...], wrong: object) -> None:
    data = through_json(VALUE)
    at = data
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = wrong
    with pytest.raises(ValueError):
        from_plain(Outer, data)


def test_a_type_without_a_rule_is_refused() -> None:
    for kind in (object, list, Any):
        with pytest.raises(ValueError, match="no rule"):
            from_plain(kind, "x")
