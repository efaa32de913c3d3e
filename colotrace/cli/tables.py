"""Tables of phases, for the live view and for the summary. Take data, give rich renderables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from colotrace.checkpoint import CheckpointTotals
from colotrace.cli.series import ROWS, RoleSeries, is_part_of_total, sparkline
from colotrace.phases import Phase, Role
from colotrace.sentences import failover_line
from colotrace.summary import TargetSummary, info_checkpoint
from colotrace.text import printable
from colotrace.units import size_text, time_text

SPARK_WIDTH = 30
SHORTEST_SPARK = 8
FIGURES_WIDTH = 66
"""What a live table needs without its spark line, in columns."""
COMPACT_WIDTH = 30
"""What a role needs in the compact table."""


def mean_of(totals: CheckpointTotals, row: str) -> float | None:
    """A row's mean in nanoseconds, from the kernel's totals; None if nothing was seen."""
    if row in ("total", "other"):
        total = totals.total_ns if row == "total" else totals.other_ns
        return total / totals.checkpoints if totals.checkpoints else None
    if row == "pause":
        return totals.pause_ns / totals.pause_num if totals.pause_num else None
    return totals.mean_ns(Phase(row))


def phase_table(totals: CheckpointTotals, series: RoleSeries, *, live: bool, width: int = 80) -> Table:
    """One role's phases: mean, p50, p99, max, share of the total; live also the last, and a spark line if it fits."""
    spark = min(SPARK_WIDTH, width - FIGURES_WIDTH) if live else 0
    table = _table()
    for name in [*(["last"] if live else []), "mean", "p50", "p99", "max"]:
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    table.add_column("share", justify="right", no_wrap=True, min_width=6)
    if spark >= SHORTEST_SPARK:
        table.add_column(f"last {spark}", no_wrap=True)
    largest = _largest(totals, series)
    for row, values in series.rows.items():
        mean = mean_of(totals, row)
        share = ""
        if is_part_of_total(row) and mean is not None and totals.total_ns:
            share = f"{100 * mean * totals.checkpoints / totals.total_ns:.1f} %"
        cells = [time_text(values.last)] if live else []
        cells += [time_text(v) for v in (mean, values.percentile(0.5), values.percentile(0.99))]
        cells += [time_text(values.largest if values.recent else None), share]
        if spark >= SHORTEST_SPARK:
            cells.append(sparkline(values.recent, spark))
        table.add_row(row, *cells, style=_style(row, largest), end_section=row == "other")
    return table


def compact_table(roles: Sequence[tuple[str, CheckpointTotals, RoleSeries]], width: int) -> Table:
    """Several roles side by side, mean and p99 each, for a terminal too low for a table each; as many as fit."""
    shown = roles[: max(1, (width - 7) // COMPACT_WIDTH)]
    table = _table()
    for heading, _totals, _series in shown:
        table.add_column(f"{heading} mean", justify="right", no_wrap=True, min_width=COMPACT_WIDTH // 2)
        table.add_column("p99", justify="right", no_wrap=True, min_width=7)
    for row in ROWS:
        cells = []
        for _heading, totals, series in shown:
            values = series.rows.get(row)
            cells += [time_text(mean_of(totals, row)), time_text(values.percentile(0.99))] if values else ["", ""]
        table.add_row(row, *cells)
    return table


def _table() -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("phase", no_wrap=True, min_width=6)
    return table


def _largest(totals: CheckpointTotals, series: RoleSeries) -> str:
    """The row that takes most of the total; none before the first checkpoint."""
    parts = [row for row in series.rows if is_part_of_total(row)]
    return max(parts, key=lambda row: mean_of(totals, row) or 0) if totals.checkpoints else ""


def _style(row: str, largest: str) -> str:
    return "bold yellow" if row == largest else "dim" if row in ("wait", "other") else ""


def counts_line(totals: CheckpointTotals) -> Text:
    """Completed, incomplete, aborted and lost; what is not zero of the last three stands out."""
    text = Text(f"{totals.checkpoints} completed")
    for number, word in (
        (totals.incomplete, "incomplete"), (totals.aborted, "aborted"), (totals.lost_records, "records lost")
    ):  # fmt: skip
        text.append(f", {number} {word}", style="bold red" if number and word != "incomplete" else "")
    return text


def summary_view(summary: TargetSummary, series: Mapping[tuple[int, Role], RoleSeries]) -> RenderableType:
    """What a run has seen of one process, as text for a terminal or a mail."""
    parts: list[RenderableType] = []
    for role, totals in summary.roles.items():
        one = series.get((summary.pid, role)) or RoleSeries(summary.pid, role)
        heading = Text.assemble((f"\n{title(summary.name, summary.pid)}, {role.value}: ", "bold"))
        parts.append(heading.append_text(counts_line(totals)))
        parts.append(phase_table(totals, one, live=False))
        parts.append(_sizes(summary, totals))
    if not summary.roles:
        parts.append(Text(f"\n{title(summary.name, summary.pid)}: no checkpoint was seen", style="bold"))
    parts += [Text(failover_line(failover), style="bold red") for failover in summary.failovers]
    parts.append(Text(f"{summary.probes} probes, {summary.hits} hits", style="dim"))
    lost = sum(totals.lost_records for totals in summary.roles.values())
    if lost:
        text = f"{lost} records did not fit the ring buffer: they are in the totals, only their details are gone"
        parts.append(Text(f"{text}; --ring-size gives it more room", style="dim"))
    if summary.lost_events:
        parts.append(Text(f"{summary.lost_events} notes or hits lost", style="bold red"))
    return Group(*parts)


def title(name: str | None, pid: int) -> str:
    """A process in words."""
    return f"{printable(name)} (pid {pid})" if name else f"pid {pid}"


def _sizes(summary: TargetSummary, totals: CheckpointTotals) -> Text:
    info = info_checkpoint(totals, summary.plan)
    parts = [f"device state {size_text(info.values['dev_size'])}"]
    if totals.ram_num:
        pages = totals.ram_pages / totals.ram_num
        parts.append(f"RAM {size_text(info.values['ram_size'])} in {pages:.0f} pages")
    if info.values["init_time"] is not None:
        parts.append(f"init {time_text(info.values['init_time'])}")
    return Text("per checkpoint: " + ", ".join(parts), style="dim")
