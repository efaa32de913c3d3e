"""What is printed: units, series, one line a checkpoint, JSON lines, and names that would steer a terminal."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colotrace.checkpoint import Checkpoint, ColoExit, Event, InitDone, Note, Outcome, Takeover
from colotrace.cli import printable
from colotrace.cli.series import RECENT, RoleSeries, Series, is_part_of_total, rows_of, sparkline
from colotrace.errors import ColotraceError
from colotrace.phases import PHASES, ROLE_PHASES, Mark, Phase, Role
from colotrace.recording.lines import LineFile, event_json, json_line
from colotrace.sentences import as_note, checkpoint_line
from colotrace.units import size_text, time_text


def checkpoint(role: Role = Role.PRIMARY, outcome: Outcome = Outcome.COMPLETED, **changes: Any) -> Checkpoint:
    values: dict[str, Any] = {
        "begin_ns": 5, "total_ns": 45_000_000, "phase_ns": {p: 1000 * p.number for p in PHASES if p is not Phase.INIT},
        "other_ns": 77, "pause_ns": 1_500_000_000, "device_bytes": 17_000, "ram_bytes": 3 << 20, "ram_pages": 9,
        "marks_ns": {Mark.VM_STOP: 8}, **changes,
    }  # fmt: skip
    return Checkpoint(role, 4711, 4712, 12, outcome, **values)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "-"), (0, "0 ns"), (0.4, "0 ns"), (1, "1 ns"), (999, "999 ns"), (1000, "1.00 µs"), (1234.5, "1.23 µs"),
        (9990, "9.99 µs"), (10_000, "10.0 µs"), (99_900, "99.9 µs"), (100_000, "100 µs"), (999_000, "999 µs"),
        (1_000_000, "1.00 ms"), (43_900_000, "43.9 ms"), (1_000_000_000, "1.00 s"), (3_600_000_000_000, "3600 s"),
    ],
)  # fmt: skip
def test_times(ns: float | None, text: str) -> None:
    assert time_text(ns) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "-"), (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (17_000, "16.6 KiB"),
        ((1 << 20) - 1, "1024 KiB"), (1 << 20, "1.00 MiB"), (33_659_289, "32.1 MiB"), (1 << 30, "1.00 GiB"),
        (5 << 40, "5120 GiB"),
    ],
)  # fmt: skip
def test_sizes(size: float | None, text: str) -> None:
    assert size_text(size) == text


@given(st.integers(1, 10**13) | st.floats(1, 1e13))
def test_a_time_reads_as_what_it_is(ns: float) -> None:
    number, unit = time_text(ns).split()
    factor = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]
    assert abs(float(number) * factor - ns) <= ns * 0.0051 or (unit == "ns" and abs(float(number) - ns) <= 0.5)
    assert len(number.replace(".", "")) <= 4 or unit == "s"


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(0, 1000))
def test_percentiles_are_the_nearest_rank(values: list[int], thousandths: int) -> None:
    series = Series()
    for value in values:
        series.add(value)
    enough = [v for v in sorted(values) if 1000 * sum(w <= v for w in values) >= thousandths * len(values)]
    assert series.percentile(thousandths / 1000) == enough[0]
    assert series.last == values[-1] and series.largest == max(values)


def test_a_series_forgets_all_but_the_largest() -> None:
    series = Series()
    assert series.percentile(0.5) is None and series.last is None
    for value in [10**9, *range(RECENT)]:
        series.add(value)
    assert len(series.recent) == RECENT and series.largest == 10**9
    assert series.percentile(1.0) == RECENT - 1 and series.percentile(0.5) == RECENT // 2 - 1


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 5, ""), ([0, 0], 5, "▁▁"), ([100], 5, "█"), ([0, 50, 100], 5, "▁▄█"), ([100, 0, 100], 2, "▁█"),
        ([800, 100, 200], 2, "▄█"), ([0, 100, 200, 300, 400, 500, 600, 700, 800], 9, "▁▁▂▃▄▅▆▇█"[:9]),
    ],
)  # fmt: skip
def test_spark_lines(values: list[int], width: int, bars: str) -> None:
    if len(values) == 9:
        assert sparkline(values, width) == "".join("▁▂▃▄▅▆▇█"[v * 8 // 801] for v in values)
    else:
        assert sparkline(values, width) == bars


@given(st.lists(st.integers(0, 10**12), max_size=50), st.integers(1, 40))
def test_spark_lines_are_as_wide_as_they_may_be(values: list[int], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    shown = values[-width:]
    assert all(line[n] <= line[m] for n in range(len(shown)) for m in range(len(shown)) if shown[n] <= shown[m])


def test_series_take_completed_checkpoints_only() -> None:
    series = RoleSeries(1, Role.PRIMARY)
    for outcome in Outcome:
        series.add(checkpoint(outcome=outcome))
    assert {name: list(row.recent) for name, row in series.rows.items()} == {
        **{p.value: [1000 * p.number] for p in PHASES if p is not Phase.INIT},
        "other": [77], "total": [45_000_000], "pause": [1_500_000_000],
    }  # fmt: skip
    series.add(checkpoint(phase_ns={Phase.RAM: 1}, pause_ns=None))
    assert list(series.rows["ram"].recent) == [5000, 1] and len(series.rows["pause"].recent) == 1


def test_rows() -> None:
    assert rows_of(Role.SECONDARY) == ("wait", "stat", "ram", "put", "recv", "load", "other", "total", "pause")
    assert [row for row in rows_of(Role.PRIMARY) if not is_part_of_total(row)] == ["wait", "total", "pause"]


def test_a_checkpoint_on_one_line() -> None:
    assert checkpoint_line(checkpoint()) == (
        "primary 4711 #12 completed  total 45.0 ms  pause 1.50 s  wait 2.00 µs  stat 3.00 µs  dev 4.00 µs  "
        "ram 5.00 µs  put 6.00 µs  recv 7.00 µs  load 8.00 µs  resume 9.00 µs  other 77 ns  "
        "ram 3.00 MiB  device 16.6 KiB"
    )


def test_what_was_not_seen_is_a_dash() -> None:
    nothing = dict.fromkeys(("total_ns", "other_ns", "pause_ns", "device_bytes", "ram_bytes", "ram_pages", "begin_ns"))
    line = checkpoint_line(checkpoint(Role.SECONDARY, Outcome.ABORTED, phase_ns={}, aborted_in="load", **nothing))
    rows = ["total", "pause", "wait", *(p.value for p in ROLE_PHASES[Role.SECONDARY][2:]), "other"]
    assert line == "  ".join(["secondary 4711 #12 aborted", *(f"{row} -" for row in rows), "aborted in load"])


EVENTS: list[tuple[Event, str, dict[str, object], str]] = [
    (InitDone(Role.PRIMARY, 7, 1000, 3_001_000, 2000), "init",
     {"role": "primary", "begin_ns": 1000, "end_ns": 3_001_000, "init_ns": 3_000_000, "ready_ns": 2000}, "3.00 ms"),
    (InitDone(Role.SECONDARY, 7, 1, 2, None), "init",
     {"role": "secondary", "begin_ns": 1, "end_ns": 2, "init_ns": 1, "ready_ns": None}, "secondary entered COLO"),
    (ColoExit(Role.SECONDARY, 7, 50, "secondary", "request"), "colo-exit",
     {"role": "secondary", "when_ns": 50, "mode": "secondary", "reason": "request"}, "on the secondary: request"),
    (Takeover(Role.PRIMARY, 7, 2_000_000, 1_000_000), "takeover",
     {"role": "primary", "when_ns": 2_000_000, "exit_ns": 1_000_000}, "1.00 ms after COLO ended"),
    (Note("probe-lost", "gone", 7, {"more": 1}), "probe-lost", {"more": 1}, "gone"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "word", "details", "words"), EVENTS)
def test_events_as_notes(event: Event, word: str, details: dict[str, object], words: str) -> None:
    note = as_note(event)
    assert (note.event, note.pid, dict(note.details)) == (word, 7, details) and words in note.message
    line = event_json(event)
    assert line == {"type": "note", "event": word, "message": note.message, "pid": 7, **details}
    assert json.loads(json_line(line)) == line


def test_a_checkpoint_is_no_note() -> None:
    with pytest.raises(TypeError):
        as_note(checkpoint())
    line = event_json(checkpoint())
    assert line["type"] == "checkpoint" and line["stat_ns"] == 3000 and line["marks_ns"] == {"vm-stop": 8}
    assert json.loads(json_line(line)) == line


def test_a_note_about_no_process() -> None:
    assert event_json(Note("word", "text")) == {"type": "note", "event": "word", "message": "text"}


NASTY = "a\x1b[2J\x07\r\x9b31m\u202eb\x00\u2028\ud800"


@given(st.text() | st.just(NASTY) | st.just("\n\t"))
def test_a_line_is_one_line_of_printable_ascii(text: str) -> None:
    line = json_line({"name": text})
    assert line.isascii() and not re.search(r"[\x00-\x1f]", line)
    assert json.loads(line) == {"name": text}


@given(st.text() | st.just(NASTY))
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() for c in shown)
    assert not text.isprintable() or shown == text


def test_control_characters_stay_readable() -> None:
    assert printable("vm\x1b[2J\x9b1\x7f") == "vm\\x1b[2J\\x9b1\\x7f"
    assert printable("Jürgens VM\n") == "Jürgens VM\\x0a", "no name may pretend to be two lines"


def test_a_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("an older run, much longer than what comes now\n" * 9)
    os.chmod(path, 0o640)
    file = LineFile(str(path))
    for n in range(3):
        file.write({"n": n, "text": "a\nb"})
        assert path.read_text().count("\n") == n + 1, "each line is there at once"
    file.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"n": n, "text": "a\nb"} for n in range(3)]


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_a_new_file_is_its_owners(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        LineFile(str(tmp_path / "new")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    for name in ("link", "dangling"):
        with pytest.raises(ColotraceError, match="cannot write"):
            LineFile(str(tmp_path / name))
    assert (tmp_path / "kept").read_text() == "precious" and not (tmp_path / "absent").exists()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "file"):
        with pytest.raises(ColotraceError, match="cannot write"):
            LineFile(str(path))
    full = LineFile("/dev/full")
    with pytest.raises(ColotraceError, match=r"cannot write /dev/full: No space left"):
        full.write({"n": 1})
    full.close()


def test_numbers_are_never_nan() -> None:
    assert not any(math.isnan(float(text.split()[0])) for text in (time_text(1e18), size_text(1e18)))
