"""--ring-size: sizes in words, and what is wrong with others."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from colotrace.cli import main
from colotrace.cli.ringsize import ring_bytes
from colotrace.kernel.program import DEFAULT_RING_BYTES, RECORD_ROOM


@pytest.mark.parametrize(
    ("text", "size"), [("256K", 1 << 18), ("1m", 1 << 20), ("64M", 1 << 26), (" 1048576 ", 1 << 20), ("1024k", 1 << 20)]
)
def test_sizes(text: str, size: int) -> None:
    assert ring_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5M", "-1M", "1G", "4MiB", "٤M", "1_024K", "0x100000", "9" * 40])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        ring_bytes(text)


@pytest.mark.parametrize("text", ["128K", "128M", "3M", "1000000", "0", "262145"])
def test_other_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a power of two from 256K to 64M"):
        ring_bytes(text)


def test_wrong_usage_is_said_and_the_default_is_in_the_help() -> None:
    wrong = CliRunner().invoke(main, ["attach", "--ring-size", "3M"])
    assert wrong.exit_code == 2 and "'3M' is not a power of two from 256K to 64M" in wrong.output
    text = CliRunner().invoke(main, ["attach", "--help"]).output
    assert f"[default: {DEFAULT_RING_BYTES >> 20}M]" in text
    room = re.search(r"--ring-size (\d+)M .* room for ([\d,]+) checkpoints", text)
    assert room, "an example"
    holds, told = (int(room[1]) << 20) // RECORD_ROOM, int(room[2].replace(",", ""))
    assert told == holds // 1000 * 1000
