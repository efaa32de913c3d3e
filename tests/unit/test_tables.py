"""Names without section headers: PT_DYNAMIC leads to the symbols, and only the hash table tells how many there are."""

from __future__ import annotations

import struct

import pytest

from colotrace.binary.symbols import Symbols
from colotrace.binary.tables import dynamic_symbols
from colotrace.phases import ROLE_PHASES, Role

from .coloprogram import Recipe, build
from .decoding import image_of
from .elfwriter import ElfWriter
from .elfwriter import Symbol as Row
from .truth import exact, lies, plan_of


@pytest.mark.parametrize("table", ["gnu", "sysv"])
def test_a_qemu_without_section_headers_has_the_same_plan(table: str) -> None:
    with_headers = build(Recipe(dynamic=table))
    without = build(Recipe(dynamic=table, section_headers=False))
    plan, other = plan_of(without.data), plan_of(with_headers.data)
    assert plan.sources == (".dynsym by its hash table",) and other.sources == (".dynsym",)
    assert not lies(plan, without.truth)
    assert exact(plan) == {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}
    assert [p.address for p in plan.probes] == [p.address for p in other.probes]
    assert plan.message_numbers == "read from COLOMessage_lookup", "relocations are found by PT_DYNAMIC, too"


def writer(rows: list[Row], *, gnu: bool) -> ElfWriter:
    elf = ElfWriter(dynsym=rows, dynamic_at=0x90000, gnu_hash=gnu, section_headers=False)
    elf.text(0x41000, b"\xc3")
    return elf


@pytest.mark.parametrize("gnu", [True, False])
def test_every_symbol_is_counted(gnu: bool) -> None:
    rows = [Row("defined", 0x41000), Row("import", defined=False), Row("last", 0x41000)]
    with image_of(writer(rows, gnu=gnu).build()) as image:
        table = dynamic_symbols(image)
        assert table is not None and len(table.rows) == 24 * 4
        symbols = Symbols(image)
    assert sorted(symbols.names_at(0x41000)) == ["defined", "last"] and symbols.find("import") == []


def test_nothing_defined_is_not_hashed() -> None:
    with image_of(writer([Row("import", defined=False)], gnu=True).build()) as image:
        assert dynamic_symbols(image) is None and Symbols(image).sources == []


@pytest.mark.parametrize(("tag", "value"), [(6, 0x1), (5, 1 << 63), (11, 16), (10, 0), (0x6FFFFEF5, 0x41001)])
def test_entries_that_lead_nowhere_give_no_names(tag: int, value: int) -> None:
    data = writer([Row("name", 0x41000)], gnu=True).build()
    with image_of(data) as image:
        place = data.index(struct.pack("<qQ", tag, image.dynamic[tag])) + 8
    with image_of(data[:place] + struct.pack("<Q", value) + data[place + 8 :]) as image:
        assert image.dynamic[tag] == value
        assert Symbols(image).find("name") == []


@pytest.mark.parametrize("word", range(4))
def test_a_hash_table_of_any_size_is_bounded_by_the_file(word: int) -> None:
    data = writer([Row("name", 0x41000)], gnu=True).build()
    with image_of(data) as image:
        place = image.offset_of(image.dynamic[0x6FFFFEF5])
    assert place is not None
    changed = data[: place + 4 * word] + b"\xff\xff\xff\xff" + data[place + 4 * word + 4 :]
    with image_of(changed) as image:
        assert len(Symbols(image).find("name")) <= 1
