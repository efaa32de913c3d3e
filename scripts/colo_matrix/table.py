"""The results as tables beside the seed's, and as one object for programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from colotrace.crosscheck.fields import FIELDS, Field, is_of_role
from colotrace.phases import Role
from colotrace.units import size_text, time_text

from .growth import AXES, Fit, Growth, Slope, growths, ns_per_page
from .journal import Journal
from .results import Columns, Measured
from .seed import SeedResult, seed_results

WIDTH = 130
"""Fixed: a figure that is cut off would be another figure."""
HEADINGS = {"tot_num": "num"}
_TIMES = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_SIZES = ((1, "B"),)
REMARKS = (
    "Times are means over num checkpoints, as the seed's; tot is their sum, init happens once. The first {warm_up} "
    "checkpoints of a run are not counted: the first one after COLO begins loads all of the RAM.",
    "The seed: a patched QEMU, a kernel build in the guest, a checkpoint every 20 s (QEMU's default). Its ram_size is "
    "never filled, its recv is shorter than any round trip, and its text adds recv to put (see colotrace audit).",
    "Ours: an unmodified QEMU, a checkpoint every {delay_ms} ms over {transport}, a firmware that overwrites the third "
    "number's MiB for ever on the first vCPU. The others wait: vCPUs beyond this host's {cpus} compete for nothing.",
    "So absolute times do not compare; how they grow does.",
)


def print_tables(measured: Sequence[Measured], journal: Journal) -> None:
    """To standard output: results of either role, how they grow, and how far runs of one cell differ."""
    console = Console(highlight=False, width=WIDTH)
    if not measured:
        console.print("Nothing is measured yet.")
        return
    seed = seed_results()
    for role in Role:
        beside = " (the seed's rows: its primary's)" if role is Role.PRIMARY else ""
        console.print(f"{role.value}: cell = vCPUs x MiB of memory x MiB dirtied{beside}")
        console.print(results_table(measured, seed if role is Role.PRIMARY else [], role))
        console.print()
    console.print("what one more adds, by a plane through all cells (± standard error):")
    console.print(growth_table(growths(measured, seed)))
    per_page = ns_per_page(measured)
    if per_page:
        console.print(f"primary's ram phase: {per_page.value:,.0f} ± {per_page.error:,.0f} ns a page sent")
    console.print()
    for line in remarks(measured, journal):
        console.print(line)


def results_table(measured: Sequence[Measured], seed: Sequence[SeedResult], role: Role) -> Table:
    """The seed's columns; each of the seed's rows before ours of the same vCPUs and memory."""
    fields = [field for field in FIELDS.values() if is_of_role(field, role)]
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("cell")
    for field in fields:
        table.add_column(HEADINGS.get(field.name, field.name.removesuffix("_time")), justify="right")
    left = list(seed)
    for one in sorted(measured, key=lambda one: (one.cell.memory_mib, one.cell.vcpus, one.cell.dirty_mib)):
        same = [it for it in left if (it.vcpus, it.memory_mib) == (one.cell.vcpus, one.cell.memory_mib)]
        for it in same:
            left.remove(it)
            table.add_row(f"seed {it.vcpus}x{it.memory_mib}", *_cells(it.columns, fields), style="italic")
        table.add_row(one.cell.name, *_cells(one.sides[role].seed_columns(), fields))
    return table


def growth_table(found: Sequence[Growth]) -> Table:
    """Per figure and axis, the seed's slope beside ours."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("role", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for axis, name in AXES.items():
        if axis != "dirty_mib":
            table.add_column(f"{name}, seed", justify="right", no_wrap=True)
        table.add_column("ours" if axis != "dirty_mib" else f"{name}, ours", justify="right", no_wrap=True)
    table.add_column("R²", justify="right")
    for one in found:
        row = [one.role.value, one.what]
        for axis in AXES:
            if axis != "dirty_mib":
                row.append(_slope(one.seeds, axis, one.unit))
            row.append(_slope(one.ours, axis, one.unit))
        table.add_row(*row, f"{one.ours.r_squared:.2f}" if one.ours else "-")
    return table


