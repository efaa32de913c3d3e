"""The stream's rate limits a checkpoint's RAM: the network, a traffic shaper, or a secondary that reads no faster.

While ram lasts, QEMU hands pages to the kernel, as fast as it takes them; what the kernel has not sent by then (up to
4 MiB by default, tcp_wmem) goes out in recv. So the stream's rate is all bytes by all of the time from ram's begin to
VMSTATE_RECEIVED; bytes by ram_ns alone are up to twice that in checkpoints of 8 MiB. A limit shows as one rate for
checkpoints of any size, far below that of copying pages. What waits elsewhere does not: 40 ms of a delayed
acknowledgement in recv leave ram alone and go with no size; zero pages are short in the stream, and so go by pages.

Unlimited, a page takes 1.3 to 5 us (medians) on the nested machine that this was written on, over unix sockets and TCP,
with 5.2 to 11.1, and up to 8 in a tenth of the checkpoints, four processes that want its two cores besides. So 10 us a
page is no copying; networks above 400 MB/s are as fast, and cannot be told from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.measures import median, percentile
from colotrace.analysis.findings.rule import Rule
from colotrace.analysis.findings.rules.max_bandwidth import waits
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Mark, Role
from colotrace.units import rate_text, size_text, time_text

if TYPE_CHECKING:
    from colotrace.analysis.findings.measures import Floats

COPY_NS = 10_000
"""A page that takes longer waits for something."""
_LEAST_BYTES = 1 << 20
"""Below that a checkpoint's fixed times count too much, and the socket's buffer swallows it."""
_LEAST, _MOST_SPREAD, _SMALL_SPREAD = 15, 0.10, 0.05
_SIZES_DIFFER = 1.5
"""p90 by p10 of the bytes: with these, one rate means that time is proportional to bytes."""
_QUEUE_BYTES = 256 << 10
"""More than fits a unix socket's buffer: so much waits only in a TCP socket that is not emptied as fast as filled."""
_LEAST_PART_OF_PAUSE = 0.05
_LINKS = {"100 Mb/s": 12.5e6, "1 Gb/s": 125e6, "2.5 Gb/s": 312.5e6}
"""Bytes per second on the wire."""
_PAYLOAD = (0.93, 0.995)
"""Of Ethernet's rate: 94.1 % in frames of 1500 bytes with TCP's time stamps, 94.9 % without, 99 % in those of 9000."""
_ADVICE = (
    "ss -tin on the stream's connection tells whether the network is busy, or rwnd_limited: then the secondary reads "
    "too slowly or, over a long way, its window is too small (tcp_rmem). A faster path, or fewer dirty pages a "
    "checkpoint; max-bandwidth is not what limits it"
)


@dataclass(frozen=True)
class _Stream:
    """Checkpoints of some size: their bytes, pages, and nanoseconds of ram, recv, and from ram's begin to the end of
    recv (VMSTATE_RECEIVED). `way` is what it typically takes to the secondary and back; 0 if unknown."""

    size: Floats
    pages: Floats
    ram: Floats
    recv: Floats
    time: Floats
    way: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return median(self.size / self.time) * 1e9

    @property
    def spread(self) -> float:
        """What 80 % of the rates lie within, as a part of their median."""
        rates = self.size / self.time
        return (percentile(rates, 0.9) - percentile(rates, 0.1)) / median(rates)

    @property
    def sizes_differ(self) -> bool:
        """Whether one rate for all says that time goes by bytes."""
        return percentile(self.size, 0.9) >= _SIZES_DIFFER * percentile(self.size, 0.1)

    @property
    def queued(self) -> float:
        """What the kernel still had to send when ram ended, typically, or more: recv has the secondary's work too."""
        return max(0.0, median(self.recv) - self.way) * self.rate / 1e9

    @property
    def backlog(self) -> bool:
        """Whether QEMU had handed over more than went out."""
        return self.queued >= _QUEUE_BYTES


def _stream(sample: Sample) -> _Stream:
    get = sample.recent
    size = get["ram_bytes"] + np.nan_to_num(get["device_bytes"])
    time = get["ram_ns"] + get["put_ns"] + get["recv_ns"]
    chosen = (size >= max(_LEAST_BYTES, median(size) / 4)) & (time > 0) & (get["ram_pages"] > 0)
    pages, ram, recv = (get[name][chosen] for name in ("ram_pages", "ram_ns", "recv_ns"))
    way = median(get.between(Mark.CHECKPOINT_REQUEST, Mark.CHECKPOINT_REPLY))
    return _Stream(size[chosen], pages, ram, recv, time[chosen], way if way >= 0 else 0.0)


