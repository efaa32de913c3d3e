"""The structure of an ELF file as data: header, program headers, section headers, notes, dynamic entries.

Whole tables are read at once, because a QEMU has dozens of headers and a library that makes an object with a hash table
of each takes longer than everything else together. The layouts are those of the ELF-64 object file format and of
gabi chapters 4 and 5; only little-endian 64-bit files are read, and what others there are is told from the header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_X86_64, EM_AARCH64 = 62, 183
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME = 1, 2, 4, 0x6474E550
SHT_NOBITS = 8
SHF_ALLOC, SHF_COMPRESSED = 2, 1 << 11
NT_GNU_BUILD_ID, NT_STAPSDT = 3, 3
MOST_SEGMENTS, MOST_SECTIONS, MOST_NOTES, MOST_DYNAMIC = 512, 4096, 65536, 4096
"""Bounds for hostile files: a QEMU has 14 segments, 60 sections, 60 dynamic entries, and up to 10,000 notes: one
for each place of a USDT probe."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOTE = struct.Struct("<III")
_DYNAMIC = struct.Struct("<qQ")
_KINDS = {
    0: "SHT_NULL", 1: "SHT_PROGBITS", 2: "SHT_SYMTAB", 3: "SHT_STRTAB", 4: "SHT_RELA", 5: "SHT_HASH",
    6: "SHT_DYNAMIC", 7: "SHT_NOTE", 8: "SHT_NOBITS", 9: "SHT_REL", 11: "SHT_DYNSYM", 0x6FFFFFF6: "SHT_GNU_HASH",
}  # fmt: skip
_ROW_SIZES = {2: 24, 4: 24, 11: 24}
"""The bytes of a row in .symtab, .rela* and .dynsym."""


class Buffer(Protocol):
    """What a file's bytes are read from: bytes, or a map of the file."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: slice, /) -> bytes: ...
    def find(self, what: bytes, start: int = ..., end: int = ..., /) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Header:
    """The file header. `bits` and `little_endian` are known of any ELF file, the tables' places of a readable one."""

    bits: int
    little_endian: bool
    kind: int
    machine: int
    entry: int = 0
    program_offset: int = 0
    program_count: int = 0
    section_offset: int = 0
    section_count: int = 0
    names_index: int = 0

    @property
    def end(self) -> int:
        """Where the last of the header tables ends in the file."""
        return max(
            _HEADER.size,
            self.program_offset + self.program_count * _PROGRAM.size,
            self.section_offset + self.section_count * _SECTION.size,
        )


@dataclass(frozen=True)
class ProgramHeader:
    """A row of the program header table."""

    kind: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int


@dataclass(frozen=True)
class Section:
    """A section, by name."""

    name: str
    kind: str
    address: int
    offset: int
    size: int
    entry_size: int
    link: int
    flags: int = 0

    @property
    def in_file(self) -> bool:
        """Whether it has bytes in the file."""
        return self.kind != "SHT_NOBITS"


@dataclass(frozen=True)
class Note:
    """A note: who defined it, its type, and what it says."""

    owner: bytes
    kind: int
    data: bytes


def read_header(data: Buffer) -> Header:
    """The header of a file of at least 64 bytes that begins with ELF's magic; ValueError says what is wrong with it.

    Of a file of other bits or byte order only those, its type and its machine are read.
    """
    ident = data[0:16]
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise ValueError(f"its header has no such class and byte order: {ident[4]}, {ident[5]}")
    bits, little = 32 * ident[4], ident[5] == 1
    kind, machine = struct.unpack("<HH" if little else ">HH", data[16:20])
    if bits != 64 or not little:
        return Header(bits, little, kind, machine)
    (_, _, _, _, entry, program_offset, section_offset, _, _, program_size, program_count, section_size,
     section_count, names_index) = _HEADER.unpack(data[0:_HEADER.size])  # fmt: skip
    if program_count and program_size != _PROGRAM.size:
        raise ValueError(f"its program headers have {program_size} bytes each")
    if section_offset == 0:
        section_count = 0
    elif section_size != _SECTION.size:
        raise ValueError(f"its section headers have {section_size} bytes each")
    elif section_count == 0 or names_index == 0xFFFF:  # more than fit: the first row has the numbers
        first = data[section_offset : section_offset + _SECTION.size]
        if len(first) == _SECTION.size:
            row = _SECTION.unpack(first)
            section_count = section_count or row[5]
            names_index = row[6] if names_index == 0xFFFF else names_index
    if program_count > MOST_SEGMENTS:
        raise ValueError(f"it has {program_count} program headers, and {MOST_SEGMENTS} are the most that are read")
    if section_count > MOST_SECTIONS:
        raise ValueError(f"it has {section_count} sections, and {MOST_SECTIONS} are the most that are read")
    return Header(
        bits, little, kind, machine, entry, program_offset, program_count, section_offset, section_count, names_index
    )


def read_program_headers(data: Buffer, header: Header) -> list[ProgramHeader]:
    """All program headers; the caller has seen to it that the table is within the file."""
    start = header.program_offset
    rows = _PROGRAM.iter_unpack(data[start : start + header.program_count * _PROGRAM.size])
    return [
        ProgramHeader(kind, flags, offset, address, file_size, memory_size)
        for kind, flags, offset, address, _physical, file_size, memory_size, _align in rows
    ]


def read_sections(data: Buffer, header: Header) -> list[Section]:
    """All sections, the empty first one included. ValueError if their names cannot be read."""
    start = header.section_offset
    rows = list(_SECTION.iter_unpack(data[start : start + header.section_count * _SECTION.size]))
    if not rows:
        return []
    if header.names_index >= len(rows):
        raise ValueError("the names of its sections are in a section that it does not have")
    for _, kind, _, _, _, size, *_ in rows:
        row_size = _ROW_SIZES.get(kind)
        if row_size and size % row_size:
            raise ValueError(f"a table of {size} bytes has no whole number of rows of {row_size}")
    names_at, names_size = rows[header.names_index][4:6]
    names = data[names_at : names_at + min(names_size, 1 << 20)]
    return [
        Section(
            names[name : max(name, names.find(b"\0", name))].decode("utf-8", "replace"),
            _KINDS.get(kind, str(kind)),
            address,
            offset,
            size,
            entry_size,
            link,
            flags,
        )
        for name, kind, flags, address, offset, size, link, _info, _align, entry_size in rows
    ]


def read_notes(data: bytes) -> Iterator[Note]:
    """The notes in a note segment or section; ends at the first one that is cut off. Each part is padded to 4 bytes."""
    at = 0
    for _ in range(MOST_NOTES):
        if at + _NOTE.size > len(data):
            return
        owner_size, size, kind = _NOTE.unpack_from(data, at)
        owner_at = at + _NOTE.size
        content_at = owner_at + owner_size + -owner_size % 4
        if content_at + size > len(data):
            return
        yield Note(data[owner_at : owner_at + owner_size].rstrip(b"\0"), kind, data[content_at : content_at + size])
        at = content_at + size + -size % 4


def read_dynamic(data: bytes) -> dict[int, int]:
    """The dynamic entries by tag, up to DT_NULL; of several of one tag the first."""
    entries: dict[int, int] = {}
    whole = min(len(data) - len(data) % _DYNAMIC.size, MOST_DYNAMIC * _DYNAMIC.size)
    for tag, value in _DYNAMIC.iter_unpack(data[:whole]):
        if tag == 0:
            break
        entries.setdefault(tag, value)
    return entries
