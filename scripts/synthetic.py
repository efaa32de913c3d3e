"""A recording that nobody recorded: as long as asked for, with the shapes of real ones, as a Parquet file.

Times hang together from checkpoint to checkpoint (AR(1) in the logarithm), pages vary and ram follows them, load and
recv have now and then a delayed ACK, some checkpoints are incomplete, aborted or lost, and load becomes slowly longer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colotrace.phases import BOUNDARIES, MARKS, Role
from colotrace.recording.parquet import LINES, VERSION
from colotrace.recording.schema import COLUMNS, PARTS, SCHEMA_VERSION, mark_column
from colotrace.recording.table import SCHEMA

GROUP_ROWS = 1 << 16
TYPICAL_NS = {
    "stat_ns": 1_300_000, "dev_ns": 430_000, "ram_ns": 0, "put_ns": 15_000, "recv_ns": 2_400_000, "load_ns": 12_000_000,
    "resume_ns": 700_000, "other_ns": 9_000,
}  # fmt: skip
ODD, LOST = 100_000, 50_000
"""One of so many is incomplete or aborted; one of so many is lost."""
PERSISTENCE = 0.9
_OF_PRIMARY = [mark for mark in MARKS[1:] if mark in {b.mark for b in BOUNDARIES[Role.PRIMARY].values()}]
DRIFT = 0.2
"""By which part load is longer at the end."""
DELAYED_ACK_NS = 40_000_000
WAIT_NS = 200_000_000
PID, TID = 4711, 4712


def write(path: Path, checkpoints: int, seed: int = 1) -> None:
    """Writes a recording of this many rows; says on standard error how far it is, on a terminal."""
    random = np.random.default_rng(seed)
    level, begin, sequence, lost = np.zeros(len(TYPICAL_NS)), 10**13, 0, 0
    schema = SCHEMA.with_metadata({LINES: "[]", VERSION: str(SCHEMA_VERSION)})
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for start in range(0, checkpoints, GROUP_ROWS):
            n = min(GROUP_ROWS, checkpoints - start)
            levels = _levels(random, n, level)
            level = levels[:, -1]
            times = {
                name: (typical * np.exp(0.25 * levels[i])).astype(np.int64)
                for i, (name, typical) in enumerate(TYPICAL_NS.items())
            }
            pages = (2000 * np.exp(0.3 * levels[2])).astype(np.int64)
            times["ram_ns"] = (250_000 + 2_600 * pages * random.normal(1, 0.05, n)).clip(1).astype(np.int64)
            far = (start + np.arange(n)) / checkpoints
            times["load_ns"] = (times["load_ns"] * (1 + DRIFT * far)).astype(np.int64)
            for name in ("recv_ns", "load_ns"):
                times[name] += DELAYED_ACK_NS * (random.random(n) < 0.01)
            gaps = random.random(n) < 1 / LOST
            lost += int(gaps.sum())
            sequences = sequence + np.arange(1, n + 1) + np.cumsum(gaps)
            sequence = int(sequences[-1])
            wait = (WAIT_NS * random.normal(1, 0.01, n)).clip(1).astype(np.int64)
            total = np.sum([times[name] for name in PARTS], axis=0)
            begins = begin + np.cumsum(wait + np.concatenate([[0], total[:-1]]))
            begin = int(begins[-1] + total[-1])
            outcome = np.where(random.random(n) < 1 / ODD, random.integers(1, 3, n), 0)
            columns = {
                "role": ("primary", n), "pid": np.full(n, PID), "tid": np.full(n, TID), "sequence": sequences,
                "outcome": outcome, "begin_ns": begins, "wait_ns": wait, "total_ns": total, **times,
                "pause_ns": total - times["stat_ns"] // 2, "device_bytes": np.full(n, 41_283),
                "ram_bytes": pages * 4104, "ram_pages": pages, **_marks(begins, times),
            }  # fmt: skip
            writer.write_table(_table(columns, n, schema), row_group_size=GROUP_ROWS)
            if sys.stderr.isatty():
                print(f"\r{start + n:,} of {checkpoints:,}", end="", file=sys.stderr, flush=True)
        writer.add_key_value_metadata({LINES.decode(): json.dumps(_lines(checkpoints, lost))})


def _levels(random: Any, n: int, before: Any) -> Any:
    """AR(1) of unit variance, one row a phase, that goes on from the last piece: a moving sum of its shocks."""
    shocks = random.normal(0, (1 - PERSISTENCE**2) ** 0.5, (len(before), n))
    reach = 100  # 0.9^100 is nothing
    weights = PERSISTENCE ** np.arange(reach)
    found = np.stack([np.convolve(one, weights)[:n] for one in shocks])
    return found + before[:, None] * PERSISTENCE ** np.arange(1, n + 1)


def _marks(begins: Any, times: dict[str, Any]) -> dict[str, Any]:
    """Some moments in the order of the marks, within the checkpoint; none is looked at by a report."""
    ends = begins + np.cumsum([times[name] for name in PARTS], axis=0)
    return {mark_column(mark): ends[i % len(PARTS)] for i, mark in enumerate(_OF_PRIMARY)}


def _table(columns: dict[str, Any], n: int, schema: Any) -> Any:
    arrays = []
    for column in COLUMNS:
        field, values = schema.field(column.name), columns.get(column.name)
        if values is None:
            arrays.append(pa.nulls(n, field.type))
        elif column.name == "role":
            arrays.append(_words(np.zeros(n, np.int32), ["primary"], field.type))
        elif column.name == "outcome":
            arrays.append(_words(values.astype(np.int32), ["completed", "incomplete", "aborted"], field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _words(codes: Any, words: list[str], kind: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words)).cast(kind)


def _lines(checkpoints: int, lost: int) -> list[dict[str, Any]]:
    attached = {
        "type": "attached", "after_row": 0, "schema_version": SCHEMA_VERSION, "pid": PID, "name": "synthetic",
        "host": "nowhere", "qemu_version": "7.2.22 (synthetic)", "kernel": "none", "clock": "CLOCK_MONOTONIC",
        "started": "2026-01-01T00:00:00Z", "realtime_minus_monotonic_ns": 1_767_215_600_000_000_000,
        "roles": {"primary": {name[:-3]: "exact" for name in PARTS[:-1]}}, "meanings": {"primary": {}},
        "missing": {"build_id": "this recording is synthetic"},
    }  # fmt: skip
    summary = {
        "type": "summary", "after_row": checkpoints, "pid": PID, "roles": {"primary": {"lost_records": lost}},
    }  # fmt: skip
    return [attached, summary]
