"""Recordings as Perfetto traces: TrackEvents, for ui.perfetto.dev and trace_processor.

A track per process and role: its waits and checkpoints as slices, the phases within, the flush of the secondary's cache
within load, the messages as instants, joined by flows where both sides are in the trace. Below it, a track for the VM's
pause and counters of bytes. Times are nanoseconds of CLOCK_MONOTONIC, of the primary's host where two hosts are in one
trace; a snapshot of the clocks gives the time of day.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from colotrace.analysis.spans import phase_spans
from colotrace.errors import OutputError
from colotrace.newfile import open_private
from colotrace.phases import MESSAGES, SENDERS, Mark, Phase, Role

SUFFIXES = (".pftrace", ".perfetto-trace")
Progress = Callable[[int], None]
Line = Mapping[str, Any]
Align = Callable[[Line, list[int]], list[int]]
"""Times of a line's process -> those times on the trace's clock."""

_SEQUENCE = 1
_COUNTERS = {"ram_bytes": "RAM sent", "device_bytes": "device state"}
_WITHIN = {Phase.LOAD: ("cache flush", Mark.CACHE_FLUSH, Mark.CACHE_FLUSHED)}
"""A slice inside a phase's, between two marks."""
_TOLD_ROWS = 1000


@dataclass(frozen=True)
class Side:
    """A recording's lines on their way into a trace. `align` puts times on the trace's clock; `number` gives a
    checkpoint's number that both sides share, None if it has no partner."""

    lines: Iterable[Line]
    align: Align = lambda _line, times: times
    number: Callable[[Line], int | None] = lambda _line: None


