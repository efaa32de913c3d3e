"""A series made of numpy arrays, with the methods of colotrace.recording's that analysis uses; and realistic arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from colotrace.phases import Role

PARTS = ("stat", "dev", "ram", "put", "recv", "load", "resume", "other")
TYPICAL_NS = dict(zip(PARTS, (900_000, 500_000, 6_000_000, 15_000, 80_000, 10_000_000, 700_000, 9_000), strict=True))


@dataclass
class StandIn:
    """Columns are int64 arrays or object arrays with None in them; None for a column that is null throughout."""

    data: Mapping[str, Any]
    role: Role = Role.PRIMARY
    host: str = "host"
    vm: str | None = "vm"
    qemu_version: str = "7.2.22"
    build_id: str = "ab"
    reasons: Mapping[str, str] = field(default_factory=dict)
    header_values: Mapping[str, Any] = field(default_factory=dict)
    incomplete: int = 0
    aborted: int = 0
    lost: int = 0
    ended: bool = True
    failovers: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[Mapping[str, Any]] = ()

    @property
    def completed(self) -> int:
        return max((len(column) for column in self.data.values() if column is not None), default=0)

    @property
    def label(self) -> str:
        return f"{self.vm} {self.role.value}"

    @property
    def counts(self) -> Any:
        return SimpleNamespace(
            completed=self.completed, incomplete=self.incomplete, aborted=self.aborted, lost=self.lost,
            lost_from="kernel totals",
        )  # fmt: skip

    @property
    def header(self) -> Any:
        values = {
            "host": self.host, "vm": self.vm, "vm_uuid": None, "pid": 17, "qemu_version": self.qemu_version,
            "build_id": self.build_id, "kernel": "6.18", "clock": "CLOCK_MONOTONIC",
            "started": "2026-11-25T10:00:00Z", "checkpoint_delay_ms": 200, "max_bandwidth_bytes_per_s": None,
            "probe_cost": None, "plan": None, "realtime_minus_monotonic_ns": 1_700_000_000_000_000_000,
            "meanings": {}, "roles": {}, "missing": {"vm_uuid": "the VM has none (-uuid)"},
        }  # fmt: skip
        return SimpleNamespace(**(values | dict(self.header_values)))

    @property
    def last_header(self) -> Any:
        return self.header

    @property
    def runs(self) -> Any:
        return [SimpleNamespace(path="run.parquet", ended=self.ended, headers={17: self.header})]

    def _known(self, name: str) -> Any:
        column = self.data.get(name)
        if column is None:
            return np.zeros(self.completed, bool)
        return (
            np.array([one is not None for one in column], bool)
            if column.dtype == object
            else np.ones(len(column), bool)
        )

    def texts(self, name: str) -> Any:
        return self.data[name]

    def values(self, name: str) -> Any:
        return self.columns(name)[name]

    def columns(self, *names: str) -> dict[str, Any]:
        if "begin_wall_ns" in names:
            stored = ["begin_ns" if name == "begin_wall_ns" else name for name in names]
            found = self.columns(*stored)
            offset = self.header.realtime_minus_monotonic_ns
            if offset is None:
                return {name: np.zeros(0, np.int64) for name in names}
            return found | {"begin_wall_ns": found["begin_ns"] + offset}
        known = np.logical_and.reduce([self._known(name) for name in names])
        return {
            name: np.array([] if self.data.get(name) is None else self.data[name][known], np.int64) for name in names
        }

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        found = []
        for row in rows:
            record: dict[str, Any] = {"role": self.role.value, "pid": 17, "tid": 18, "sequence": row + 1}
            for name, column in self.data.items():
                value = None if column is None else column[row]
                record[name] = int(value) if isinstance(value, np.integer) else value
            found.append(record)
        return found

    def missing(self, name: str) -> str | None:
        return None if self._known(name).any() else self.reasons.get(name, f"no {name} here")


def arrays(n: int, seed: int = 1) -> dict[str, Any]:
    """n checkpoints, one every 210 ms or so: log-normal parts that add up, pages that the ram phase follows."""
    random = np.random.default_rng(seed)
    data: dict[str, Any] = {}
    for part, typical in TYPICAL_NS.items():
        data[f"{part}_ns"] = (typical * random.lognormal(0, 0.2, n)).astype(np.int64)
    data["ram_pages"] = random.integers(1000, 3000, n)
    data["ram_ns"] = 200_000 + 2_500 * data["ram_pages"] + random.integers(-50_000, 50_000, n)
    data["ram_bytes"] = data["ram_pages"] * 4104
    data["device_bytes"] = np.full(n, 41_000, np.int64)
    data["total_ns"] = sum(data[f"{part}_ns"] for part in PARTS)
    data["pause_ns"] = data["total_ns"] - 100_000
    data["wait_ns"] = random.integers(190_000_000, 210_000_000, n)
    data["begin_ns"] = 10**12 + np.cumsum(data["wait_ns"] + data["total_ns"])
    return data
