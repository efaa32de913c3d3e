"""A stream that the kernel paces, as a network would, is found at its rate; an unlimited one is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from colo_lab.trouble_rate import paced
from support import findings_of_primary

GIGABIT = 125_000_000
IN_FRAMES_OF_1500 = 0.948
"""What TCP carries of Ethernet's rate."""
OTHER_RATE = 60_000_000


@pytest.fixture(scope="module")
def tcp_pair() -> Iterator[ColoPair]:
    with ColoPair(Settings(transport="tcp", dirty_mib=8, delay_ms=150)) as running:
        yield running
        assert running.trouble() == []


def test_a_network_of_a_gigabit(tcp_pair: ColoPair, tmp_path: Path) -> None:
    rate = IN_FRAMES_OF_1500 * GIGABIT
    with paced(tcp_pair, round(rate)):
        found = findings_of_primary(tcp_pair, tmp_path)
    (one,) = [one for one in found["found"] if one["rule"] == "bandwidth"]
    numbers = one["numbers"]
    assert 0.95 * rate < numbers["rate_bytes_per_s"] <= 1.03 * rate
    assert numbers["link_bytes_per_s"] == GIGABIT and "1 Gb/s" in one["title"] and one["confidence"] != "low"
    assert numbers["ns_per_page"] > 10_000 and one["cost_ns"] > 20_000_000


def test_another_rate_and_then_none(tcp_pair: ColoPair, tmp_path: Path) -> None:
    with paced(tcp_pair, OTHER_RATE):
        found = findings_of_primary(tcp_pair, tmp_path)
    (one,) = [one for one in found["found"] if one["rule"] == "bandwidth"]
    assert 0.95 * OTHER_RATE < one["numbers"]["rate_bytes_per_s"] <= 1.03 * OTHER_RATE
    assert one["numbers"]["link_bytes_per_s"] is None and one["confidence"] == "medium"
    assert "bandwidth" in findings_of_primary(tcp_pair, tmp_path)["not_found"]


def test_over_a_unix_socket_there_is_no_limit(pair: ColoPair, tmp_path: Path) -> None:
    assert "bandwidth" in findings_of_primary(pair, tmp_path)["not_found"]
