"""What is to be measured: cells, in which order, and under which conditions. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from colo_lab.settings import DEFAULT_QEMU, Settings


@dataclass(frozen=True, order=True)
class Cell:
    """One setting of the pair: vCPUs and memory of each VM, and what its guest overwrites for ever, in MiB."""

    vcpus: int
    memory_mib: int
    dirty_mib: int

    @property
    def name(self) -> str:
        """For people and for --only: 4x2048x32."""
        return f"{self.vcpus}x{self.memory_mib}x{self.dirty_mib}"

    @property
    def directory(self) -> Path:
        """Where its recordings are, below the results: partitioned hive style, so that others can query them."""
        return Path(f"vcpus={self.vcpus}", f"memory_mib={self.memory_mib}", f"dirty_mib={self.dirty_mib}")


@dataclass(frozen=True, order=True)
class Task:
    """One run of one cell; repetitions are counted from 1."""

    cell: Cell
    repetition: int

    @property
    def recording(self) -> Path:
        """The recording's path below the results."""
        return self.cell.directory / f"run-{self.repetition}.jsonl"


@dataclass(frozen=True)
class Conditions:
    """What is the same in all cells, or they could not be compared.

    Of each run the first `warm_up` checkpoints are recorded and not counted: the first one after COLO begins loads all
    of the RAM, and the next ones make up for its delay. `delay_ms` is QEMU's x-checkpoint-delay.
    """

    checkpoints: int = 30
    warm_up: int = 3
    delay_ms: int = 400
    transport: str = "unix"
    qemu: str = DEFAULT_QEMU

    def settings(self, cell: Cell, ready_timeout_s: float) -> Settings:
        """The lab's settings for a cell."""
        return Settings(
            qemu=self.qemu, vcpus=cell.vcpus, memory_mib=cell.memory_mib, dirty_mib=cell.dirty_mib,
            delay_ms=self.delay_ms, transport=self.transport, ready_timeout_s=ready_timeout_s,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON types."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Conditions:
        """Raises TypeError or KeyError if it is no such object."""
        return Conditions(**{field.name: value[field.name] for field in fields(Conditions)})


def grid(vcpus: Iterable[int], memory_mib: Iterable[int], dirty_mib: Iterable[int]) -> tuple[Cell, ...]:
    """Every combination, each once, in ascending order."""
    axes = [sorted(set(axis)) for axis in (vcpus, memory_mib, dirty_mib)]
    return tuple(Cell(v, m, d) for v in axes[0] for m in axes[1] for d in axes[2])


def order(cells: Iterable[Cell], repeat: int, seed: int = 1) -> list[Task]:
    """The whole grid, then the whole grid again, each time in another order.

    So a drift of the machine (its load, its temperature) does not look like an effect of an axis, and what a cell's
    repetitions differ by tells of it.
    """
    tasks = []
    each = sorted(set(cells))
    for repetition in range(1, repeat + 1):
        once = [Task(cell, repetition) for cell in each]
        random.Random(f"{seed} {repetition}").shuffle(once)
        tasks += once
    return tasks
