"""The columns of a recording's table, and a checkpoint's JSON object <-> a row of them. Pure; imports nothing heavy.

A row says what the JSON line says, no more and no less: from_row(to_row(line)) is the line again. Times are integer
nanoseconds (begin and marks: absolute CLOCK_MONOTONIC), sizes bytes; a null has its reason in `missing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colotrace.phases import MARKS, OUTSIDE_TOTAL, PHASES, Mark

SCHEMA_VERSION = 2
"""Version 1 (JSON lines only) had a shorter `attached` line: no run, VM's uuid, start, boot, plan or probe cost."""

INTEGER, TEXT, WORDS = "integer", "text", "words"
"""Kinds of columns: int64; text; and text of a few words, again and again the same."""
LEAST, MOST = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True)
class Column:
    """One column. `required` ones are never null; `title` says what it holds, and in which unit."""

    name: str
    kind: str
    title: str
    required: bool = False


def mark_column(mark: Mark) -> str:
    """The name of a time mark's column."""
    return f"mark_{mark.value.replace('-', '_')}_ns"


PARTS = (*(f"{phase.value}_ns" for phase in PHASES if phase not in OUTSIDE_TOTAL), "other_ns")
"""The columns that add up to total_ns, in the order in which a checkpoint passes them."""

_BEFORE = (
    Column("role", WORDS, "primary or secondary", True),
    Column("pid", INTEGER, "QEMU's process, as the tracer saw it", True),
    Column("tid", INTEGER, "its COLO thread", True),
    Column("sequence", INTEGER, "counts this process's transactions in this role, from 1; a gap is a loss", True),
    Column("outcome", WORDS, "completed, incomplete (seen in part) or aborted", True),
    Column("begin_ns", INTEGER, "when the transaction began, CLOCK_MONOTONIC"),
    Column("wait_ns", INTEGER, "the wait before it, not part of the total"),
    Column("total_ns", INTEGER, "colo_do_checkpoint_transaction() or colo_incoming_process_checkpoint()"),
)  # fmt: skip
_BEHIND = (
    Column("other_ns", INTEGER, "between phases; with it the parts add up to the total"),
    Column("pause_ns", INTEGER, "from vm_stop_force_state() to the call after vm_start()"),
    Column("device_bytes", INTEGER, "size of the device state"),
    Column("ram_bytes", INTEGER, "sent in the ram phase, by QEMU's own counters"),
    Column("ram_pages", INTEGER, "pages sent in the ram phase, zero pages among them"),
)
_LAST = (
    Column("aborted_in", WORDS, "the phase in which QEMU gave it up"),
    Column("suspended_ms", INTEGER, "for how long the host was suspended during it or its wait"),
    Column("trigger", WORDS, "why the primary made it: timer, compare, parameter or failover"),
    Column("trigger_evidence", TEXT, "JSON object: who asked for it, as trigger_ns -> when first, CLOCK_MONOTONIC"),
    Column("missing", TEXT, "JSON object: column -> why it is null"),
    Column("more", TEXT, "JSON object: members of the line that are no columns of this version"),
)

COLUMNS: tuple[Column, ...] = (
    *_BEFORE,
    *(Column(name, INTEGER, f"the phase {name[:-3]} (colotrace.phases)") for name in PARTS[:-1]),
    *_BEHIND,
    *(Column(mark_column(mark), INTEGER, f"the time mark {mark.value}, CLOCK_MONOTONIC") for mark in MARKS),
    *_LAST,
)
"""All columns, in the order of every file. New ones go before `missing`, and are null in older files."""
BEGIN_WALL = "begin_wall_ns"
"""A column that no file has: begin_ns as time of day, nanoseconds since 1970 (UTC); null where unknown."""
NAMES = tuple(column.name for column in COLUMNS)
_INTEGERS = frozenset(column.name for column in COLUMNS if column.kind == INTEGER)
_REQUIRED = tuple(column for column in COLUMNS if column.required)
_MARKS = {mark.value: mark_column(mark) for mark in MARKS}
_OPTIONAL_MEMBERS = ("aborted_in", "suspended_ms")
"""Members that a line has only where there is something to say."""
_SHAPED = frozenset({"type", "marks_ns", "trigger_evidence", "missing", "more"})
_MEMBERS = tuple(name for name in NAMES if name not in _SHAPED | {*_MARKS.values(), *_OPTIONAL_MEMBERS})

Row = dict[str, Any]
"""A row by column names: int, str or None."""


def to_row(line: Mapping[str, Any]) -> Row:
    """The row of a line of type `checkpoint`. Raises ValueError if it cannot be one."""
    row: Row = dict.fromkeys(NAMES)
    more: dict[str, Any] = {}
    for name, value in line.items():
        if name in row and name not in _SHAPED and not name.startswith("mark_"):
            row[name] = value
        elif name not in _SHAPED:
            more[name] = value
    marks = line.get("marks_ns", {})
    missing = line.get("missing", {})
    if not isinstance(marks, dict) or not isinstance(missing, dict):
        raise ValueError("marks_ns and missing must be objects")
    for name, when in marks.items():
        if name in _MARKS:
            row[_MARKS[name]] = when
        else:
            more.setdefault("marks_ns", {})[name] = when
    evidence = line.get("trigger_evidence")
    if evidence is not None and not isinstance(evidence, dict):
        raise ValueError("trigger_evidence must be an object")
    row["trigger_evidence"] = None if evidence is None else compact(evidence)
    row["missing"] = compact(missing) if missing else None
    row["more"] = compact(more) if more else None
    check_row(row)
    return row


def check_row(row: Row) -> None:
    """Raises ValueError for a value that is not of its column's kind, or a null where there can be none."""
    for name, value in row.items():
        if value is None:
            continue
        if name in _INTEGERS:
            if type(value) is not int or not LEAST <= value <= MOST:
                raise ValueError(f"{name} is no 64-bit integer")
        elif not isinstance(value, str):
            raise ValueError(f"{name} is no text")
    for column in _REQUIRED:
        if row[column.name] is None:
            raise ValueError(f"{column.name} is missing")


def from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The line of type `checkpoint` that a row was made of. ValueError if `missing` or `more` are no objects."""
    line: dict[str, Any] = {"type": "checkpoint"}
    for name in _MEMBERS:
        line[name] = row.get(name)
    more = _object(row.get("more"))
    line["marks_ns"] = {mark: row[name] for mark, name in _MARKS.items() if row.get(name) is not None} | more.pop(
        "marks_ns", {}
    )
    evidence = row.get("trigger_evidence")
    line["trigger_evidence"] = None if evidence is None else _object(evidence)
    line["missing"] = _object(row.get("missing"))
    if line["trigger"] is None and evidence is None and "trigger" not in line["missing"]:
        del line["trigger"], line["trigger_evidence"]  # a line from before there were triggers
    for name in _OPTIONAL_MEMBERS:
        if row.get(name) is not None:
            line[name] = row[name]
    return line | more


def compact(value: object) -> str:
    """JSON without blanks, ASCII only: control characters in names stay escaped. Raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _object(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found