def remarks(measured: Sequence[Measured], journal: Journal) -> list[str]:
    """What a reader of the figures has to know, this run's own circumstances included."""
    conditions = journal.conditions
    lines = [
        text.format(warm_up=conditions.warm_up, cpus=f"{os.cpu_count()} CPUs", delay_ms=conditions.delay_ms,
                    transport=conditions.transport) for text in REMARKS
    ]  # fmt: skip
    runs = [run for one in measured for run in one.runs]
    loads = sorted(run.load_before[0] for run in runs)
    lines.append(f"Load average before a run: {loads[0]:.1f} to {loads[-1]:.1f}, median {loads[len(loads) // 2]:.1f}.")
    spreads = sorted((spread, one.cell.name) for one in measured if (spread := _spread(one)) is not None)
    if spreads:
        middle, (worst, where) = spreads[len(spreads) // 2][0], spreads[-1]
        lines.append(
            f"Medians of the primary's total in runs of one cell differ by {middle:.0%} (the middle one of "
            f"{len(spreads)} cells), at most by {worst:.0%} ({where})."
        )
    sides = [(one, run) for one in measured for side in one.sides.values() for run in side.runs]
    lost, unfinished = sum(run.lost for _, run in sides), sum(run.not_completed for _, run in sides)
    lines.append(f"Records lost: {lost}; checkpoints aborted or seen in part: {unfinished}; neither is in the figures.")
    builds = {run.build_id for _, run in sides}
    if len(builds) > 1:
        lines.append(f"CAUTION: the runs are of {len(builds)} different QEMU builds.")
    noted = {run.task.cell.name for run in runs if run.notes}
    if noted:
        lines.append(f"The lab warned in {len(noted)} cells ({', '.join(sorted(noted))}); --json has the words.")
    return lines


def as_object(measured: Sequence[Measured], journal: Journal) -> dict[str, Any]:
    """All of it: raw nanoseconds and bytes, null where not known."""
    seed = seed_results()
    return {
        "type": "matrix",
        "schema_version": 1,
        "conditions": journal.conditions.as_json(),
        "cells": [_cell_object(one) for one in measured],
        "seed": [{"vcpus": it.vcpus, "memory_mib": it.memory_mib, **it.columns} for it in seed],
        "growth": [
            {"role": one.role.value, "figure": one.what, "unit": one.unit, "ours": _fit_object(one.ours),
             "seed": _fit_object(one.seeds)} for one in growths(measured, seed)
        ],
        "ns_per_page": asdict(per_page) if (per_page := ns_per_page(measured)) else None,
        "failed": [run.as_json() for _, run in sorted(journal.runs.items()) if not run.done],
        "remarks": remarks(measured, journal) if measured else [],
    }  # fmt: skip


def _cell_object(one: Measured) -> dict[str, Any]:
    return {
        **asdict(one.cell),
        "runs": [run.as_json() for run in one.runs],
        "roles": {role.value: side.seed_columns() for role, side in one.sides.items()},
    }


def _fit_object(found: Fit | None) -> dict[str, Any] | None:
    return asdict(found) if found else None


def _cells(columns: Columns, fields: Sequence[Field]) -> list[str]:
    return [_text(columns.get(field.name), field) for field in fields]


def _text(value: int | None, field: Field) -> str:
    if value is None:
        return "-"
    return str(value) if not field.unit else time_text(value) if field.is_time else size_text(value)


def _slope(found: Fit | None, axis: str, unit: str) -> str:
    slope = found.slopes.get(axis) if found else None
    return "-" if slope is None else _with_error(slope, unit)


def _with_error(slope: Slope, unit: str) -> str:
    """Both numbers in the unit that suits the greater one."""
    scales = _SIZES if unit == "bytes" else _TIMES
    factor, name = next((one for one in scales if max(abs(slope.value), slope.error) >= one[0]), scales[-1])
    value, error = slope.value / factor, slope.error / factor
    digits = 0 if factor == 1 else 2 if max(abs(value), error) < 10 else 1 if max(abs(value), error) < 100 else 0
    return f"{round(value, digits) + 0.0:+,.{digits}f} ± {error:,.{digits}f} {name}"  # + 0.0: no negative zero


def _spread(one: Measured) -> float | None:
    """(greatest - least) / least of the runs' medians; None with one run."""
    medians = one.sides[Role.PRIMARY].medians("total_ns")
    return (max(medians) - min(medians)) / min(medians) if len(medians) > 1 else None
