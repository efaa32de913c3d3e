"""One rate for all checkpoints: a network's, a shaper's; and what only looks like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.phases import Role

from .samples import look, sample_of_columns

N = 60
RANDOM = np.random.default_rng(3)
PAGE_BYTES = 4104
PAGES = RANDOM.integers(500, 9000, N)
ONE_SIZE = np.full(N, 2048)
BUFFER_BYTES = 4_000_000
"""What the kernel takes at once."""
GIGABIT = 125_000_000


def through(
    rate: float, pages: Any = PAGES, noise: float = 0.01, page_ns: float = 2_500, recv_ns: Any = 0,
    bytes_a_page: int = PAGE_BYTES, **more: Any,
) -> list[Finding]:  # fmt: skip
    """What is found where the stream sends `rate` bytes/s and copying takes page_ns a page."""
    size = pages * bytes_a_page
    copying = pages * page_ns
    sending = (size + 13_000) / rate * 1e9 * (1 + noise * RANDOM.uniform(-1, 1, N))
    ram = np.maximum(copying, sending - BUFFER_BYTES / rate * 1e9)
    recv = np.maximum(sending - ram, 50_000) + recv_ns
    columns = {
        "ram_pages": pages, "ram_bytes": size, "device_bytes": 13_000, "ram_ns": ram, "put_ns": 15_000,
        "recv_ns": recv, "pause_ns": ram + recv + 3_000_000,
    }  # fmt: skip
    return look("bandwidth", sample_of_columns(Role.PRIMARY, N, **(columns | more)))


def test_a_gigabit_network_is_known_by_its_rate() -> None:
    (one,) = through(0.9415 * GIGABIT)
    assert one.confidence is Confidence.HIGH and "1 Gb/s" in one.title and "118 MB/s" in one.title
    assert abs((one.numbers["rate_bytes_per_s"] or 0) / (0.9415 * GIGABIT) - 1) < 0.01
    assert one.numbers["link_bytes_per_s"] == GIGABIT
    # what the kernel still held when ram ended
    assert abs((one.numbers["queued_bytes"] or 0) / BUFFER_BYTES - 1) < 0.1
    spared = np.mean(PAGES * PAGE_BYTES / (0.9415 * GIGABIT) * 1e9 - 10_000 * PAGES)
    assert abs((one.cost_ns or 0) / spared - 1) < 0.05


@pytest.mark.parametrize("part", [0.90, 1.01])
def test_another_steady_rate_is_a_limit_without_a_name(part: float) -> None:
    (one,) = through(part * GIGABIT)
    assert one.confidence is Confidence.MEDIUM and one.numbers["link_bytes_per_s"] is None
    assert "Gb/s" not in one.title and "secondary" in one.confidence_reason


def test_a_link_that_is_not_steady_is_not_certain() -> None:
    (one,) = through(0.95 * GIGABIT, noise=0.045)
    assert 0.05 < (one.numbers["spread"] or 0) < 0.1 and one.confidence is Confidence.MEDIUM


def test_rates_that_differ_are_no_limit() -> None:
    assert through(0.95 * GIGABIT, noise=0.15) == []


def test_of_one_size_backlog_is_what_speaks() -> None:
    (one,) = through(100e6, ONE_SIZE)
    assert one.confidence is Confidence.MEDIUM and (one.numbers["queued_bytes"] or 0) > 3_500_000


def test_nothing_queued_and_one_size_is_but_a_hint() -> None:
    ram = ONE_SIZE * PAGE_BYTES / 100e6 * 1e9
    sample = sample_of_columns(
        Role.PRIMARY, N, ram_pages=ONE_SIZE, ram_bytes=ONE_SIZE * PAGE_BYTES, device_bytes=13_000, ram_ns=ram,
        put_ns=15_000, recv_ns=50_000, pause_ns=ram + 3e6,
    )  # fmt: skip
    (one,) = look("bandwidth", sample)
    assert one.confidence is Confidence.LOW and "QEMU itself" in one.confidence_reason and "--qmp" in one.advice


@pytest.mark.parametrize(("page_ns", "speaks"), [(9_700, False), (10_500, True)])
def test_as_fast_as_copying_is_silent(page_ns: int, speaks: bool) -> None:
    assert bool(through(PAGE_BYTES / page_ns * 1e9)) == speaks
    # on a machine that copies more slowly there is no limit either
    assert through(10e9, page_ns=page_ns - 3_000) == []


@pytest.mark.parametrize("pages", [PAGES, ONE_SIZE], ids=["sizes", "one size"])
def test_a_delayed_acknowledgement_is_no_rate(pages: Any) -> None:
    """Of one size, 42 ms in recv make a steady 162 MB/s; but ram has not waited, and no time has gone by size."""
    assert through(10e9, pages, recv_ns=42_000_000 + RANDOM.uniform(-500_000, 500_000, N)) == []


def test_the_way_to_the_secondary_and_back_is_no_queue() -> None:
    """Slow copying over 40 ms: at 340 MB/s, as much as 13 MiB."""
    way_ns = 40_000_000
    begin = np.arange(N) * 1e9
    marks = {"mark_checkpoint_request_ns": begin, "mark_checkpoint_reply_ns": begin + way_ns}
    (one,) = through(10e9, ONE_SIZE * 16, page_ns=12_000, recv_ns=way_ns, **marks)
    assert one.numbers["queued_bytes"] < 100_000 and one.confidence is Confidence.LOW  # type: ignore[operator]


def test_zero_pages_are_no_slow_network() -> None:
    """9 bytes each, and 1 us to find out: 9 MB/s, steady and proportional to bytes."""
    assert through(10e9, PAGES * 100, page_ns=1_000, bytes_a_page=9) == []


def test_small_checkpoints_say_nothing() -> None:
    assert through(0.95 * GIGABIT, np.full(N, 200)) == []
    (one,) = through(0.95 * GIGABIT, np.where(np.arange(N) % 3 == 0, 100, PAGES))  # some small ones are left out
    assert one.confidence is Confidence.HIGH


def test_a_stream_that_hardly_matters_to_the_pause_is_left_alone() -> None:
    assert through(0.95 * GIGABIT, pause_ns=5e9) == []


def test_what_max_bandwidth_explains_is_not_told_twice() -> None:
    header = {"max_bandwidth_bytes_per_s": 20_000_000}
    size, waits = 4096 * PAGE_BYTES, 8
    sample = sample_of_columns(
        Role.PRIMARY, N, header, ram_pages=4096, ram_bytes=size, device_bytes=13_000, ram_ns=waits * 100e6 + 3e6,
        put_ns=15_000, recv_ns=50_000, pause_ns=9e8,
    )  # fmt: skip
    assert look("bandwidth", sample) == []
    (one,) = look("max-bandwidth", sample)
    assert one.numbers["waits"] == waits


def test_a_known_limit_that_is_not_it_is_said() -> None:
    size = PAGES * PAGE_BYTES
    sending = size / (0.95 * GIGABIT) * 1e9
    sample = sample_of_columns(
        Role.PRIMARY, N, {"max_bandwidth_bytes_per_s": 1 << 40}, ram_pages=PAGES, ram_bytes=size, ram_ns=sending,
        put_ns=15_000, recv_ns=50_000, pause_ns=sending + 3e6,
    )  # fmt: skip
    (one,) = look("bandwidth", sample)
    assert any("max-bandwidth, is 1100 GB/s" in line for line in one.evidence)
    assert "--qmp" not in one.advice and "QEMU itself" not in one.confidence_reason
