"""Two recordings on one clock: real ones of one host, so that the true offset is known, and copies on other clocks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from colotrace.analysis import merge_match
from colotrace.analysis.merge import Merged, merge, times_of
from colotrace.analysis.merge_match import LEAST_MATCHED, Times, match
from colotrace.cli import main
from colotrace.errors import InputError
from colotrace.phases import MESSAGES, SENDERS, Mark, Phase, Role

from .pairs import SHIFTS, OtherClock, checkpoints, clocks, lines, series, write_lines

PRIMARY, SECONDARY = Role
TRANSPORTS = sorted(SHIFTS)
HOURS_AWAY = OtherClock(351_000_000_000, 50e-6, 0)


def merged(folder: Path, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Merged:
    return merge(series(folder, PRIMARY, ours), series(folder, SECONDARY, theirs))


def elsewhere(times: Times, clock: OtherClock) -> Times:
    """Times as that clock shows them."""

    def shown(true: Any) -> Any:
        return np.array([when + clock.ahead(when) for when in true.tolist()], np.int64)

    marks = {mark: (sequence, shown(when)) for mark, (sequence, when) in times.marks.items()}
    return Times(times.sequence, shown(times.begin_ns), marks)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["merge", *map(str, arguments)])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_host_has_one_clock(tmp_path: Path, transport: str) -> None:
    found = merged(tmp_path, lines(transport, PRIMARY), lines(transport, SECONDARY))
    (piece,) = found.match.pieces
    assert found.match.shift == SHIFTS[transport]
    assert np.all(np.abs(piece.offset(found.begin_ns)) <= piece.error(found.begin_ns))
    assert abs(piece.drift) <= piece.drift_error
    assert piece.error(found.begin_ns).max() < 50_000, "loopback's messages take some 10 us, whatever stalls in between"
    assert any("the true offset is 0" in note for note in found.notes)


@pytest.mark.parametrize("transport, count", [("tcp", 100), ("unix", 25)])
def test_all_of_many_clocks_are_recovered_within_the_error_that_is_stated(
    tmp_path: Path, transport: str, count: int
) -> None:
    ours = times_of(series(tmp_path, PRIMARY, lines(transport, PRIMARY)))
    theirs = times_of(series(tmp_path, SECONDARY, lines(transport, SECONDARY)))
    for clock in clocks(int(theirs.begin_ns[0]), count):
        found = match(ours, elsewhere(theirs, clock))
        (piece,) = found.pieces
        at = ours.begin_ns[np.isin(ours.sequence, found.sequence)]
        true = np.array([clock.ahead(int(when)) for when in at])
        assert found.shift == SHIFTS[transport]
        assert np.all(np.abs(piece.offset(at) - true) <= piece.error(at)), clock
        assert abs(piece.drift - clock.drift) <= piece.drift_error, clock
        assert piece.error(at).max() < 50_000 and piece.drift_error < 10e-6


def test_times_come_back_to_the_primarys_clock(tmp_path: Path) -> None:
    theirs = lines("tcp", SECONDARY)
    begin = checkpoints(theirs)[0]["begin_ns"]
    clock = OtherClock(-351_000_000_000, 50e-6, begin)
    found = merged(tmp_path, lines("tcp", PRIMARY), [clock.line(line) for line in theirs])
    for line in checkpoints(theirs):
        number = np.array([line["sequence"] - found.match.shift])
        true = np.array([line["marks_ns"]["vmstate-loaded"]])
        back = found.to_primary(number, true + clock.ahead(int(true[0])))
        assert abs(int(back[0] - true[0])) <= int(found.error(number, true)[0])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_parts_add_up_to_the_primarys_phases(tmp_path: Path, transport: str) -> None:
    theirs = [HOURS_AWAY.line(line) for line in lines(transport, SECONDARY)]
    found = merged(tmp_path, lines(transport, PRIMARY), theirs)
    recorded = {line["sequence"]: line for line in checkpoints(lines(transport, PRIMARY))}
    assert set(found.splits) == {Phase.RECV, Phase.LOAD}
    for phase, split in found.splits.items():
        assert split.total_ns.tolist() == [recorded[n][f"{phase.value}_ns"] for n in split.sequence.tolist()]
        assert np.array_equal(sum(split.parts_ns.values()), split.total_ns)
        assert all(part.min() >= 0 for part in split.parts_ns.values())
        assert len(split.sequence) == len(found.match.sequence)


def test_the_stall_is_the_networks_over_tcp_and_the_work_is_the_secondarys_over_unix(tmp_path: Path) -> None:
    shares = {}
    for transport in TRANSPORTS:
        split = merged(tmp_path, lines(transport, PRIMARY), lines(transport, SECONDARY)).splits[Phase.LOAD]
        shares[transport] = split.parts_ns["network back"].sum() / split.total_ns.sum()
        assert np.all(split.parts_ns["secondary load"] <= split.own_ns + 2 * split.error_ns)
    assert shares["tcp"] > 0.5 > 0.1 > shares["unix"]


@pytest.mark.parametrize("seed", range(5))
def test_gaps_on_both_sides_and_other_starts(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    sides = {}
    for role in Role:
        every = lines("tcp", role)
        few = checkpoints(every)[chance.randint(0, 15) :]
        sides[role] = [every[0], *(line for line in few if chance.random() > 0.2)]
    found = merged(tmp_path, sides[PRIMARY], [HOURS_AWAY.line(line) for line in sides[SECONDARY]])
    ours, theirs = ({line["sequence"] for line in checkpoints(sides[role])} for role in Role)
    assert found.match.shift == SHIFTS["tcp"]
    assert found.match.sequence.tolist() == sorted(ours & {n - SHIFTS["tcp"] for n in theirs})
    assert any("in between are not matched" in note for note in found.notes)


def test_an_end_in_common_is_enough(tmp_path: Path) -> None:
    """The secondary's recording begins ten checkpoints before the primary's ends."""
    last = checkpoints(lines("tcp", PRIMARY))[-1]["sequence"]
    theirs = [x for x in checkpoints(lines("tcp", SECONDARY)) if x["sequence"] - SHIFTS["tcp"] > last - 10]
    found = merged(tmp_path, lines("tcp", PRIMARY), theirs)
    assert found.match.shift == SHIFTS["tcp"] and len(found.match.sequence) == 10


@pytest.mark.parametrize("jump_s", [2.5, -0.004])
def test_a_clock_that_was_set_is_told_and_both_sides_of_it_are_aligned(tmp_path: Path, jump_s: float) -> None:
    theirs = checkpoints(lines("tcp", SECONDARY))
    at = theirs[40]["begin_ns"]
    before, after = OtherClock(10**9, 0, at), OtherClock(10**9 + round(jump_s * 1e9), 0, at)
    found = merged(
        tmp_path, lines("tcp", PRIMARY), [(after if x["begin_ns"] >= at else before).line(x) for x in theirs]
    )
    first, second = found.match.pieces
    assert found.match.sequence[second.first] == theirs[40]["sequence"] - SHIFTS["tcp"]
    for piece, clock in ((first, before), (second, after)):
        here = found.begin_ns[piece.first : piece.last + 1]
        assert np.all(np.abs(piece.offset(here) - clock.ahead_ns) <= piece.error(here))
    (note,) = (n for n in found.notes if "a clock was set" in n)
    assert f"checkpoint {theirs[40]['sequence'] - SHIFTS['tcp']}" in note
    told = float(note.partition("jumps by ")[2].split()[0])
    assert abs(told - jump_s) < 0.001


def test_a_rate_that_changes_is_told_as_such(tmp_path: Path) -> None:
    """By 300 ppm half way, as when NTP begins to slew: a bend, and no step."""
    theirs = checkpoints(lines("unix", SECONDARY))
    at = theirs[-30]["begin_ns"]
    slow, fast = OtherClock(10**9, 0, at), OtherClock(10**9, 300e-6, at)
    found = merged(tmp_path, lines("unix", PRIMARY), [(fast if x["begin_ns"] >= at else slow).line(x) for x in theirs])
    assert len(found.match.pieces) > 1
    assert any("rates have changed" in note for note in found.notes)
    assert not any("a clock was set" in note for note in found.notes)


def test_recordings_of_different_pairs_or_times_are_refused(tmp_path: Path) -> None:
    ours, theirs = lines("tcp", PRIMARY), lines("tcp", SECONDARY)
    early = checkpoints(ours)[:25]
    late = [x for x in checkpoints(theirs) if x["sequence"] - SHIFTS["tcp"] > early[-1]["sequence"]]
    for one, other in ((ours, lines("unix", SECONDARY)), (lines("unix", PRIMARY), theirs), (early, late)):
        with pytest.raises(InputError, match="in common"):
            merged(tmp_path, one, other)
    with pytest.raises(InputError, match=r"do not overlap: the primary's ends 0\.\d+ s before the other begins"):
        merged(tmp_path, [ours[0], *early], [theirs[0], *late])
    with pytest.raises(InputError, match=r"the primary's from 2026-\S+ \S+ to .* and the secondary's from 2026-.* UTC"):
        merged(tmp_path, [ours[0], *early], [HOURS_AWAY.line(x) for x in (theirs[0], *late)])


def _regular(chance: random.Random, first: int, last: int, jitter_ns: int, slack_ns: int) -> tuple[Times, Times]:
    """Both sides of checkpoints that come by the timer, with messages that take up to `slack_ns`; one clock."""
    numbers = np.arange(first, last)
    begin = numbers * 200_000_000 + np.array([chance.randrange(jitter_ns) for _ in numbers])
    sides: dict[Role, dict[Mark, tuple[Any, Any]]] = {role: {} for role in Role}
    at = begin
    for mark in MESSAGES[1:]:
        sent, at = at, at + np.array([slack_ns // 2 + chance.randrange(slack_ns) for _ in numbers])
        for role in Role:
            sides[role][mark] = (numbers, sent if SENDERS[mark] is role else at)
    ours, theirs = (Times(numbers, begin, sides[role]) for role in Role)
    return ours, theirs


def test_a_few_checkpoints_that_fit_by_chance_are_no_match() -> None:
    """Checkpoints by the timer, jittering less than messages take: under many wrong shifts a few fit."""
    by_chance = recovered = 0
    for seed in range(8):
        chance = random.Random(seed)
        (ours, _), (_, theirs) = (_regular(chance, first, first + 30, 250_000, 100_000) for first in (0, 30))
        by_chance += any(merge_match._attempt(ours, theirs, shift) for shift in range(0, 60))
        with pytest.raises(InputError, match=r"in common|cannot be told"):
            match(ours, theirs)
        with pytest.raises(InputError, match="in common"):
            match(ours, theirs, one_clock=True)
        ours, theirs = _regular(chance, 0, 40, 250_000, 100_000)
        found = match(ours, elsewhere(theirs, HOURS_AWAY))
        recovered += found.shift == 0 and len(found.sequence) == 40
    assert by_chance >= 3, "else this shows nothing"
    assert recovered == 8


@pytest.mark.parametrize("role", list(Role))
def test_many_records_lost_in_the_middle(tmp_path: Path, role: Role) -> None:
    sides = {one: lines("unix", one) for one in Role}
    few = checkpoints(sides[role])
    sides[role] = [sides[role][0], *few[:12], *few[-20:]]
    found = merged(tmp_path, sides[PRIMARY], [HOURS_AWAY.line(line) for line in sides[SECONDARY]])
    away = {PRIMARY: 0, SECONDARY: SHIFTS["unix"]}
    numbers = [{x["sequence"] - away[one] for x in checkpoints(sides[one])} for one in Role]
    assert found.match.shift == SHIFTS["unix"] and set(found.match.sequence.tolist()) == numbers[0] & numbers[1]
    first, last = found.match.sequence[[0, -1]].tolist()
    lost = last - first + 1 - len(found.match.sequence)
    assert any(f"{lost} checkpoints in between are not matched" in note for note in found.notes) is (lost > 0)


def test_too_few_and_too_regular_ones_are_refused(tmp_path: Path) -> None:
    ours, theirs = checkpoints(lines("tcp", PRIMARY)), checkpoints(lines("tcp", SECONDARY))
    with pytest.raises(InputError, match=f"takes {LEAST_MATCHED}"):
        merged(tmp_path, ours, theirs[: LEAST_MATCHED - 1])
    model = {role: next(x for x in side if x["sequence"] == 20 + away) for role, side, away in
             ((PRIMARY, ours, 0), (SECONDARY, theirs, SHIFTS["tcp"]))}  # fmt: skip

    def repeated(role: Role) -> list[dict[str, Any]]:
        return [OtherClock(200_000_000 * n, 0, 0).line(model[role]) | {"sequence": n} for n in range(1, 21)]

    with pytest.raises(InputError, match="cannot be told which checkpoint"):
        merged(tmp_path, repeated(PRIMARY), repeated(SECONDARY))


def test_a_side_that_failed_over_half_way(tmp_path: Path) -> None:
    ours = lines("tcp", PRIMARY)
    theirs = checkpoints(lines("tcp", SECONDARY))[:30]
    failover = {
        "type": "failover", "role": "secondary", "pid": theirs[0]["pid"], "mode": "secondary", "reason": "request",
        "exit_ns": theirs[-1]["begin_ns"] + 10**9, "last_good": theirs[-1]["sequence"],
    }  # fmt: skip
    found = merged(tmp_path, ours, [*theirs, failover])
    assert len(found.match.sequence) == 30
    assert any("has a failover (secondary, request)" in note for note in found.notes)


def test_a_mark_that_was_not_seen_leaves_its_split_out(tmp_path: Path) -> None:
    theirs = [x | {"ram_ns": None, "missing": {"ram_ns": "not probed"}} for x in checkpoints(lines("tcp", SECONDARY))]
    found = merged(tmp_path, lines("tcp", PRIMARY), theirs)
    assert not found.splits and "not probed" in found.missing["load"]


def test_the_command(tmp_path: Path) -> None:
    ours = write_lines(tmp_path / "p.jsonl", lines("tcp", PRIMARY))
    clock = OtherClock(351_000_000_000, 50e-6, checkpoints(lines("tcp", SECONDARY))[0]["begin_ns"])
    theirs = write_lines(tmp_path / "s.jsonl", map(clock.line, lines("tcp", SECONDARY)))
    answer = run(ours, theirs, "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    (line,) = told["clocks"]
    assert abs(line["offset_ns"] - clock.ahead(line["at_ns"])) <= line["offset_error_ns"]
    assert abs(line["drift_ppm"] - 50) <= line["drift_error_ppm"]
    for wait in told["waits"].values():
        assert sum(part["sum_ns"] for part in wait["parts"].values()) == wait["total"]["sum_ns"]
    text = run(ours, theirs)
    assert text.exit_code == 0 and "+351.0" in text.stdout and "network back" in text.stdout


def test_the_commands_errors(tmp_path: Path) -> None:
    ours = write_lines(tmp_path / "p.jsonl", lines("tcp", PRIMARY))
    theirs = write_lines(tmp_path / "s.jsonl", lines("tcp", SECONDARY))
    swapped = run(theirs, ours)
    assert swapped.exit_code == InputError.exit_code
    assert "s.jsonl has no checkpoint of a primary, but of a secondary" in swapped.stderr
    twice = run(ours, ours)
    assert twice.exit_code == InputError.exit_code
    assert "p.jsonl has no checkpoint of a secondary, but of a primary" in twice.stderr
    assert run(ours, tmp_path / "none.jsonl").exit_code == InputError.exit_code
    assert run(ours, theirs, "--output", tmp_path / "both.txt").exit_code == 2
