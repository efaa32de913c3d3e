"""Damaged files: whatever the bytes, the answer is a plan or an error for people, and it comes soon."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colotrace.errors import ColotraceError

from .coloprogram import Recipe, build
from .decoding import deadline, image_of
from .truth import plan_or_error

PROGRAM = build(Recipe(seed=3))
VALID = PROGRAM.data
SECONDS = 5.0


def regions() -> dict[str, range]:
    """The parts of the file that mean something, by name."""
    tables = struct.unpack_from("<Q", VALID, 40)[0]
    found = {"headers": range(64 + 56 * 10), "section headers": range(tables, len(VALID))}
    with image_of(VALID) as image:
        for section in image.sections:
            if section.size and section.kind != "SHT_NOBITS":
                found[section.name] = range(section.offset, section.offset + section.size)
    return found


REGIONS = regions()


def survives(data: bytes) -> None:
    with deadline(SECONDS):
        plan = plan_or_error(data)
    if isinstance(plan, ColotraceError):
        assert str(plan) and plan.exit_code in (4, 5)


def changed(*changes: tuple[int, int]) -> bytes:
    data = bytearray(VALID)
    for at, byte in changes:
        data[at] = byte
    return bytes(data)


@pytest.mark.parametrize("name", sorted(REGIONS))
def test_places_of_each_region(name: str) -> None:
    region = REGIONS[name]
    for at in region[1 :: 1 + len(region) // 3]:
        survives(changed((at, VALID[at] ^ 0x80)))


def test_a_note_whose_name_does_not_end() -> None:
    survives(changed((REGIONS[".note.gnu.build-id"][15], 0xFF)))


def test_a_table_of_messages_below_the_address_space() -> None:
    survives(changed((REGIONS[".rela.dyn"][23], 0xFF)))


def test_a_table_of_messages_at_the_top_of_the_address_space() -> None:
    """Its relocation is gone, and the word in the file is within 64 bits, but not what lies behind."""
    first = REGIONS[".data.rel.ro"][0]
    survives(changed((REGIONS[".rela.dyn"][0], 0xFF), (first, 0xF8), *((first + n, 0xFF) for n in range(1, 8))))


def test_a_function_that_only_jumps_to_itself() -> None:
    """vm_start is `notrack jmp vm_start`."""
    with deadline(1):
        plan_or_error(PROGRAM.patched(PROGRAM.labels["vm_start"], bytes.fromhex("3eebfd")))


PLACES = [at for region in REGIONS.values() for at in region]


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    survives(changed(*changes))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, len(VALID)), st.binary(max_size=64))
def test_cut_and_continued_with_anything(size: int, rest: bytes) -> None:
    survives(VALID[:size] + rest)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_anything_behind_a_valid_header(rest: bytes) -> None:
    survives(VALID[:64] + rest)
    survives(b"\x7fELF" + rest)
