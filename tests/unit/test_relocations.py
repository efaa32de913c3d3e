"""Pointers and names that the dynamic linker will write, and the unwinder's index of functions."""

from __future__ import annotations

import struct

import pytest

from colotrace.binary.functions import FunctionBounds
from colotrace.binary.relocations import Relocations

from .coloprogram import build
from .decoding import image_of
from .elfwriter import ElfWriter, Symbol

DATA = 0x90000


def test_a_relocated_pointer() -> None:
    elf = ElfWriter()
    elf.relro(DATA, struct.pack("<QQQ", 0, 0x1234, 0))
    elf.relative(DATA, 0x5678)
    with image_of(with_text(elf)) as image:
        relocations = Relocations(image)
        assert relocations.pointer_at(DATA) == 0x5678
        assert relocations.pointer_at(DATA + 8) == 0x1234, "not relocated: as the file has it"
        assert relocations.pointer_at(DATA + 16) is None
        assert relocations.pointer_at(DATA + 20) is None, "fewer than eight bytes"
        assert relocations.pointer_at(0x100) is None


def test_rows_are_found_only_where_rows_begin() -> None:
    """The bytes looked for also stand across two rows: the addend of one and the address of the next."""
    elf = ElfWriter()
    elf.relro(DATA, struct.pack("<QQ", 0x11, 0x22))
    elf.relative(0x300, DATA)
    elf.relative(8, 0x400)  # ... DATA | 8 | 8 (RELATIVE) ...
    with image_of(with_text(elf)) as image:
        assert Relocations(image).pointer_at(DATA) == 0x11


def test_slot_names() -> None:
    elf = ElfWriter()
    elf.plt(0x20000, DATA, ["one", "two"])
    elf.dynsym.append(Symbol("three", defined=False))
    elf.glob_dat(DATA + 0x100, "three")
    elf.relative(DATA + 0x108, 0x41000)
    with image_of(with_text(elf)) as image:
        relocations = Relocations(image)
        slots = [relocations.slot_name(at) for at in (DATA, DATA + 8, DATA + 16, DATA + 0x100, DATA + 0x108)]
    assert slots == ["one", "two", None, "three", None]


def test_a_file_without_tables() -> None:
    with image_of(with_text(ElfWriter())) as image:
        relocations, bounds = Relocations(image), FunctionBounds(image)
        assert relocations.slot_name(DATA) is None and relocations.pointer_at(DATA) is None
        assert len(bounds) == 0 and not bounds.is_start(0x41000) and bounds.containing(0x41000) is None


def with_text(elf: ElfWriter) -> bytes:
    elf.text(0x41000, b"\xc3")
    return elf.build()


def test_bounds_of_functions() -> None:
    program = build()
    start = program.labels["migrate_start_colo_process"]
    with image_of(program.data) as image:
        bounds = FunctionBounds(image)
        assert len(bounds) > 50
        found = bounds.containing(start)
        assert found is not None and found[0] == start and found[1] > program.labels["primary: done"]
        assert bounds.containing(found[1] - 1) == found
        assert bounds.containing(found[1]) != found
        assert bounds.is_start(start) and not bounds.is_start(start + 1)
        assert bounds.containing(0) is None


@pytest.mark.parametrize(("at", "byte"), [(0, 2), (2, 0xFF), (3, 0x1B)], ids=["version", "count", "table"])
def test_an_index_of_another_form_is_left_alone(at: int, byte: int) -> None:
    elf = ElfWriter()
    elf.eh_frame(0x80000, [(0x41000, 0x41001)])
    elf.sections[0].data = elf.sections[0].data[:at] + bytes((byte,)) + elf.sections[0].data[at + 1 :]
    with image_of(with_text(elf)) as image:
        assert len(FunctionBounds(image)) == 0
