"""Names from .symtab and .dynsym: found twice is not found, and where each one came from."""

from __future__ import annotations

import pytest

from colotrace.binary.symbols import Symbol, Symbols
from colotrace.errors import BinaryError

from .decoding import image_of
from .elfwriter import IFUNC, NOTYPE, OBJECT, ElfWriter
from .elfwriter import Symbol as Row


def symbols_of(dynsym: list[Row] | None = None, symtab: list[Row] | None = None) -> Symbols:
    elf = ElfWriter(dynsym=dynsym or [], symtab=symtab or [])
    elf.text(0x41000, b"\xc3")
    with image_of(elf.build()) as image:
        return Symbols(image)


def test_one_of_a_name() -> None:
    symbols = symbols_of([Row("a", 0x1000, 16), Row("b", 0x2000, 8, OBJECT), Row("c", 0x3000, 0, IFUNC)])
    a, b, c = symbols.one("a"), symbols.one("b"), symbols.one("c")
    assert a and (a.name, a.address, a.size, a.is_function, a.source) == ("a", 0x1000, 16, True, ".dynsym")
    assert b and not b.is_function
    assert c and c.is_function
    assert symbols.one("d") is None and symbols.find("d") == []
    assert symbols.sources == [".dynsym"]


def test_two_of_a_name_are_not_one() -> None:
    symbols = symbols_of(symtab=[Row("twice", 0x1000, 16), Row("twice", 0x2000, 16)])
    assert symbols.one("twice") is None
    assert [s.address for s in symbols.find("twice")] == [0x1000, 0x2000]
    assert symbols.names_at(0x1000) == symbols.names_at(0x2000) == ["twice"]


def test_the_same_symbol_in_both_tables_is_one() -> None:
    symbols = symbols_of([Row("both", 0x1000, 16)], [Row("both", 0x1000, 16), Row("local", 0x2000, 4)])
    both = symbols.one("both")
    assert both is not None and both.source == ".symtab"
    assert symbols.names_at(0x1000) == ["both"] and symbols.names_at(0x2000) == ["local"]
    assert symbols.sources == [".symtab", ".dynsym"]


def test_two_tables_that_differ_are_ambiguous() -> None:
    symbols = symbols_of([Row("moved", 0x1000)], [Row("moved", 0x1010)])
    assert symbols.one("moved") is None and len(symbols.find("moved")) == 2


def test_two_names_of_one_address() -> None:
    symbols = symbols_of([Row("name", 0x1000, 16), Row("alias", 0x1000, 16), Row("data", 0x1000, 8, OBJECT)])
    assert symbols.names_at(0x1000) == ["name", "alias"], "objects do not count"


def test_zero_size_counts() -> None:
    """Assembler code has symbols without a size."""
    symbols = symbols_of([Row("sizeless", 0x1000, 0)])
    found = symbols.one("sizeless")
    assert found is not None and found.size == 0 and symbols.names_at(0x1000) == ["sizeless"]


@pytest.mark.parametrize(
    "row", [Row("import", defined=False), Row("label", 0x1000, 0, NOTYPE), Row("", 0x1000), Row("file", 0x1000, 0, 4)]
)
def test_what_is_no_function_and_no_object_is_left_out(row: Row) -> None:
    symbols = symbols_of([row, Row("other", 0x2000)])
    assert symbols.find(row.name) == [] and symbols.names_at(0x1000) == []
    assert symbols.one("other") is not None


def test_a_stripped_file() -> None:
    symbols = symbols_of()
    assert symbols.sources == [] and symbols.find("main") == []


def test_a_table_cut_in_the_middle_of_a_row_is_damage() -> None:
    elf = ElfWriter(dynsym=[Row("a", 0x1000), Row("b", 0x2000)])
    elf.text(0x41000, b"\xc3")
    data = bytearray(elf.build())
    with image_of(bytes(data)) as image:
        at = next(n for n, s in enumerate(image.sections) if s.name == ".dynsym")
    place = int.from_bytes(data[40:48], "little") + 64 * at + 32  # sh_size
    data[place : place + 8] = (24 * 2 + 23).to_bytes(8, "little")
    with pytest.raises(BinaryError, match="damaged"), image_of(bytes(data)):
        pass


def test_a_name_that_ends_another_is_found_where_linkers_share_strings() -> None:
    """.strtab has "colo_vm_start" once; "vm_start" points into it."""
    elf = ElfWriter(dynsym=[Row("colo_vm_start", 0x1000), Row("XXXXXXX1", 0x2000)])
    elf.text(0x41000, b"\xc3")
    data = bytearray(elf.build())
    with image_of(bytes(data)) as image:
        rows, strings = image.section(".dynsym"), image.section(".dynstr")
        assert rows and strings
        inside = image.contents(strings).index(b"vm_start")
    data[rows.offset + 48 : rows.offset + 52] = inside.to_bytes(4, "little")
    with image_of(bytes(data)) as image:
        symbols = Symbols(image)
        assert [s.address for s in symbols.find("vm_start")] == [0x2000]
        assert [s.address for s in symbols.find("colo_vm_start")] == [0x1000]
        assert symbols.find("m_start") == [] and symbols.find("") == []


def test_sources_that_contradict_each_other_are_told() -> None:
    symbols = symbols_of([Row("moved", 0x1000), Row("same", 0x5000)], [Row("moved", 0x1010), Row("same", 0x5000)])
    assert symbols.one("moved") is None and symbols.names_at(0x1000) == [] and symbols.names_at(0x1010) == []
    assert symbols.conflicts == {"moved": ".symtab and .dynsym have it at different addresses"}
    assert symbols.one("same") and symbols.names_at(0x5000) == ["same"]


def test_statics_of_one_name_beside_the_exported_one_are_no_contradiction() -> None:
    symbols = symbols_of([Row("twice", 0x1000)], [Row("twice", 0x1000), Row("twice", 0x2000)])
    assert symbols.one("twice") is None and symbols.conflicts == {}


def test_many_symbols_of_one_address() -> None:
    symbols = symbols_of([Row(f"folded{n}", 0x1000) for n in range(100)])
    assert symbols.names_at(0x1000) == [f"folded{n}" for n in range(100)]


def test_symbols_that_are_added_have_their_own_source() -> None:
    symbols = symbols_of([Row("known", 0x1000)])
    assert symbols.find("inferred") == []
    symbols.add([Symbol("inferred", 0x1000, 0, True, "evidence"), Symbol("known", 0x3000, 0, True, "evidence")])
    found = symbols.one("inferred")
    assert found and found.source == "evidence" and symbols.sources == [".dynsym", "evidence"]
    assert symbols.one("known") is None and "known" in symbols.conflicts, "what is inferred overwrites nothing"
    assert symbols.names_at(0x1000) == ["inferred"] and symbols.names_at(0x3000) == [], "and is not believed, either"
