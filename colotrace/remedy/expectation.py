"""What a remedy would save, from measured checkpoints, with the reason. Saved time is per checkpoint; None: unknown."""

from __future__ import annotations

from dataclasses import dataclass

from colotrace.phases import Role
from colotrace.remedy.measuring import Sample

STALL_NS, STALL_END_NS = 35_000_000, 55_000_000
"""A delayed ACK takes 40 ms (TCP_DELACK_MIN, include/net/tcp.h), and a timer's tick or two."""


@dataclass(frozen=True)
class Expectation:
    """`saves_ns` is an upper bound of the mean time saved in a checkpoint; 0: the trouble is not there."""

    saves_ns: int | None
    reason: str


NOTHING_MEASURED = Expectation(None, "no checkpoint was measured")


def nodelay(sample: Sample, ends: set[Role | None], set_already: bool) -> Expectation:
    """Measured on 7.2: Nagle at the primary's end stalls its recv (the secondary's ram), at the other its load."""
    if sample.role is None:
        return NOTHING_MEASURED
    if set_already:
        return Expectation(0, "TCP_NODELAY is set already")
    if sample.role is Role.SECONDARY:
        if Role.PRIMARY in ends:
            return Expectation(None, "see the primary, which waits for both ends")
        return Expectation(None, "this end's stalls lie in the primary's load, which cannot be seen from here")
    rows = {Role.PRIMARY: "recv", Role.SECONDARY: "load"}
    texts, saves = [], 0.0
    for role in [role for role in Role if role in ends]:
        values = sample.rows[rows[role]]
        stalled = [value for value in values if STALL_NS <= value <= STALL_END_NS]
        saves += sum(stalled) / max(1, len(values))
        texts.append(f"{rows[role]} sat at a delayed ACK's 35 to 55 ms in {len(stalled)} of {len(values)}")
    reason = "; ".join(texts)
    if not saves:
        return Expectation(0, f"{reason}: nothing to save")
    return Expectation(round(saves), f"{reason}; at most the whole of these waits, less the peer's own work in them")


def bandwidth(sample: Sample, limit: int) -> Expectation:
    """`limit` is max-bandwidth, bytes/s: QEMU sends a tenth of it, then waits until 100 ms are over.

    So few windows may go at up to twice the limit. 5.2 asks at every page, later ones within huge pages only: of small
    pages 2 GB/s were seen at 16 MiB/s (colotrace.analysis.findings.rules.max_bandwidth).
    """
    if sample.role is None:
        return NOTHING_MEASURED
    ram_ns, total_bytes = sum(sample.rows["ram"]), sum(sample.ram_bytes)
    if sample.role is not Role.PRIMARY or not total_bytes or not ram_ns:
        return Expectation(None, "bytes are only known where a primary sends RAM; none were seen")
    rate = total_bytes / ram_ns * 1e9
    text = f"ram sends {rate / 1e6:.0f} MB/s, max-bandwidth is {limit / 1e6:.0f} MB/s"
    if limit and 0.5 * limit <= rate <= 2 * limit:
        return Expectation(round(ram_ns / len(sample.rows["ram"])), f"{text}: the limit may be what holds it back")
    return Expectation(0, f"{text}: the limit does not hold it back")


def delay(sample: Sample, now_ms: int, wanted_ms: int) -> Expectation:
    """A longer period shortens no pause; it makes pauses rarer, and each perhaps longer, as more gets dirty."""
    if sample.role is None:
        return NOTHING_MEASURED
    pause, total, wait = sample.mean("pause") or 0, sample.mean("total") or 0, sample.mean("wait") or 0
    share = 100 * pause / (total + wait) if total + wait else 0.0
    then = 100 * pause / max(pause, wanted_ms * 1e6)
    text = f"the guest stands still {share:.1f} % of the time at {now_ms} ms, and {then:.1f} % at {wanted_ms} ms"
    return Expectation(0, f"{text} if a pause takes as long as now; a single pause gets no shorter")
