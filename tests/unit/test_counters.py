"""ram_counters: found only where the visitor and a user of it agree; otherwise nothing, with the reason."""

from __future__ import annotations

import re

import pytest

from colotrace.resolve.counters import find_ram_counters

from .coloprogram import Recipe, build
from .decoding import code_of_file
from .truth import plan_of


@pytest.mark.parametrize("seed", [0, 1])
def test_both_witnesses_agree(seed: int) -> None:
    program = build(Recipe(seed=seed))
    at = program.labels["ram_counters"]
    counters = plan_of(program.data).ram_counters
    assert counters.known
    assert counters.bytes_at == (at,)
    assert sorted(counters.pages_at) == [at + 24, at + 40]
    assert "visit_type_MigrationStats_members" in counters.evidence and "acct_update_position" in counters.evidence
    assert counters.as_json() == {
        "bytes_at": [at], "pages_at": list(counters.pages_at), "evidence": counters.evidence,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(stripped=frozenset(["ram_counters"])), "no ram_counters"),
        (Recipe(stripped=frozenset(["visit_type_MigrationStats_members"])), "no visit_type_MigrationStats_members"),
        (Recipe(stripped=frozenset(["acct_update_position"])), "no acct_update_position"),
        (Recipe(counter_offset=8), "does not use ram_counters' normal at"),
        (Recipe(counter_offset=-16), "two of transferred, normal, duplicate at one offset"),
        (Recipe(counter_members=("transferred", "duplicate")), "does not tell the offset of normal"),
        (Recipe(counter_members=("normal",)), "does not tell the offset of transferred, duplicate"),
        (Recipe(counter_members=()), "does not tell the offset of transferred, normal, duplicate"),
    ],
)  # fmt: skip
def test_anything_less_is_nothing_with_a_reason(recipe: Recipe, words: str) -> None:
    with code_of_file(build(recipe).data) as code:
        counters = find_ram_counters(code)
    assert (counters.bytes_at, counters.pages_at, counters.known) == ((), (), False)
    assert re.search(words, counters.evidence)
    assert counters.as_json() == {"bytes_at": None, "pages_at": None, "evidence": counters.evidence}


def test_unknown_counters_do_not_harm_the_phases() -> None:
    plan = plan_of(build(Recipe(stripped=frozenset(["ram_counters"]))).data)
    assert not plan.ram_counters.known
    assert all(quality for role in plan.roles.values() for quality in role.phases.values())
