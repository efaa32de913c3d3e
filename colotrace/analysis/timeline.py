"""Collects a Trend while a report goes through the columns one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.statistics import Integers
from colotrace.analysis.trend import (
    COARSE_BINS,
    CONFIDENCE,
    LEAST_BINS,
    Bin,
    Drift,
    Trend,
    drift_of,
    edges_of,
    means,
    medians,
    p99_and_max,
    step_of,
)
from colotrace.recording.schema import BEGIN_WALL

if TYPE_CHECKING:
    from colotrace.recording import Series

NO_BEGIN = "no completed checkpoint has begin_ns"


class Timeline:
    """The bins of one series in time; add() gives it a column, trend() is the result.

    A row whose column has nulls is looked up by time; one without is in step with `begin_ns`.
    """

    def __init__(self, series: Series, of: str, missing: dict[str, str]) -> None:
        self._series, self._of, self._missing = series, of, missing
        begin, wall = series.values("begin_ns"), series.values(BEGIN_WALL)
        self.clock = "CLOCK_REALTIME" if wall.size == begin.size else "CLOCK_MONOTONIC"
        self._stored = begin = wall if wall.size == begin.size else begin
        self._n = int(begin.size)
        self._order = None if not self._n or bool(np.all(begin[1:] >= begin[:-1])) else np.argsort(begin, kind="stable")
        self._begin = begin if self._order is None else begin[self._order]
        self._edges = edges_of(self._begin)
        self._means: dict[str, list[int | None]] = {}
        self._medians: dict[str, list[int | None]] = {}
        self._tails: list[tuple[int | None, int]] = []
        self._coarse: tuple[Bin, ...] = ()
        if not self._n:
            missing["trend"] = series.missing("begin_ns") or NO_BEGIN

    def add(self, name: str, values: Integers) -> None:
        """Takes a row's values, as Series.values() gave them."""
        if not self._n or not values.size:
            return
        edges = self._edges
        if values.size != self._n:  # nulls: these values' own times tell their bins
            begin = BEGIN_WALL if self.clock == "CLOCK_REALTIME" else "begin_ns"
            both = self._series.columns(begin, f"{name}_ns")
            order = np.argsort(both[begin], kind="stable")
            values = both[f"{name}_ns"][order]
            first = [self._begin[edge] for edge in edges[:-1]]
            edges = [*(int(i) for i in np.searchsorted(both[begin][order], first)), int(values.size)]
        elif self._order is not None:
            values = values[self._order]
        self._means[name], self._medians[name] = means(values, edges), medians(values, edges)
        if name == self._of:
            self._tails = [p99_and_max(values[a:b]) for a, b in pairwise(edges)]
            if values.size == self._n:
                self._coarse = self._bins(edges_of(self._begin, COARSE_BINS), values)

    def when_ns(self, index: int) -> int | None:
        """When the completed checkpoint of this index began, in wall-clock time; None if that is not known."""
        if self.clock != "CLOCK_REALTIME" or self._n != self._series.counts.completed:
            return None
        return int(self._stored[index])

    def trend(self) -> Trend:
        """Bins, drifts and the step of what was added."""
        levels = self._medians.get(self._of)
        if not levels or not self._tails or None in levels:
            return Trend(self._of, (), None, None, missing={"drift": self._missing.get("trend", NO_BEGIN)})
        bins = tuple(self._bin(i) for i in range(len(self._edges) - 1))
        if len(bins) < LEAST_BINS:
            there = f"there are {self._n:,} in {len(bins)}"
            reason = f"a drift takes {LEAST_BINS**2} checkpoints in {LEAST_BINS} bins; {there}"
            return Trend(self._of, bins, None, None, self._coarse, self.clock, missing={"drift": reason})
        others = [name for name in self._medians if name != self._of]
        each = 1 - (1 - CONFIDENCE) / max(1, len(others))
        by_row = {name: drift for name in others if (drift := self._drift(name, each))}
        starts = np.array([one.begin_ns for one in bins], np.int64)
        level = np.array(levels, np.float64)
        drift = self._drift(self._of, CONFIDENCE)
        missing = {} if drift else {"drift": "all bins are at one time"}
        return Trend(self._of, bins, drift, step_of(starts, level), self._coarse, self.clock, by_row, missing)

    def _bin(self, i: int) -> Bin:
        start, end = self._edges[i], self._edges[i + 1]
        p99, most = self._tails[i]
        median = self._medians[self._of][i]
        assert median is not None
        return Bin(
            int(self._begin[start]),
            int(self._begin[end - 1]),
            end - start,
            median,
            p99,
            most,
            {name: found[i] for name, found in self._means.items()},
            {name: found[i] for name, found in self._medians.items()},
        )

    def _bins(self, edges: Sequence[int], values: Integers) -> tuple[Bin, ...]:
        """Bins of a column without nulls, with nothing but that column."""
        found = []
        for (start, end), median in zip(pairwise(edges), medians(values, edges), strict=True):
            assert median is not None
            first, last = int(self._begin[start]), int(self._begin[end - 1])
            found.append(Bin(first, last, end - start, median, *p99_and_max(values[start:end])))
        return tuple(found)

    def _drift(self, name: str, confidence: float) -> Drift | None:
        known = [(i, level) for i, level in enumerate(self._medians[name]) if level is not None]
        begin = int(self._begin[0])
        middles = [(int(self._begin[self._edges[i]]) + int(self._begin[self._edges[i + 1] - 1])) / 2 for i, _ in known]
        when = np.array([middle - begin for middle in middles], np.float64)
        return drift_of(when, np.array([level for _, level in known], np.float64), confidence)
