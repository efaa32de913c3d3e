"""How a figure grows with each axis: a least-squares plane through all cells, slopes with their standard errors.

The standard errors take the deviations to be independent and of one size, which they are only roughly; so they tell a
slope from none, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colotrace.phases import ROLE_PHASES, Phase, Role

from .results import Measured, column_of
from .seed import SeedResult

AXES = {"vcpus": "a vCPU", "memory_gib": "a GiB", "dirty_mib": "a MiB dirtied"}


@dataclass(frozen=True)
class Slope:
    """What one more of the axis adds, and the standard error of that."""

    value: float
    error: float


@dataclass(frozen=True)
class Fit:
    """`slopes` by axis, for the axes that vary; `r_squared` is the part of the variance that the plane explains."""

    n: int
    slopes: Mapping[str, Slope]
    r_squared: float


@dataclass(frozen=True)
class Growth:
    """One figure of one role: ours and, on the primary, the seed's; None where there are too few points."""

    role: Role
    what: str
    unit: str
    ours: Fit | None
    seeds: Fit | None


def fit(points: Sequence[tuple[Mapping[str, float], float]]) -> Fit | None:
    """A plane through (axes, value) points; None unless there are more points than unknowns and an axis varies."""
    if not points:
        return None
    axes = [axis for axis in AXES if len({point.get(axis) for point, _ in points}) > 1]
    if not axes or len(points) < len(axes) + 2:
        return None
    matrix = np.array([[1.0, *(point[axis] for axis in axes)] for point, _ in points])
    values = np.array([value for _, value in points])
    solution, _, rank, _ = np.linalg.lstsq(matrix, values, rcond=None)
    if rank < matrix.shape[1]:
        return None
    residuals = values - matrix @ solution
    variance = residuals @ residuals / (len(points) - matrix.shape[1])
    errors = np.sqrt(np.diag(variance * np.linalg.inv(matrix.T @ matrix)))
    spread = float(((values - values.mean()) ** 2).sum())
    explained = 1.0 - float(residuals @ residuals) / spread if spread else 1.0
    slopes = {axis: Slope(float(solution[i]), float(errors[i])) for i, axis in enumerate(axes, 1)}
    return Fit(len(points), slopes, explained)


def growths(measured: Sequence[Measured], seed: Sequence[SeedResult]) -> list[Growth]:
    """Of each phase, the total and the device state; a run's median is a point, and each of the seed's means."""
    found = []
    for role in Role:
        fields = [f"{phase.value}_time" for phase in ROLE_PHASES[role] if phase not in (Phase.INIT, Phase.WAIT)]
        for name in [*fields, "avg_time", *(["dev_size"] if role is Role.PRIMARY else [])]:
            column = column_of(name)
            ours = [(_axes(one), value) for one in measured for value in one.sides[role].medians(column)]
            seeds = []
            if role is Role.PRIMARY:
                seeds = [
                    ({"vcpus": one.vcpus, "memory_gib": one.memory_mib / 1024}, float(value))
                    for one in seed if (value := one.columns[name]) is not None
                ]  # fmt: skip
            what = {"avg_time": "total", "dev_size": "device state"}.get(name, name.removesuffix("_time"))
            unit = "bytes" if column.endswith("bytes") else "ns"
            found.append(Growth(role, what, unit, fit(ours), fit(seeds)))
    firsts = [
        (_axes(one), float(value)) for one in measured for value in one.sides[Role.SECONDARY].first("load_ns")
    ]  # fmt: skip
    found.append(Growth(Role.SECONDARY, "load, first checkpoint", "ns", fit(firsts), None))
    return found


def ns_per_page(measured: Sequence[Measured]) -> Slope | None:
    """What a page more adds to the primary's ram phase, over all counted checkpoints of all cells."""
    pairs = [
        (one["ram_pages"], one["ram_ns"])
        for cell in measured for run in cell.sides[Role.PRIMARY].runs for one in cell.sides[Role.PRIMARY].counted(run)
        if one["ram_pages"] is not None and one["ram_ns"] is not None
    ]  # fmt: skip
    if len(pairs) < 3 or len({pages for pages, _ in pairs}) < 2:
        return None
    pages, times = np.array(pairs, dtype=float).T
    (slope, _), covariance = np.polyfit(pages, times, 1, cov=True)
    return Slope(float(slope), float(np.sqrt(covariance[0][0])))


def _axes(one: Measured) -> dict[str, float]:
    cell = one.cell
    return {"vcpus": cell.vcpus, "memory_gib": cell.memory_mib / 1024, "dirty_mib": cell.dirty_mib}
