"""Perfetto traces, parsed back: slices nest, last as long as what was recorded, and messages go from side to side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from colotrace.cli import main
from colotrace.errors import OutputError
from colotrace.phases import MESSAGES, ROLE_PHASES, SENDERS, Phase, Role

from .pairs import SHIFTS, OtherClock, checkpoints, lines, write_lines

EVENT = protos.TrackEvent
Slice = tuple[str, int, int, int]  # name, depth, begin, length


def run(*arguments: object) -> Any:
    answer = CliRunner().invoke(main, list(map(str, arguments)))
    return answer


def parsed(path: Path) -> Any:
    trace = protos.Trace()
    trace.ParseFromString(path.read_bytes())
    return trace


def names(trace: Any) -> dict[int, str]:
    return {p.track_descriptor.uuid: p.track_descriptor.name for p in trace.packet if p.HasField("track_descriptor")}


def slices(trace: Any) -> dict[str, list[Slice]]:
    """Finished slices by track; AssertionError if an end has no begin, or goes back in time."""
    open_ones: dict[int, list[tuple[str, int]]] = defaultdict(list)
    found: dict[str, list[Slice]] = defaultdict(list)
    last: dict[int, int] = defaultdict(int)
    tracks = names(trace)
    for packet in trace.packet:
        event = packet.track_event
        if not packet.HasField("track_event") or event.type == EVENT.TYPE_COUNTER:
            continue
        assert packet.timestamp >= last[event.track_uuid]
        last[event.track_uuid] = packet.timestamp
        if event.type == EVENT.TYPE_SLICE_BEGIN:
            open_ones[event.track_uuid].append((event.name, packet.timestamp))
        elif event.type == EVENT.TYPE_SLICE_END:
            name, begin = open_ones[event.track_uuid].pop()
            depth = len(open_ones[event.track_uuid])
            found[tracks[event.track_uuid]].append((name, depth, begin, packet.timestamp - begin))
    assert not any(open_ones.values())
    return found


def instants(trace: Any) -> Iterator[Any]:
    return (p for p in trace.packet if p.HasField("track_event") and p.track_event.type == EVENT.TYPE_INSTANT)


@pytest.mark.parametrize("role", list(Role))
def test_a_recording_converted_says_what_it_said(tmp_path: Path, role: Role) -> None:
    source = write_lines(tmp_path / "run.jsonl", lines("tcp", role))
    answer = run("convert", "--to", "perfetto", source, tmp_path / "run.trace")
    assert answer.exit_code == 0, answer.output
    trace = parsed(tmp_path / "run.trace")
    (track,) = (name for name in names(trace).values() if role.value in name)
    found = slices(trace)
    for line in checkpoints(lines("tcp", role)):
        end = line["begin_ns"] + line["total_ns"]
        assert (f"checkpoint {line['sequence']}", 0, line["begin_ns"], line["total_ns"]) in found[track]
        assert ("wait", 0, line["begin_ns"] - line["wait_ns"], line["wait_ns"]) in found[track]
        within = {n: length for n, depth, at, length in found[track] if depth == 1 and line["begin_ns"] <= at <= end}
        told = [phase for phase in ROLE_PHASES[role] if phase not in (Phase.INIT, Phase.WAIT)]
        assert within == {phase.value: line[f"{phase.value}_ns"] for phase in told}
        marks = line["marks_ns"]
        assert ("paused", 0, marks["vm-stop"], line["pause_ns"]) in found["VM paused"]
    counted = [p.track_event.counter_value for p in trace.packet if p.track_event.type == EVENT.TYPE_COUNTER]
    recorded = [x for x in lines("tcp", role) if x["type"] == "checkpoint" and x["total_ns"] is not None]
    assert sum(counted) == sum(x[name] or 0 for x in recorded for name in ("ram_bytes", "device_bytes"))
    assert sum(counted) > 0


def test_the_flush_lies_within_load(tmp_path: Path) -> None:
    """Recordings of before it had marks have none; here it takes from a quarter of load to its half."""
    recorded = lines("unix", Role.SECONDARY)
    wanted = []
    for line in checkpoints(recorded)[1:]:
        begin = line["begin_ns"] + line["total_ns"] - line["load_ns"]
        line["marks_ns"] |= {"cache-flush": begin + line["load_ns"] // 4, "cache-flushed": begin + line["load_ns"] // 2}
        wanted.append(("cache flush", 2, line["marks_ns"]["cache-flush"], line["load_ns"] // 2 - line["load_ns"] // 4))
    assert run("convert", write_lines(tmp_path / "run.jsonl", recorded), tmp_path / "run.pftrace").exit_code == 0
    found = [one for track in slices(parsed(tmp_path / "run.pftrace")).values() for one in track]
    assert [one for one in found if one[0] == "cache flush"] == wanted and wanted


def test_the_clock_is_monotonic_and_its_snapshot_has_the_time_of_day(tmp_path: Path) -> None:
    recorded = lines("tcp", Role.PRIMARY)
    run("convert", write_lines(tmp_path / "run.jsonl", recorded), tmp_path / "run.pftrace")
    snapshot = parsed(tmp_path / "run.pftrace").packet[0].clock_snapshot
    assert snapshot.primary_trace_clock == protos.BUILTIN_CLOCK_MONOTONIC
    at = {clock.clock_id: clock.timestamp for clock in snapshot.clocks}
    away = at[protos.BUILTIN_CLOCK_REALTIME] - at[protos.BUILTIN_CLOCK_MONOTONIC]
    assert away == recorded[0]["realtime_minus_monotonic_ns"]


def test_messages_flow_from_side_to_side_on_one_clock(tmp_path: Path) -> None:
    ours, theirs = (lines("tcp", role) for role in Role)
    clock = OtherClock(351_000_000_000, 50e-6, 0)
    sides = [write_lines(tmp_path / f"{n}.jsonl", side) for n, side in enumerate((ours, map(clock.line, theirs)))]
    answer = run("merge", *sides, "--output", tmp_path / "both.pftrace")
    assert answer.exit_code == 0, answer.output
    trace = parsed(tmp_path / "both.pftrace")
    tracks = names(trace)
    sent, received = {}, {}
    for packet in instants(trace):
        event = packet.track_event
        mark = next(mark for mark in MESSAGES if event.name.startswith(mark.name))
        from_here = SENDERS[mark].value in tracks[event.track_uuid].split(" (")[0].split()
        assert event.name.endswith("sent" if from_here else "received")
        for flows, ends in ((event.flow_ids, sent), (event.terminating_flow_ids, received)):
            for flow in flows:
                assert flow not in ends
                ends[flow] = packet.timestamp
    numbers = [{x["sequence"] - away for x in checkpoints(side)} for side, away in ((ours, 0), (theirs, SHIFTS["tcp"]))]
    assert len(sent) == 6 * len(numbers[0] & numbers[1])
    assert sent.keys() == received.keys()
    assert all(sent[flow] <= received[flow] + 2 for flow in sent), "on one clock no message comes before it was sent"
    slices(trace)


def test_a_recording_is_not_overwritten_by_its_own_trace(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "run.jsonl", lines("tcp", Role.PRIMARY))
    before = Path(source).read_bytes()
    answer = run("convert", "--to", "perfetto", source, source)
    assert answer.exit_code == OutputError.exit_code and "being read" in answer.stderr
    assert Path(source).read_bytes() == before


def test_what_was_seen_in_part_is_left_out_and_said(tmp_path: Path) -> None:
    recorded = lines("tcp", Role.PRIMARY)
    part = next(x for x in recorded if x["type"] == "checkpoint") | {"begin_ns": None, "outcome": "incomplete"}
    source = write_lines(tmp_path / "run.jsonl", [recorded[0], part])
    answer = run("convert", source, tmp_path / "run.pftrace")
    assert answer.exit_code == 0 and "1 checkpoints, seen in part" in answer.stderr
    assert not slices(parsed(tmp_path / "run.pftrace"))