def _look(sample: Sample) -> Iterator[Finding]:
    stream = _stream(sample)
    if len(stream.size) < max(_LEAST, len(sample.recent) / 2) or waits(sample) is not None:
        return
    backed_up = median(stream.ram / stream.pages) >= COPY_NS
    slow = median(stream.time / stream.pages) >= COPY_NS and (backed_up or stream.sizes_differ)
    matters = median(stream.time) >= _LEAST_PART_OF_PAUSE * median(sample.recent["pause_ns"])
    if slow and matters and stream.spread <= _MOST_SPREAD:
        yield _finding(sample, stream)


def _finding(sample: Sample, stream: _Stream) -> Finding:
    rate, spread, limit = stream.rate, stream.spread, sample.header.max_bandwidth_bytes_per_s
    link = next((name for name, wire in _LINKS.items() if _PAYLOAD[0] <= rate / wire <= _PAYLOAD[1]), None)
    least, most = percentile(stream.size, 0.1), percentile(stream.size, 0.9)
    sizes = f"{size_text(least)} to {size_text(most)}" if least < most else size_text(most)
    per_page, in_ram = median(stream.time / stream.pages), median(stream.ram)
    confidence, reason = _confidence(stream, link, limit)
    evidence = [
        f"80 % of the rates lie within {spread:.1%} of {rate_text(rate)}, in checkpoints of {sizes}: "
        f"{time_text(per_page)} a page, where copying one takes a few µs",
        f"of {time_text(median(stream.time))} from ram's begin to VMSTATE_RECEIVED, {time_text(in_ram)} are ram: by "
        f"its end up to {size_text(stream.queued)} were still to be sent",
    ]
    if link:
        evidence.append(f"it is {rate / _LINKS[link]:.1%} of {link}, what Ethernet of that rate carries for TCP")
    if limit:
        evidence.append(f"QEMU's own limit, max-bandwidth, is {rate_text(limit)}, and does not explain these times")
    return Finding(
        rule=RULE.name,
        phase="ram",
        title=f"the stream goes at {rate_text(rate)}"
        + (f": a network of {link}" if link else ", steadily, and pages are copied faster"),
        numbers={
            "rate_bytes_per_s": round(rate),
            "spread": round(spread, 4),
            "ns_per_page": round(per_page),
            "stream_ns": round(median(stream.time)),
            "ram_ns": round(in_ram),
            "queued_bytes": round(stream.queued),
            "p10_bytes": round(least),
            "p90_bytes": round(most),
            "link_bytes_per_s": round(_LINKS[link]) if link else None,
            "max_bandwidth_bytes_per_s": limit,
        },
        evidence=tuple(evidence),
        confidence=confidence,
        confidence_reason=reason,
        advice="attach with --qmp, so that QEMU's own limit is known (max-bandwidth)"
        if not stream.backlog and limit is None
        else _ADVICE,
        cost_ns=round(float(np.sum(np.maximum(stream.time - COPY_NS * stream.pages, 0))) / len(sample.recent)),
    )


def _confidence(stream: _Stream, link: str | None, limit: int | None) -> tuple[Confidence, str]:
    if not stream.backlog and limit is None:
        return Confidence.LOW, "nothing was queued when ram ended: QEMU itself may have waited (max-bandwidth)"
    if not stream.backlog:
        return Confidence.LOW, "nothing was queued when ram ended: a slow processor would look alike"
    if link and stream.spread <= _SMALL_SPREAD:
        return Confidence.HIGH, f"one steady rate, and that of {link}; neither copying nor a busy secondary keeps to it"
    return Confidence.MEDIUM, (
        "the kernel got more than it could send; a shaper, a shared network or a slow secondary would look alike"
    )


RULE = Rule(
    "bandwidth",
    "a stream that goes at one rate, that of a network",
    _look,
    (Role.PRIMARY,),
    needs=("ram_ns", "put_ns", "recv_ns", "ram_bytes", "ram_pages"),
)
