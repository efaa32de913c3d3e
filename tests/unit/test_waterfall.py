"""Where phases lie, on a real recording: nothing overlaps, and what lies between is `other`, to the nanosecond."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from colotrace.analysis.waterfall import stretches
from colotrace.phases import Phase, Role
from colotrace.report.palette import DARK, LIGHT, PHASE_COLOURS, PHASE_TEXTURES, Theme

LINES = (Path(__file__).parents[1] / "data" / "recording_pair.jsonl").read_text().splitlines()
RECORDS = [one for one in map(json.loads, LINES) if one["type"] == "checkpoint"]


@pytest.mark.parametrize("role", list(Role))
def test_phases_follow_each_other_and_gaps_add_up_to_other(role: Role) -> None:
    records = [record for record in RECORDS if record["role"] == role.value]
    assert len(records) == 20
    for record in records:
        cursor = gaps = 0
        for one in stretches(role, record):
            assert one.begin_ns is not None and one.length_ns is not None and one.begin_ns >= cursor
            gaps += one.begin_ns - cursor
            cursor = one.begin_ns + one.length_ns
        assert cursor == record["total_ns"]
        assert gaps == record["other_ns"]


def test_what_cannot_be_told_is_none_and_the_rest_stays() -> None:
    primary = next(one for one in RECORDS if one["role"] == "primary")
    record: dict[str, Any] = {**primary, "ram_ns": None, "put_ns": None, "marks_ns": {}}
    found = {one.phase: one for one in stretches(Role.PRIMARY, record)}
    assert found[Phase.STAT].begin_ns == 0
    assert found[Phase.DEV].begin_ns == record["stat_ns"]
    assert found[Phase.RAM].begin_ns is None and found[Phase.RAM].length_ns is None
    assert found[Phase.RECV].begin_ns is None and found[Phase.RECV].length_ns == record["recv_ns"]
    assert found[Phase.RESUME].begin_ns == record["total_ns"] - record["resume_ns"]
    assert found[Phase.LOAD].begin_ns == record["total_ns"] - record["resume_ns"] - record["load_ns"]


def _luminance(colour: str) -> float:
    """WCAG 2's relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_words_can_be_read_on_their_paper(theme: Theme) -> None:
    paper = _luminance(theme.paper)
    for colour in (theme.text, theme.muted, theme.accent, theme.warning):
        light, dark = sorted((_luminance(colour), paper), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_every_phase_has_a_colour_and_neighbours_differ_in_texture_or_lightness() -> None:
    names = [phase.value for phase in Phase if phase is not Phase.INIT] + ["other"]
    assert list(PHASE_COLOURS) == list(PHASE_TEXTURES) == names
    assert len(set(PHASE_COLOURS.values())) == len(names)
    for one, after in pairwise(names):
        apart = abs(_luminance(PHASE_COLOURS[one]) - _luminance(PHASE_COLOURS[after]))
        assert PHASE_TEXTURES[one] != PHASE_TEXTURES[after] or apart > 0.1, (one, after)
