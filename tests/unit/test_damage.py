"""Damaged files: whatever the bytes, the answer is a plan or an error for people, and it comes soon."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .coloprogram import ROOTS, Recipe, build
from .decoding import code_of_file, deadline, image_of
from .elffuzz import debug_seed, dwarf_seeds, hurt, places, seeds, survives, survives_debug, survives_dwarf
from .truth import exact, plan_or_error

PROGRAM = build(Recipe(seed=3))
VALID = PROGRAM.data


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


@pytest.mark.parametrize("part", range(4))
def test_code_that_does_not_decode_anywhere_in_the_functions_of_colo(part: int) -> None:
    """0x06 is no instruction in 64 bits. A seed's whole functions are gone through, each place by itself."""
    with code_of_file(VALID) as code:
        functions = [*ROOTS.values(), "send message", "receive message", "check message"]
        places = sorted({at for name in functions for at in code.function(PROGRAM.labels[name]).instructions})
    assert len(places) > 600
    for at in places[part::12]:
        survives(PROGRAM.patched(at, b"\x06"))


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


@pytest.mark.parametrize("name", sorted(seeds()))
def test_every_seed_is_read_to_the_end(name: str) -> None:
    """A fuzzer that begins with what is refused at once tests nothing."""
    answer = survives(seeds()[name])
    if name == "evidence":  # its functions can be named, and have no protocol
        assert {known.source for known in answer.names} == {"evidence in the code"}  # type: ignore[union-attr]
        assert exact(answer) == set()  # type: ignore[arg-type]
    elif name == "debuglink":
        assert "call sites were not found" in str(answer)
    else:
        assert len(exact(answer)) == 16  # type: ignore[arg-type]


def test_the_debug_files_seed_is_read_to_the_end() -> None:
    assert len(exact(survives_debug(debug_seed()[1]))) == 16  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(seeds()))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_each_source_of_names_hurt(name: str, number: int) -> None:
    survives(hurt(seeds()[name], random.Random(number)))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_debug_files_hurt(number: int) -> None:
    survives_debug(hurt(debug_seed()[1], random.Random(number)))


@pytest.fixture(scope="module")
def described() -> dict[str, bytes]:
    return dwarf_seeds()


def test_every_seed_with_dwarf_is_read_to_the_end(described: dict[str, bytes]) -> None:
    for name, data in described.items():
        for role in survives_dwarf(name, data).roles.values():
            assert role.witness.reason.startswith("it is split") if "split" in name else len(role.witness.agreed) > 15


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_dwarf_hurt(number: int) -> None:
    dice = random.Random(number)
    name = dice.choice(sorted(dwarf_seeds()))
    survives_dwarf(name, hurt(dwarf_seeds()[name], dice, ".debug_"))


@pytest.mark.parametrize("name", sorted(seeds()))
def test_places_are_within_the_file(name: str) -> None:
    found = places(seeds()[name])
    assert len(found) > 4 and all(0 <= r.start < r.stop <= len(seeds()[name]) for r in found.values())
