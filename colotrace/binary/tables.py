"""The symbol tables of an image, as whole tables of bytes: .symtab, and .dynsym with or without section headers.

A file without section headers still has its dynamic symbols: PT_DYNAMIC tells where the table begins, and only the hash
table tells how long it is (gabi chapter 5, "Hash Table"; the GNU one as in glibc's elf/dl-lookup.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from colotrace.binary.image import Image

ROW = struct.Struct("<IBBHQQ")
"""Elf64_Sym: name, info, other, section, value, size."""
LONGEST_NAME = 4096
_GLOBAL = frozenset((0x11, 0x12, 0x1A, 0x21, 0x22, 0x2A))
"""st_info of STB_GLOBAL or STB_WEAK with STT_OBJECT, STT_FUNC or STT_GNU_IFUNC: one of a name in a program."""
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_GNU_HASH = 4, 5, 6, 10, 11, 0x6FFFFEF5
_DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 7, 8, 23


@dataclass(frozen=True)
class SymbolTable:
    """A symbol table: its rows, the strings that their names are in, and where it was found."""

    source: str
    rows: bytes
    strings: bytes


def symbol_tables(image: Image) -> list[SymbolTable]:
    """The tables of an image, the richer one first."""
    found = [_by_section(image, ".symtab"), _by_section(image, ".dynsym") or _by_hash(image)]
    return [table for table in found if table is not None]


def dynamic_symbols(image: Image) -> SymbolTable | None:
    """The table that relocations refer to."""
    return _by_section(image, ".dynsym") or _by_hash(image)


def relocation_table(image: Image, name: str) -> bytes:
    """The rows of .rela.dyn or .rela.plt; b"" if there are none."""
    section = image.section(name)
    if section is not None:
        return image.contents(section)
    place, size = (_DT_RELA, _DT_RELASZ) if name == ".rela.dyn" else (_DT_JMPREL, _DT_PLTRELSZ)
    return image.read(image.dynamic.get(place, 0), image.dynamic.get(size, 0)) if place in image.dynamic else b""


def contradictions(one: SymbolTable, other: SymbolTable) -> list[str]:
    """The names of global functions and objects that both tables define, at different addresses."""
    known: dict[bytes, set[int]] = {}
    for name, address in _globals(one):
        known.setdefault(name, set()).add(address)
    found: dict[bytes, set[int]] = {}
    for name, address in _globals(other):
        if name in known:
            found.setdefault(name, set()).add(address)
    differing = (name for name, at in found.items() if not (at <= known[name] or at >= known[name]))
    return [name.decode("utf-8", "replace") for name in differing]


def _globals(table: SymbolTable) -> Iterator[tuple[bytes, int]]:
    whole = len(table.rows) - len(table.rows) % ROW.size
    strings = table.strings
    for name_at, info, _other, place, value, _size in ROW.iter_unpack(table.rows[:whole]):
        if place and info in _GLOBAL:
            end = strings.find(b"\0", name_at, name_at + LONGEST_NAME)
            if end > name_at:
                yield strings[name_at:end], value


def _by_section(image: Image, name: str) -> SymbolTable | None:
    section = image.section(name)
    if section is None or section.size == 0 or section.link >= len(image.sections):
        return None
    rows = image.contents(section)
    return SymbolTable(name, rows, image.contents(image.sections[section.link])) if rows else None


def _by_hash(image: Image) -> SymbolTable | None:
    entries = image.dynamic
    if entries.get(_DT_SYMENT, ROW.size) != ROW.size or not {_DT_SYMTAB, _DT_STRTAB, _DT_STRSZ} <= entries.keys():
        return None
    count = _counted_by_gnu_hash(image, entries.get(_DT_GNU_HASH)) or _counted_by_hash(image, entries.get(_DT_HASH))
    rows = image.read(entries[_DT_SYMTAB], count * ROW.size)
    strings = image.read(entries[_DT_STRTAB], entries[_DT_STRSZ])
    if not rows or len(rows) % ROW.size or not strings:
        return None
    return SymbolTable(".dynsym by its hash table", rows, strings)


def _counted_by_hash(image: Image, address: int | None) -> int:
    """nchain, which is the number of symbols."""
    data = image.read(address, 8) if address is not None else b""
    return int(struct.unpack("<II", data)[1]) if len(data) == 8 else 0


def _counted_by_gnu_hash(image: Image, address: int | None) -> int:
    """One more than the last symbol in the last chain; a chain's last word has its lowest bit set."""
    data = image.read(address, 1 << 27) if address is not None else b""
    if len(data) < 16:
        return 0
    buckets, first, bloom, _shift = struct.unpack_from("<4I", data)
    buckets_at = 16 + 8 * bloom
    chains_at = buckets_at + 4 * buckets
    if chains_at > len(data):
        return 0
    last = max((bucket for (bucket,) in struct.iter_unpack("<I", data[buckets_at:chains_at])), default=0)
    if last < first:
        return 0  # only imports: they are not hashed, and not counted anywhere
    at = chains_at + 4 * (last - first)
    while at + 4 <= len(data):
        last += 1
        if data[at] & 1:
            return last
        at += 4
    return 0
