"""QEMU's own limit: waits of 100 ms, as many as the bytes say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from colotrace.analysis.findings.finding import Confidence, Finding
from colotrace.analysis.findings.rule import Unknowable
from colotrace.phases import Role

from .samples import look, sample_of_columns

N = 40
RANDOM = np.random.default_rng(5)
LIMIT = 20_000_000
WINDOW = LIMIT / 10
SIZES = RANDOM.integers(1, 50, N) * 410_400


def waited(size: Any = SIZES) -> Any:
    """What QEMU 5.2's ram phase takes for these bytes: a wait after each full window, and 3 us a page."""
    return (np.ceil(size / WINDOW) - 1) * 100e6 + size % WINDOW * 0.75


def found(limit: int | None = LIMIT, size: Any = SIZES, ram: Any = None, recv: Any = 50_000) -> list[Finding]:
    header = {} if limit is None else {"max_bandwidth_bytes_per_s": limit}
    ram = waited(size) if ram is None else ram
    return look("max-bandwidth", sample_of_columns(Role.PRIMARY, N, header, ram_bytes=size, ram_ns=ram, recv_ns=recv))


def test_times_that_the_bytes_foretell() -> None:
    (one,) = found()
    waits = np.ceil(SIZES / WINDOW) - 1
    assert one.confidence is Confidence.HIGH and one.phase == "ram" and "20.0 MB/s" in one.title
    assert one.numbers["part_of_checkpoints"] == round(float((waits >= 1).mean()), 4)
    assert one.numbers["no_wait_from_bytes_per_s"] == 10 * SIZES.max()
    assert f"--value {10 * SIZES.max()} --apply" in one.advice and "--pid 4711" in one.advice
    assert 0.9 < (one.cost_ns or 0) / np.mean(waits * 100e6) <= 1


def test_a_limit_that_qemu_does_not_keep_to_is_none() -> None:
    assert found(ram=SIZES * 0.75) == []


def test_none_waits_whose_checkpoints_fit_one_window() -> None:
    assert found(size=np.full(N, WINDOW)) == []
    (one,) = found(size=np.full(N, WINDOW + 1))
    assert one.numbers["waits"] == 1


@pytest.mark.parametrize(("factor", "speaks"), [(1.08, True), (0.93, True), (1.3, False), (0.75, False)])
def test_how_near_the_times_must_be(factor: float, speaks: bool) -> None:
    size = np.full(N, 25.5 * WINDOW)
    assert bool(found(size=size, ram=waited(size) * factor)) == speaks


def test_most_must_fit() -> None:
    size, odd = np.full(N, 8.4 * WINDOW), np.arange(N) % 4 == 0
    assert found(size=size, ram=waited(size) * np.where(odd, 2, 1)) == []
    odd = np.arange(N) % 8 == 0
    assert len(found(size=size, ram=waited(size) * np.where(odd, 2, 1))) == 1


def test_a_backlog_leaves_a_doubt() -> None:
    (one,) = found(recv=waited())
    assert one.confidence is Confidence.MEDIUM and "network" in one.confidence_reason


def test_unknown_it_is_not_guessed() -> None:
    with pytest.raises(Unknowable, match="recorded by a version of colotrace"):
        found(limit=None)
    assert found(limit=None, ram=np.full(N, 40e6)) == []  # shorter than one wait
    assert found(limit=0) == []  # no limit
