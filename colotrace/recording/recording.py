"""Recordings to be read: files, directories and patterns -> runs -> series."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from colotrace.errors import InputError
from colotrace.recording.run import Run, open_run
from colotrace.recording.series import Series, series_of
from colotrace.recording.writing import FORMATS

_REMEDY = "Name a file that colotrace attach --output has written, a directory of such files, or a pattern."


class Recording:
    """Some runs, read together. `problems` are sentences on what could not be read, or must be known of it."""

    def __init__(self, runs: Sequence[Run], problems: Sequence[str] = ()) -> None:
        self.runs = tuple(sorted(runs, key=lambda run: run.started))
        self._problems = tuple(problems)
        self._series: list[Series] | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files, each with its name."""
        of_runs = [f"{run.path}: {problem}" for run in self.runs for problem in run.problems]
        of_series = [f"{series.label}: {problem}" for series in self.series() for problem in series.problems]
        return (*self._problems, *of_runs, *of_series)

    def series(self) -> list[Series]:
        """One per host, VM, role and QEMU binary; see colotrace.recording.series."""
        if self._series is None:
            self._series = series_of(self.runs)
        return list(self._series)


def open_recording(*paths: str | os.PathLike[str]) -> Recording:
    """Opens recordings: files, directories (everything in them), and patterns as of a shell, ** among them.

    A file among several that cannot be read is a problem; InputError if nothing can be read, or the only file cannot.
    """
    files = [file for path in paths for file in _expand(os.fspath(path))]
    files = list(dict.fromkeys(files))
    runs: list[Run] = []
    problems: list[str] = []
    for file in files:
        try:
            run = open_run(file)
            twin = next((other for other in runs if _same(run, other)), None)
            if twin is None:
                runs.append(run)
            else:
                problems.append(f"left out: {file} holds the same run as {twin.path}")
        except InputError as error:
            if len(files) == 1:
                raise
            problems.append(f"left out: {error.message}")
    if not runs:
        raise InputError(f"no recording could be read; {'; '.join(problems) or 'no file was named'}", _REMEDY)
    return Recording(runs, problems)


def _same(run: Run, other: Run) -> bool:
    """Whether both files are of one run, and of the same processes of it."""
    ours, theirs = (
        {(h.host, h.pid, h.started, h.realtime_minus_monotonic_ns) for h in one.headers.values()}
        for one in (run, other)
    )
    return bool(ours) and ours == theirs


def _expand(path: str) -> list[str]:
    if os.path.isdir(path):
        found = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if os.path.splitext(name)[1].lower() in FORMATS
        ]
        if not found:
            raise InputError(f"no recording is in {path}", _REMEDY)
        return sorted(found)
    if not os.path.lexists(path) and glob.has_magic(path):
        found = [file for file in glob.glob(path, recursive=True) if os.path.isfile(file)]
        if not found:
            raise InputError(f"nothing matches {path}", _REMEDY)
        return sorted(found)
    return [path]
