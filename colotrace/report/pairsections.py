"""The page's words and tables on both sides of a pair; every text from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from colotrace.analysis.merge_report import part_figures
from colotrace.analysis.merge_split import Split
from colotrace.analysis.statistics import distribution
from colotrace.phases import Role
from colotrace.report.outline import PAIRS_TITLE
from colotrace.report.pairdata import PairData
from colotrace.report.pairfigures import part_look
from colotrace.report.pairwording import clock_lines, matched_text, share_lines, who_text
from colotrace.report.tables import problems, table, text, time_cell
from colotrace.report.wording import number
from colotrace.units import time_text

_HEADS = ("part", "mean", "median", "p99", "share")


def summary(pairs: Sequence[PairData], reasons: Sequence[str]) -> str:
    """What is said at the top of a page: whose the waits are, with a link; and what is on no timeline."""
    found = "".join(
        f'<p><a href="#p{at}">{PAIRS_TITLE}</a>: {text("; ".join((one.pair.label, *share_lines(one.pair.merged))))}</p>'
        for at, one in enumerate(pairs, 1)
    )
    return found + "".join(f"<p>{text(reason)}.</p>" for reason in reasons)


def section(at: int, data: PairData) -> str:
    """All of one pair: who, the clocks, where the primary's waits go, and one checkpoint on both sides."""
    merged = data.pair.merged
    sides = "".join(
        f"<div><dt>{series.role.value}</dt><dd>{text(who_text(series))}</dd></div>"
        for series in (merged.primary, merged.secondary)
    )
    clocks = "".join(f"<p>Clocks: {text(line)}.</p>" for line in clock_lines(merged))
    missing = "".join(f"<p>The primary's {text(n)} cannot be split: {text(r)}.</p>" for n, r in merged.missing.items())
    return f"""<section class="series" id="p{at}" aria-labelledby="hp{at}">
<h2 id="hp{at}">{PAIRS_TITLE}: {text(data.pair.label)}</h2>
<p class="counts">{text(matched_text(merged))}</p>
<dl class="facts">{sides}</dl>{clocks}
{problems("To know of this timeline", data.pair.notes)}
<h3>Where the primary's waits go</h3>
<div class="waits">{"".join(_wait(split) for split in merged.splits.values())}</div>{missing}
{_over_run(at, data)}
<div class="chosen"><h3 id="wp{at}">One checkpoint, both sides</h3>
{_chooser(at, data)}</div>
</section>"""


def links(pairs: Sequence[PairData]) -> dict[tuple[int, int], str]:
    """(series, row of a checkpoint) -> the address of its picture with both sides, of all that the page carries."""
    return {
        (place.series, row): f"#p{at}-c{name}"
        for at, one in enumerate(pairs, 1)
        for role, place in ((Role.PRIMARY, one.pair.primary), (Role.SECONDARY, one.pair.secondary))
        for row, name in zip(one.rows[role], one.numbers, strict=True)
    }


def _wait(split: Split) -> str:
    rows = [list(_cells(row.name, row.times, row.share)) for row in part_figures(split)]
    own = distribution(split.own_ns)
    caption = (
        f"The primary's {split.phase.value}, {number(len(split.sequence))} checkpoints; borders between network and "
        f"secondary ± {time_text(int(split.error_ns.max()))}"
    )
    return (
        f"<div>{table('parts', f'Parts of {split.phase.value}', _HEADS, rows, caption)}"
        f'<p class="muted">The secondary\'s own {split.phase.value}: mean {time_text(own.mean)}, '
        f"median {time_text(own.p50)}</p></div>"
    )


def _cells(name: str, times: object, share: float | None) -> Iterator[str]:
    style = "" if name == "total" else f' style="background:{part_look(name)[0]}"'
    key = "" if name == "total" else f'<i class="key"{style} aria-hidden="true"></i>'
    yield f'<th scope="row">{key}{text(name)}</th>'
    reasons = getattr(times, "missing", {})
    for field in ("mean", "p50", "p99"):
        yield time_cell(getattr(times, field), reasons.get(field))
    yield f"<td>{'' if share is None else f'{100 * share:.1f} %'}</td>"


def _over_run(at: int, data: PairData) -> str:
    if not data.bins:
        return ""
    label = f"{text(data.pair.label)}: parts of the primary's waits over the run, stacked; the tables have their means"
    return f"""<figure><div class="plot" data-figure="waits" data-pair="{at}" role="img" aria-label="{label}"></div>
<figcaption>A bar is one checkpoint, or the mean of several in a row. Choosing one shows its longest wait's checkpoint
below. Network back: from the secondary's send call to the return of the primary's receive, with both kernels and what
TCP holds back. Network there: the secondary waits for what the primary has sent.</figcaption></figure>"""


def _chooser(at: int, data: PairData) -> str:
    matched = len(data.pair.merged.match.sequence)
    whole = (
        f"All {number(matched)} checkpoints on the timeline are in this page."
        if data.whole
        else f"Of {number(matched)} checkpoints on the timeline this page carries {number(len(data.numbers))}: the "
        "slowest, each bar's longest, and an even sample of the rest. Tables and bars are of all."
    )
    return f"""<form class="choose" data-pair="{at}"><label for="cp{at}">The primary's checkpoint</label>
<input id="cp{at}" inputmode="numeric" autocomplete="off" size="9">
<button type="submit">Show</button>
<button type="button" data-step="-1">Previous</button><button type="button" data-step="1">Next</button></form>
<p class="muted">{whole} At first, the one of median length.</p>
<p class="said" role="status" aria-live="polite"></p>
<div class="lanes" data-pair="{at}" role="img" aria-label="The chosen checkpoint on both sides"></div>
<p class="muted">On the primary's clock. A lane is the checkpoint (outline), the phases in it, and the VM's pause
(dotted). Arrows are messages, from the call that sends to the return of the call that receives.</p>
<div class="detail"></div>"""
