"""Recordings: what is written is read again, in each format, whole or cut off; and what is none is told apart."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import colotrace
from colotrace.errors import InputError, OutputError
from colotrace.phases import MARKS
from colotrace.recording import open_recording, schema
from colotrace.recording.convert import convert, partition
from colotrace.recording.parquet import ParquetWriter, journal_path
from colotrace.recording.run import open_run
from colotrace.recording.schema import NAMES, compact, from_row, to_row
from colotrace.recording.writing import open_writer, partition_path

FORMATS = ("jsonl", "csv", "parquet")
HOSTILE = [
    "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "\x1b[2J\x9b", "'", "", 'a\nb\r\n"c",;', "é\u202e\x00", "../..",
    "%2F",
]  # fmt: skip


def attached(pid: int = 7, **changes: Any) -> dict[str, Any]:
    line = {
        "type": "attached", "schema_version": schema.SCHEMA_VERSION, "run": "0f1e2d3c-0000", "pid": pid,
        "name": f"vm{pid}", "host": "h", "started": "2026-11-25T10:00:00.5Z", "realtime_minus_monotonic_ns": 10**18,
        "qemu_version": "7.2.22", "build_id": "ab", "missing": {"probe_cost": "why"},
    }  # fmt: skip
    return line | changes


def checkpoint(sequence: int = 1, pid: int = 7, role: str = "primary", **changes: Any) -> dict[str, Any]:
    names = [name for name in schema._MEMBERS if name != "trigger"]
    line: dict[str, Any] = {"type": "checkpoint"} | {name: None for name in names}
    return (
        line
        | {"role": role, "pid": pid, "tid": 8, "sequence": sequence, "outcome": "completed"}
        | {"begin_ns": sequence * 1000, "total_ns": 500}
        | {"pause_ns": 100 + sequence, "marks_ns": {"vm-stop": 3}, "missing": {"dev_ns": "why"}}
        | changes
    )


def lines_of(count: int = 5) -> list[dict[str, Any]]:
    note = {"type": "note", "event": "role", "message": "is the primary", "pid": 7, "role": "primary"}
    summary = {"type": "summary", "pid": 7, "roles": {"primary": {"lost_records": 0}}}
    return [attached(), note, *(checkpoint(at + 1) for at in range(count)), note, summary]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    writer = open_writer(str(path))
    for line in lines:
        writer.write(line)
    writer.close()
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return list(open_run(str(path)).all_lines())


integers = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(HOSTILE)
objects = st.dictionaries(texts, texts, max_size=3)


@st.composite
def checkpoints(draw: st.DrawFn) -> dict[str, Any]:
    line = checkpoint(draw(st.integers(1, 1 << 40)))
    for column in schema.COLUMNS:
        if column.kind == schema.INTEGER and column.name in schema._MEMBERS:
            value = draw(integers)
            line[column.name] = (value or 0) if column.required else value
    line["role"], line["outcome"] = draw(texts), draw(texts)
    line["marks_ns"] = {mark.value: draw(integers) or 0 for mark in MARKS if draw(st.booleans())}
    line["missing"] = draw(objects)
    if draw(st.booleans()):
        rest = [line.pop(name) for name in ("marks_ns", "missing")]
        line["trigger"], line["marks_ns"] = draw(texts), rest[0]
        line["trigger_evidence"], line["missing"] = draw(st.none() | objects), rest[1]
    elif draw(st.booleans()):
        line["missing"] = line["missing"] | {"trigger": "why"}
        rest = [line.pop(name) for name in ("marks_ns", "missing")]
        line |= {"trigger": None, "marks_ns": rest[0], "trigger_evidence": None, "missing": rest[1]}
    if draw(st.booleans()):
        line["aborted_in"] = draw(texts)
        line["suspended_ms"] = draw(st.integers(1, 99))
    if draw(st.booleans()):
        line["of_a_later_time"] = draw(objects)
    return line


others = st.builds(lambda text, more: {"type": "note", "message": text, "pid": 7, "details": more}, texts, objects)


@given(st.lists(checkpoints() | others, max_size=6), st.sampled_from(FORMATS), texts)
@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
def test_every_format_gives_back_every_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], kind: str, name: str
) -> None:
    lines = [attached(name=name), *lines]
    path = write(tmp_path_factory.mktemp("run") / f"run.{kind}", lines)
    found = read(path)
    assert [compact(line) for line in found] == [compact(line) for line in lines]


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_conversion_is_lossless(tmp_path: Path, source: str, target: str) -> None:
    first = write(tmp_path / f"a.{source}", lines_of())
    convert(open_run(str(first)), str(tmp_path / f"b.{target}"))
    convert(open_run(str(tmp_path / f"b.{target}")), str(tmp_path / f"c.{source}"))
    assert read(tmp_path / f"c.{source}") == lines_of()
    if source != "parquet":
        assert (tmp_path / f"c.{source}").read_bytes() == first.read_bytes()


LATER = ("mark_cache_flush_ns", "mark_cache_flushed_ns", "trigger", "trigger_evidence")
"""Columns that files of the first colotrace with this schema version do not have."""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_of_before_there_were_these_columns_are_read_as_they_were(tmp_path: Path, kind: str) -> None:
    whole, older = write(tmp_path / f"run.{kind}", lines_of()), tmp_path / f"older.{kind}"
    if kind == "parquet":
        pq.write_table(pq.read_table(whole).drop_columns(list(LATER)), older)
    else:
        with whole.open(newline="") as source, older.open("w", newline="") as target:
            rows = [dict(row) for row in csv.DictReader(source)]
            writer = csv.DictWriter(target, [name for name in rows[0] if name not in LATER], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    names = pq.read_schema(older).names if kind == "parquet" else older.read_text().splitlines()[0].split(",")
    assert len(names) >= len(NAMES) - len(LATER) and not set(LATER) & set(names)
    assert read(older) == lines_of()
    convert(open_run(str(older)), str(tmp_path / "b.jsonl"))
    assert (tmp_path / "b.jsonl").read_bytes() == write(tmp_path / "a.jsonl", lines_of()).read_bytes()
    convert(open_run(str(older)), str(tmp_path / f"newer.{kind}"))
    assert read(tmp_path / f"newer.{kind}") == lines_of()


def test_a_file_is_not_converted_into_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines_of())
    with pytest.raises(OutputError, match="being read"):
        convert(open_run(str(path)), str(path))
    assert read(path) == lines_of()


def test_row_groups_journal_and_end(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    writer = ParquetWriter(str(path), group_rows=2048)
    lines = lines_of(5000)
    for line in lines[:-1]:
        writer.write(line)
    found = duckdb.sql(f"select count(*), max(sequence) from '{path}'").fetchall()
    assert found == [(4096, 4096)], "two row groups can be read by anybody while the tracer runs"
    assert read(path) == lines[:-1], "and the rest from the journal"
    assert any("journal" in problem for problem in open_run(str(path)).problems)
    writer.write(lines[-1])
    writer.close()
    assert not os.path.exists(journal_path(str(path)))
    assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(5000,)]
    assert read(path) == lines and open_run(str(path)).problems == ()


def test_cut_off_anywhere(tmp_path: Path) -> None:
    """A tracer killed in the middle of a write leaves any beginning of what it was writing."""
    lines, path = lines_of(3000), tmp_path / "run.parquet"
    writer = ParquetWriter(str(path), group_rows=1024)
    kept: tuple[bytes, bytes] | None = None
    for line in lines:
        size, journal = path.stat().st_size, Path(journal_path(str(path))).read_bytes()
        writer.write(line)
        if path.stat().st_size > size and size > 10_000:
            kept = path.read_bytes()[:size], journal + compact(line).encode() + b"\n"
            whole = path.read_bytes()
            break
    assert kept
    before, journal = kept
    written = sum(b'"checkpoint"' in row for row in journal.splitlines()) + 1024
    cuts = [len(before) + 1, len(whole) - 1, len(whole) - 8]
    cuts += [random.Random(5).randrange(len(before), len(whole)) for _ in range(20)]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        Path(journal_path(str(path))).write_bytes(journal)
        rows = [line for line in read(path) if line["type"] == "checkpoint"]
        assert [row["sequence"] for row in rows] == list(range(1, written + 1)), cut
    path.write_bytes(whole)  # killed before the journal began anew: nothing counts twice
    rows = [line for line in read(path) if line["type"] == "checkpoint"]
    assert [row["sequence"] for row in rows] == list(range(1, written + 1))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_torn_end_loses_one_line(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"run.{kind}", lines_of())
    data = path.read_bytes()
    for cut in range(len(data) - 40, len(data) - (3 if kind == "csv" else 1)):  # CSV: a quote, CR LF
        path.write_bytes(data[:cut])
        run = open_run(str(path))
        assert list(run.all_lines()) == lines_of()[:-1]
        assert any("cut off" in problem or "no row" in problem for problem in run.problems)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl", b"", "it is empty"),
        ("a.jsonl", b"hello\nworld\n", "holds no recording"),
        ("a.jsonl", b'{"a":1}\n', "holds no recording"),
        ("a.jsonl", b"\x00\xff" * 99, "holds no recording"),
        ("a.jsonl", b"[" * 100_000, "holds no recording"),
        ("a.csv", b"", "no recording"),
        ("a.csv", b"x,y\n1,2\n", "no recording"),
        ("a.csv", b"type,bogus\nnote,2\n", "bogus"),
        ("a.parquet", b"", "no whole Parquet"),
        ("a.parquet", b"PAR1" + b"x" * 99, "no whole footer"),
        ("a.parquet", b"x" * 99, "no Parquet file"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        open_recording(tmp_path / name)


def test_a_foreign_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(f"copy (select 1 as x) to '{path}'")
    with pytest.raises(InputError, match="no column role"):
        open_recording(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_newer_schema(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}", [attached(schema_version=99), checkpoint()])
    with pytest.raises(InputError, match="schema version 99") as caught:
        open_recording(path)
    assert str(path) in caught.value.message and caught.value.remedy


def test_nothing_is_dropped_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    changes: list[dict[str, Any]] = [{"sequence": None}, {"stat_ns": 1 << 70}, {"role": 5}, {"marks_ns": 1}]
    bad = [checkpoint(2) | change for change in changes]
    lines = [attached(), checkpoint(1), *bad, {"type": "surprise"}, {"type": 5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{no json}\n" + "NaN\n")
    recording = open_recording(path)
    assert recording.series()[0].rows == 1
    text = "\n".join(recording.problems)
    told = ("sequence is missing", "stat_ns is no 64-bit integer", "role is no text", "surprise", "no JSON", "no line")
    for words in told:
        assert words in text, text


def test_several_files_of_which_one_is_broken(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines_of())
    (tmp_path / "b.jsonl").write_text("nothing")
    recording = open_recording(tmp_path / "*.jsonl")
    assert len(recording.runs) == 1 and any("left out" in problem for problem in recording.problems)
    for path in ("c*", str(tmp_path / "absent"), str(tmp_path / "sub")):
        with pytest.raises(InputError):
            open_recording(path)


def test_the_same_run_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines_of())
    write(tmp_path / "b.parquet", lines_of())
    recording = open_recording(tmp_path)
    assert recording.series()[0].rows == 5 and any("same run" in problem for problem in recording.problems)


def test_a_spreadsheet_sees_no_formula(tmp_path: Path) -> None:
    line = checkpoint(1, aborted_in="=1+1", outcome="@x", role="-2")
    path = write(tmp_path / "a.csv", [attached(name="=1"), line])
    with path.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "\t", "\r")) or cell == "-2"]
    assert read(path)[1] == line


def test_series(tmp_path: Path) -> None:
    rows = [
        checkpoint(1), checkpoint(2, outcome="incomplete"), checkpoint(3, pause_ns=None), checkpoint(5),
        checkpoint(1, pid=9, role="secondary", dev_ns=None), checkpoint(6, outcome="aborted"),
        checkpoint(2, 7, "secondary"),
    ]  # fmt: skip
    path = write(tmp_path / "a.parquet", [attached(), attached(9), *rows])
    found = {series.label: series for series in open_recording(path).series()}
    assert sorted(found) == ["vm7 primary", "vm7 secondary", "vm9 secondary"]
    primary = found["vm7 primary"]
    assert (primary.counts.completed, primary.counts.incomplete, primary.counts.aborted) == (3, 1, 1)
    assert (primary.counts.lost, primary.counts.lost_from) == (1, "sequence gaps"), "sequence 4"
    assert primary.values("pause_ns").tolist() == [101, 105]
    assert primary.columns("sequence", "pause_ns")["sequence"].tolist() == [1, 5]
    assert primary.values("begin_wall_ns").tolist() == [10**18 + at * 1000 for at in (1, 3, 5)]
    assert [record["sequence"] for record in primary.records([2, 0])] == [5, 1]
    assert primary.records([2])[0] == checkpoint(5)
    assert found["vm9 secondary"].missing("dev_ns") == "why" and primary.missing("pause_ns") is None


def test_the_kernels_totals_tell_what_was_lost(tmp_path: Path) -> None:
    summary = {"type": "summary", "pid": 7, "roles": {"primary": {"lost_records": 3}}}
    (series,) = open_recording(write(tmp_path / "a.csv", [attached(), checkpoint(1), summary])).series()
    assert (series.counts.lost, series.counts.lost_from) == (3, "kernel totals")


def test_clocks_that_jump(tmp_path: Path) -> None:
    step = {"type": "note", "event": "clock-stepped", "before_ns": 2500, "realtime_minus_monotonic_ns": 5}
    lines = [attached(), checkpoint(1), step, checkpoint(2), checkpoint(3), checkpoint(4, begin_ns=10)]
    recording = open_recording(write(tmp_path / "a.jsonl", lines))
    (series,) = recording.series()
    assert series.values("begin_wall_ns").tolist() == [10**18 + 1000, 10**18 + 2000, 3005, 10**18 + 10]
    assert any("goes back 1 time" in problem for problem in recording.problems)


def test_numbers_that_no_column_holds_are_unknown(tmp_path: Path) -> None:
    huge = 10**400
    step = {"type": "note", "event": "clock-stepped", "before_ns": huge, "realtime_minus_monotonic_ns": huge}
    names = ("realtime_minus_monotonic_ns", "max_bandwidth_bytes_per_s")
    for changes in ({}, dict.fromkeys(names, huge)):
        path = write(tmp_path / f"{len(changes)}.jsonl", [attached(**changes), checkpoint(1), step, checkpoint(2)])
        (series,) = open_recording(path).series()
        assert series.values("begin_wall_ns").tolist() == ([] if changes else [10**18 + 1000, 10**18 + 2000])
        for name in changes:
            assert getattr(series.header, name) is None and "64 bits" in series.header.missing[name]


def test_many_rows_are_kept_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colotrace.recording.table.MOST_IN_MEMORY", 4096)
    path = write(tmp_path / "a.jsonl", lines_of(10_000))
    (series,) = open_recording(path).series()
    assert np.array_equal(series.values("sequence"), np.arange(1, 10_001))
    assert series.records([9_999])[0]["sequence"] == 10_000


@pytest.mark.parametrize("kind", FORMATS)
def test_a_frame(tmp_path: Path, kind: str) -> None:
    rows = [checkpoint(1), checkpoint(2, stat_ns=5, ram_bytes=1 << 62)]
    frame = colotrace.load(write(tmp_path / f"a.{kind}", [attached(), *rows]))
    assert list(frame.columns) == ["host", "vm", "run", *NAMES]
    assert frame["ram_bytes"].dtype == "Int64" and frame["ram_bytes"].tolist()[1] == 1 << 62
    assert frame["stat_ns"].isna().tolist() == [True, False]
    assert frame["vm"].tolist() == ["vm7", "vm7"] and frame["host"].dtype == "category"
    assert any("summary" in problem for problem in frame.attrs["problems"])
    assert frame.attrs["headers"][0]["name"] == "vm7"
    assert list(colotrace.load(tmp_path, columns=["pause_ns", "vm"]).columns) == ["pause_ns", "vm"]
    with pytest.raises(ValueError, match="no column bogus"):
        colotrace.load(tmp_path, columns=["bogus"])


@pytest.mark.parametrize("name", ["plain", "a=b/c:%", *(text for text in HOSTILE if text and "\x00" not in text), None])
def test_duckdb_reads_a_partitioned_directory(tmp_path: Path, name: str | None) -> None:
    first = write(tmp_path / "a.jsonl", [attached(name=name), attached(9), checkpoint(1), checkpoint(1, pid=9)])
    folder = tmp_path / "all"
    paths = partition(open_run(str(first)), str(folder))
    assert all(len(Path(path).resolve().relative_to(folder).parts) == 3 for path in paths)
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning=true)"
    query = f"select vm, host, pid, pause_ns from {files} order by pid"
    assert duckdb.sql(query).fetchall() == [(name, "h", 7, 101), ("vm9", "h", 9, 101)]
    found = colotrace.load(folder)
    assert sorted(found["pid"]) == [7, 9] and set(found["vm"].dropna()) == {name, "vm9"} - {None}


def test_partitions_of_different_runs_do_not_collide(tmp_path: Path) -> None:
    old = [{"type": "attached", "pid": 7, "name": "v", "host": "h", "realtime_minus_monotonic_ns": at} for at in (1, 2)]
    assert partition_path(str(tmp_path), old[0]) != partition_path(str(tmp_path), old[1])


def test_rows_and_lines() -> None:
    line = checkpoint(1, aborted_in="ram", later=[1], marks_ns={"vm-stop": 1, "of-later": 2})
    assert from_row(to_row(line)) == line
    assert len(set(NAMES)) == len(NAMES)
