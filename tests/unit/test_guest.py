"""What a guest's memory must look like at a stopped moment: every deviation is told."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from colo_lab.firmware import PATTERN_MASK, SWEEP_WORD_ADDRESS
from colo_lab.guest import PAGE_BYTES, first_fault

PAGES = 16


def memory(sweep: int = 9, done: int = 5) -> bytearray:
    """A range in which `done` pages have been reached by the sweep."""
    data = bytearray(PAGES * PAGE_BYTES)
    for page in range(PAGES):
        offset = page * PAGE_BYTES
        number = sweep if page < done else sweep - 1
        struct.pack_into("<II", data, offset, number, (SWEEP_WORD_ADDRESS + offset) ^ PATTERN_MASK)
    return data


@pytest.mark.parametrize("done", [1, 5, PAGES])
def test_whole_memory(done: int) -> None:
    assert first_fault(bytes(memory(done=done))) is None


@pytest.mark.parametrize(
    ("page", "offset", "value", "said"),
    [
        (3, 0, 8, "holds 9, in sweep 9"),  # a page of this sweep is missing: what follows it contradicts it
        (9, 0, 9, "holds 9, in sweep 9"),
        (9, 0, 7, "holds 7, in sweep 9"),
        (2, 4, 0, "in place of its pattern"),
        (2, 8, 1, "bytes that nobody wrote"),
        (PAGES - 1, PAGE_BYTES - 4, 1 << 24, "bytes that nobody wrote"),
    ],
)
def test_a_page_that_is_not_as_it_was_written(page: int, offset: int, value: int, said: str) -> None:
    data = memory()
    struct.pack_into("<I", data, page * PAGE_BYTES + offset, value)
    assert said in str(first_fault(bytes(data)))
