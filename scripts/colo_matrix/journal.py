"""The state on disk: recordings, and a manifest to which a line is appended for every run that has ended.

A run counts as done once its line is there; so whatever ends the matrix in its middle, kill -9 included, at most one
run is repeated. The manifest's first line holds the conditions.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import BusyError, ConditionsError, ManifestError, StorageError
from .plan import Cell, Conditions, Task

MANIFEST = "manifest.jsonl"
SCHEMA_VERSION = 1
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Run:
    """How a run ended. `reason` says what was wrong if it failed, `notes` what the lab warned of.

    `load_before` and `load_after` are /proc/loadavg's three; `sweep_ms` is how long the guest takes to overwrite its
    range once, before COLO; 0.0 if it is idle.
    """

    task: Task
    result: str
    reason: str | None = None
    started: str = ""
    seconds: float = 0.0
    sweep_ms: float | None = None
    load_before: tuple[float, ...] = ()
    load_after: tuple[float, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def done(self) -> bool:
        """Whether there is a whole recording."""
        return self.result == DONE

    def as_json(self) -> dict[str, Any]:
        """The manifest's line."""
        values = asdict(self)
        task = values.pop("task")
        place = {"recording": str(self.task.recording)} if self.done else {"recording": None}
        return {"type": "run", **task["cell"], "repetition": task["repetition"], **values, **place}

    @staticmethod
    def from_json(line: dict[str, Any]) -> Run:
        """Raises KeyError or TypeError if it is no such line."""
        cell = Cell(line["vcpus"], line["memory_mib"], line["dirty_mib"])
        values: dict[str, Any] = {name: line[name] for name in ("result", "reason", "started", "seconds", "sweep_ms")}
        values |= {name: tuple(line[name]) for name in ("load_before", "load_after", "notes")}
        return Run(Task(cell, line["repetition"]), **values)


class Journal:
    """The results in a directory. To read them nothing else is needed; `write=True` makes it this process's alone.

    `conditions` are those asked for; None takes those of the manifest, or the defaults if there is none. Raises
    BusyError, ConditionsError, ManifestError, StorageError.
    """

    def __init__(self, directory: Path, conditions: Conditions | None = None, *, write: bool = False) -> None:
        self.directory = directory
        self._path = directory / MANIFEST
        self._fd = -1
        if write:
            self._lock()
        try:
            lines = list(self._lines())
            found = self._conditions_of(lines)
            if found and conditions and found != conditions:
                raise ConditionsError(
                    f"what is in {directory} was measured under other conditions: {_differences(found, conditions)}",
                    "ask for the same, or name another directory with --results",
                )
            self.conditions = found or conditions or Conditions()
            self.runs = self._runs(lines)
            if write and not found:
                header = {"type": "matrix", "schema_version": SCHEMA_VERSION, "conditions": self.conditions.as_json()}
                self._append(header)
        except BaseException:
            self.close()
            raise

    def is_done(self, task: Task) -> bool:
        """Whether the task has a line that says so, and its recording is there."""
        run = self.runs.get(task)
        return run is not None and run.done and self.path(task).exists()

    def path(self, task: Task) -> Path:
        """Where the task's recording is, or would be."""
        return self.directory / task.recording

    def add(self, run: Run) -> None:
        """Notes a run that has ended; on disk when this returns."""
        self.runs[run.task] = run
        self._append(run.as_json())

    def close(self) -> None:
        """Gives the directory back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BusyError(f"another scripts/matrix writes to {self.directory}", "wait until it has ended") from None
        data = self._path.read_bytes()
        os.ftruncate(self._fd, data.rfind(b"\n") + 1)  # killed while it wrote: that run is repeated

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with os.fdopen(os.dup(self._fd), "wb") as file:
                file.write(json.dumps(line).encode() + b"\n")
            os.fsync(self._fd)
        except OSError as error:
            raise self._unwritable(error) from error

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return
        for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
            try:
                value = json.loads(line)
            except ValueError as error:
                raise self._foreign(f"line {number} is no JSON") from error
            if not isinstance(value, dict):
                raise self._foreign(f"line {number} is no object")
            yield value

    def _conditions_of(self, lines: list[dict[str, Any]]) -> Conditions | None:
        if not lines:
            return None
        header = lines[0]
        if header.get("type") != "matrix":
            raise self._foreign("its first line is not that of a matrix")
        if header.get("schema_version") != SCHEMA_VERSION:
            raise self._foreign(f"its schema_version is {header.get('schema_version')}, not {SCHEMA_VERSION}")
        try:
            return Conditions.from_json(header["conditions"])
        except (KeyError, TypeError) as error:
            raise self._foreign(f"its conditions lack {error}") from error

    def _runs(self, lines: list[dict[str, Any]]) -> dict[Task, Run]:
        try:
            runs = [Run.from_json(line) for line in lines[1:]]
        except (KeyError, TypeError) as error:
            raise self._foreign(f"a run lacks {error}") from error
        return {run.task: run for run in runs}  # the last one of a task counts: failed runs are tried again

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write {self._path}: {error.strerror}", "name another directory with --results")

    def _foreign(self, why: str) -> ManifestError:
        return ManifestError(f"{self._path} is no manifest of scripts/matrix: {why}", "name another directory")


def _differences(found: Conditions, asked: Conditions) -> str:
    before, now = found.as_json(), asked.as_json()
    return ", ".join(f"{name} {before[name]}, not {now[name]}" for name in before if before[name] != now[name])
