"""The tests' own ELF writer: other readers understand what it writes."""

from __future__ import annotations

import io

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import NoteSegment

from .coloprogram import Recipe, build
from .elfwriter import BUILD_ID, ElfWriter, Symbol


@pytest.mark.parametrize("skew", [0, 5])
def test_pyelftools_reads_it(skew: int) -> None:
    program = build(Recipe(skew=skew))
    elf = ELFFile(io.BytesIO(program.data))
    assert (elf.get_machine_arch(), elf.elfclass, elf["e_type"]) == ("x64", 64, "ET_DYN")
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(symbols, SymbolTableSection)
    found = symbols.get_symbol_by_name("colo_process_incoming_thread")
    assert found is not None and len(found) == 1
    root = found[0]
    assert root["st_value"] == program.labels["colo_process_incoming_thread"] and root["st_size"] > 500
    plt = elf.get_section_by_name(".rela.plt")
    assert isinstance(plt, RelocationSection)
    names = [symbols.get_symbol(row["r_info_sym"]).name for row in plt.iter_relocations()]
    assert names == ["g_realloc", "error_report", "timer_free"]
    notes = [note for s in elf.iter_segments() if isinstance(s, NoteSegment) for note in s.iter_notes()]
    assert [note["n_desc"] for note in notes] == [BUILD_ID.hex()]


@pytest.mark.parametrize("skew", [0, 5])
def test_offsets_are_not_addresses(skew: int) -> None:
    elf = ELFFile(io.BytesIO(build(Recipe(skew=skew)).data))
    loads = list(elf.iter_segments("PT_LOAD"))
    assert len(loads) > 5
    for load in loads:
        assert load["p_offset"] != load["p_vaddr"]
        assert load["p_offset"] % 0x1000 == load["p_vaddr"] % 0x1000


def test_sections_lie_where_segments_put_them() -> None:
    elf = ELFFile(io.BytesIO(build().data))
    for section in elf.iter_sections():
        if section["sh_flags"] & 2 and section["sh_type"] != "SHT_NOBITS":
            assert list(elf.address_offsets(section["sh_addr"], section["sh_size"])) == [section["sh_offset"]]


def test_both_symbol_tables() -> None:
    writer = ElfWriter(dynsym=[Symbol("one", 0x1000)], symtab=[Symbol("two", 0x2000), Symbol("three", defined=False)])
    writer.text(0x1000, b"\xc3")
    elf = ELFFile(io.BytesIO(writer.build()))
    found = {}
    for name in (".dynsym", ".symtab"):
        table = elf.get_section_by_name(name)
        assert isinstance(table, SymbolTableSection)
        found[name] = [(symbol.name, symbol["st_shndx"]) for symbol in table.iter_symbols()]
    null = ("", "SHN_UNDEF")
    assert found == {".dynsym": [null, ("one", 1)], ".symtab": [null, ("two", 1), ("three", "SHN_UNDEF")]}