def is_trace(path: str) -> bool:
    """Whether a file's name asks for a Perfetto trace."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def write_trace(
    path: str, sides: Iterable[Side], progress: Progress = lambda _rows: None, sources: Iterable[str] = ()
) -> int:
    """Writes a trace; how many checkpoints are not in it, as their begin or total is not known.

    Raises OutputError, also where it would overwrite one of the `sources`.
    """
    from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

    if os.path.exists(path) and any(os.path.samefile(path, source) for source in sources):
        raise OutputError(f"{path} is what is being read", "Choose another name for the result.")
    with os.fdopen(open_private(path, "file", empty=True), "wb") as file:
        trace = _Trace(StreamingTraceProtoBuilder(file))
        rows = left_out = 0  # of all sides
        for side in sides:
            for line in side.lines:
                kind = line["type"]
                if kind == "attached":
                    trace.attached(line)
                elif kind == "checkpoint":
                    left_out += not trace.checkpoint(line, side)
                    rows += 1
                    if rows % _TOLD_ROWS == 0:
                        progress(rows)
                elif kind == "failover":
                    trace.failover(line, side)
        progress(rows)
    return left_out


class _Trace:
    """Packets of one trace."""

    def __init__(self, builder: Any) -> None:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

        self._protos, self._builder = protos, builder
        self._event = protos.TrackEvent
        self._headers: dict[int, Line] = {}
        self._tracks: dict[tuple[object, ...], int] = {}
        self._begun = False

    def attached(self, line: Line) -> None:
        self._headers[line["pid"]] = line
        if not self._begun:
            self._begin(line)

    def checkpoint(self, line: Line, side: Side) -> bool:
        begin, total = line["begin_ns"], line["total_ns"]
        if begin is None or total is None:
            return False
        role = Role(line["role"])
        track = self._role_track(line, role)
        marks = line["marks_ns"]
        phases = {phase: line[f"{phase.value}_ns"] for phase in Phase if line.get(f"{phase.value}_ns") is not None}
        spans = phase_spans(role, phases, {**marks, Mark.CHECKPOINT_REQUEST.value: begin})
        moments = [begin, begin + total, *(t for span in spans.values() for t in span), *marks.values()]
        at = dict(zip(moments, side.align(line, moments), strict=True))
        event = self._event
        slices: list[tuple[int, int, str | None, dict[str, Any]]] = []
        whole = f"checkpoint {line['sequence']}" + ("" if line["outcome"] == "completed" else f" ({line['outcome']})")
        if Phase.WAIT in spans:
            opens, closes = spans.pop(Phase.WAIT)
            slices += [(at[opens], event.TYPE_SLICE_BEGIN, "wait", {}), (at[closes], event.TYPE_SLICE_END, None, {})]
        facts = {
            name: line[name] for name in ("sequence", "outcome", "pause_ns", *_COUNTERS) if line.get(name) is not None
        }
        slices.append((at[begin], event.TYPE_SLICE_BEGIN, whole, {"facts": facts}))
        for phase, (opens, closes) in sorted(spans.items(), key=lambda item: item[1]):
            slices.append((at[opens], event.TYPE_SLICE_BEGIN, phase.value, {}))
            if phase in _WITHIN:
                name, *ends = _WITHIN[phase]
                begun, ended = (marks.get(mark.value) for mark in ends)
                if begun is not None and ended is not None:
                    slices.append((at[begun], event.TYPE_SLICE_BEGIN, name, {}))
                    slices.append((at[ended], event.TYPE_SLICE_END, None, {}))
            slices.append((at[closes], event.TYPE_SLICE_END, None, {}))
        number = side.number(line)
        for mark in MESSAGES[1:]:
            if mark.value in marks:
                sent = SENDERS[mark] is role
                name = f"{mark.name} {'sent' if sent else 'received'}"
                flow = {} if number is None else {"flow": (number << 4 | mark.number, sent)}
                slices.append((at[marks[mark.value]], event.TYPE_INSTANT, name, flow))
        slices.append((at[begin + total], event.TYPE_SLICE_END, None, {}))
        for when, kind, title, more in sorted(slices, key=lambda one: one[0]):  # stable: ties stay nested
            self._emit(track, when, kind, title, **more)
        stop, started = marks.get(Mark.VM_STOP.value), marks.get(Mark.VM_STARTED.value)
        if stop is not None and started is not None:
            paused = self._track((track, "pause"), "VM paused", parent=track)
            self._emit(paused, at[stop], event.TYPE_SLICE_BEGIN, "paused")
            self._emit(paused, at[started], event.TYPE_SLICE_END)
        for column, counted in _COUNTERS.items():
            if line.get(column) is not None:
                counter = self._track((track, column), counted, parent=track, counter=True)
                self._emit(counter, at[begin + total], event.TYPE_COUNTER, value=line[column])
        return True

    def failover(self, line: Line, side: Side) -> None:
        when = line.get("exit_ns")
        if isinstance(when, int) and line.get("role") in {role.value for role in Role}:
            track = self._role_track(line, Role(line["role"]))
            self._emit(track, side.align(line, [when])[0], self._event.TYPE_INSTANT, "failover")

    def _begin(self, header: Line) -> None:
        packet = self._packet()
        packet.sequence_flags = self._protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        offset, started = header.get("realtime_minus_monotonic_ns"), _wall_ns(header.get("started"))
        if isinstance(offset, int) and started is not None:
            monotonic = self._protos.BUILTIN_CLOCK_MONOTONIC
            packet.clock_snapshot.primary_trace_clock = monotonic
            packet.clock_snapshot.clocks.add(clock_id=monotonic, timestamp=started - offset)
            packet.clock_snapshot.clocks.add(clock_id=self._protos.BUILTIN_CLOCK_REALTIME, timestamp=started)
        self._builder.write_packet(packet)
        self._begun = True

    def _role_track(self, line: Line, role: Role) -> int:
        header = self._headers.get(line["pid"], {})
        name = f"{header.get('name') or 'VM'} {role.value}"
        where = f"pid {line['pid']}" + (f" on {header['host']}" if header.get("host") else "")
        return self._track((header.get("host"), line["pid"], role), f"{name} ({where})")

    def _track(self, key: tuple[object, ...], name: str, parent: int | None = None, counter: bool = False) -> int:
        uuid = self._tracks.get(key)
        if uuid is None:
            uuid = self._tracks[key] = len(self._tracks) + 1
            packet = self._packet()
            packet.track_descriptor.uuid, packet.track_descriptor.name = uuid, name
            if parent is not None:
                packet.track_descriptor.parent_uuid = parent
            if counter:
                packet.track_descriptor.counter.unit = self._protos.CounterDescriptor.UNIT_SIZE_BYTES
            self._builder.write_packet(packet)
        return uuid

    def _emit(
        self, track: int, when: int, kind: int, name: str | None = None, *, facts: Mapping[str, object] | None = None,
        flow: tuple[int, bool] | None = None, value: int | None = None,
    ) -> None:  # fmt: skip
        packet = self._packet()
        packet.timestamp = when
        event = packet.track_event
        event.type, event.track_uuid = kind, track
        if name is not None:
            event.name = name
        if value is not None:
            event.counter_value = value
        for key, fact in (facts or {}).items():
            annotation = event.debug_annotations.add(name=key)
            if isinstance(fact, int):
                annotation.int_value = fact
            else:
                annotation.string_value = str(fact)
        if flow:
            (event.flow_ids if flow[1] else event.terminating_flow_ids).append(flow[0])
        self._builder.write_packet(packet)

    def _packet(self) -> Any:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet


def _wall_ns(text: object) -> int | None:
    """Nanoseconds since 1970 of an ISO 8601 time in UTC; to the second, which is enough for a snapshot's place."""
    import datetime

    try:
        return int(datetime.datetime.fromisoformat(str(text)[:19] + "+00:00").timestamp()) * 1_000_000_000
    except ValueError:
        return None
