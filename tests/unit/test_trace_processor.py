"""Perfetto's own trace processor (scripts/trace_processor) loads our traces, and finds in them what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from colotrace.cli import main
from colotrace.phases import ROLE_PHASES, Phase, Role

from .pairs import SHIFTS, OtherClock, checkpoints, lines, write_lines

from trace_processor import TraceProcessor, loader  # isort: skip

Load = Callable[[str | Path], TraceProcessor]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    try:
        with loader() as found:
            yield found
    except FileNotFoundError as error:
        pytest.skip(str(error))


def written(path: Path, *words: object) -> Path:
    answer = CliRunner().invoke(main, [*map(str, words)])
    assert answer.exit_code == 0, answer.output
    return path


def slices(trace: TraceProcessor, role: Role) -> dict[tuple[str | None, str, int], int]:
    """The slices of a role's own track: name of the one around it, its own name, begin -> length."""
    rows = trace.query(
        "select p.name around, s.name, s.ts, s.dur from slice s join track t on s.track_id = t.id "
        f"left join slice p on s.parent_id = p.id where t.name like '%{role.value} (pid%' and s.dur > 0"
    )
    return {(row["around"], row["name"], row["ts"]): row["dur"] for row in rows}


def recorded(side: list[dict[str, Any]], role: Role) -> dict[tuple[str | None, str], list[int]]:
    """The lengths of what a recording has, by the slices that they are drawn as."""
    found: dict[tuple[str | None, str], list[int]] = {}
    for line in checkpoints(side):
        name = f"checkpoint {line['sequence']}"
        found.setdefault((None, "wait"), []).append(line["wait_ns"])
        found[None, name] = [line["total_ns"]]
        for phase in ROLE_PHASES[role]:
            if phase not in (Phase.INIT, Phase.WAIT) and line[f"{phase.value}_ns"]:
                found[name, phase.value] = [line[f"{phase.value}_ns"]]
    return found


@pytest.mark.parametrize("role", list(Role))
def test_a_recording_has_its_slices_to_the_nanosecond(load: Load, tmp_path: Path, role: Role) -> None:
    side = lines("tcp", role)
    path = tmp_path / "run.pftrace"
    trace = load(written(path, "convert", write_lines(tmp_path / "run.jsonl", side), path))
    assert trace.trouble() == []
    found: dict[tuple[str | None, str], list[int]] = {}
    for (around, name, _), length in sorted(slices(trace, role).items(), key=lambda item: item[0][2]):
        found.setdefault((around, name), []).append(length)
    for key, lengths in recorded(side, role).items():
        assert found[key] == lengths, key
    paused = trace.query("select sum(dur) total from slice where name = 'paused'")[0]["total"]
    drawn = [line for line in side if line["type"] == "checkpoint" and line["total_ns"] is not None]
    assert paused == sum(line["pause_ns"] or 0 for line in drawn)
    clocks = {row["clock_name"]: row["clock_value"] for row in trace.query("select * from clock_snapshot")}
    assert clocks["REALTIME"] - clocks["MONOTONIC"] == side[0]["realtime_minus_monotonic_ns"]


def test_both_sides_are_joined_by_their_messages(load: Load, tmp_path: Path) -> None:
    sides = {role: lines("tcp", role) for role in Role}
    clock = OtherClock(351_000_000_000, 50e-6, 0)
    paths = [
        write_lines(tmp_path / "p.jsonl", sides[Role.PRIMARY]),
        write_lines(tmp_path / "s.jsonl", map(clock.line, sides[Role.SECONDARY])),
    ]
    both = tmp_path / "both.pftrace"
    trace = load(written(both, "merge", *paths, "--output", both))
    assert trace.trouble() == []
    numbers = [{x["sequence"] - away for x in checkpoints(sides[role])} for role, away in
               ((Role.PRIMARY, 0), (Role.SECONDARY, SHIFTS["tcp"]))]  # fmt: skip
    flows = trace.query(
        "select a.name sent, b.name received, a.track_id != b.track_id across, b.ts - a.ts took from flow f "
        "join slice a on f.slice_out = a.id join slice b on f.slice_in = b.id"
    )
    assert len(flows) == 6 * len(numbers[0] & numbers[1])
    for flow in flows:
        assert flow["across"] and flow["took"] >= -2, flow
        assert flow["sent"].removesuffix(" sent") == flow["received"].removesuffix(" received")
    counted = trace.query(
        "select cast(sum(value) as int) total from counter c join track t on c.track_id = t.id "
        "where t.name = 'RAM sent'"
    )
    assert counted[0]["total"] == sum(x["ram_bytes"] for x in sides[Role.PRIMARY] if x.get("ram_bytes"))


def test_what_it_cannot_make_sense_of_is_told(load: Load, tmp_path: Path) -> None:
    """Slices that never end, and a track within one that is not there: the checks above can fail."""
    path = tmp_path / "run.pftrace"
    written(path, "convert", write_lines(tmp_path / "run.jsonl", lines("tcp", Role.PRIMARY)), path)
    whole = protos.Trace.FromString(path.read_bytes())
    ends = [n for n, p in enumerate(whole.packet) if p.track_event.type == protos.TrackEvent.TYPE_SLICE_END]
    endless, orphans = protos.Trace(), protos.Trace()
    endless.CopyFrom(whole)
    del endless.packet[ends[0]]
    orphans.CopyFrom(whole)
    for packet in orphans.packet:
        if packet.track_descriptor.parent_uuid:
            packet.track_descriptor.parent_uuid = 99
    for trace, word in ((endless, "without an end"), (orphans, "parser_errors")):
        path.write_bytes(trace.SerializeToString())
        assert any(word in line for line in load(path).trouble())
    path.write_bytes(b"this is no trace" * 100)
    with pytest.raises(ValueError):
        load(path)
