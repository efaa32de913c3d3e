"""Writes ELF files for x86-64 byte by byte: segments, sections, symbols, relocations, PLT, unwind index, build-id.

Addresses are the caller's; file offsets are the writer's: every section of memory gets a PT_LOAD of its own, whose
offset equals its address only in the last 12 bits, as lld lays files out.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from .asm import Assembler

EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME = 1, 2, 4, 0x6474E550
PF_X, PF_W, PF_R = 1, 2, 4
PROGBITS, SYMTAB, STRTAB, RELA, DYNAMIC, NOBITS, NOTE, DYNSYM = 1, 2, 3, 4, 6, 8, 7, 11
NOTYPE, OBJECT, FUNC, IFUNC = 0, 1, 2, 10
RELATIVE, GLOB_DAT, JUMP_SLOT = 8, 6, 7
BUILD_ID = bytes(range(0xA0, 0xB4))
_PAGE = 0x1000


@dataclass(frozen=True)
class Symbol:
    """A symbol; `defined` False makes it an import."""

    name: str
    value: int = 0
    size: int = 0
    kind: int = FUNC
    defined: bool = True


@dataclass
class Section:
    """A section; one with an address and a place in memory gets a PT_LOAD. `size` is .bss's."""

    name: str
    kind: int
    data: bytes = b""
    address: int = 0
    flags: int = 0
    size: int = 0
    link: str = ""
    entry_size: int = 0
    offset: int = 0

    def length(self) -> int:
        """Its size in memory."""
        return self.size or len(self.data)


class Strings:
    """A string table."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        """The offset of a string in it."""
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at if text else 0


@dataclass
class ElfWriter:
    """Collects what is in the file; `build` lays it out."""

    machine: int = EM_X86_64
    kind: int = ET_DYN
    skew: int = 0
    """Added to all file offsets, in pages; offsets differ from addresses even without it."""
    build_id: bytes | None = BUILD_ID
    section_headers: bool = True
    dynamic_at: int = 0
    """Where in memory to put the dynamic symbols and relocations, with a PT_DYNAMIC; 0: only section headers tell."""
    gnu_hash: bool = True
    """Which hash table that PT_DYNAMIC speaks of: DT_GNU_HASH or DT_HASH."""
    dynsym: list[Symbol] = field(default_factory=list)
    symtab: list[Symbol] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    _dynamic: list[tuple[int, int, str, int]] = field(default_factory=list)
    _plt: list[tuple[int, str]] = field(default_factory=list)

    def text(self, address: int, data: bytes, name: str = ".text") -> None:
        """Adds code."""
        self.sections.append(Section(name, PROGBITS, data, address, PF_R | PF_X))

    def rodata(self, address: int, data: bytes, name: str = ".rodata") -> None:
        """Adds constants."""
        self.sections.append(Section(name, PROGBITS, data, address, PF_R))

    def relro(self, address: int, data: bytes) -> None:
        """Adds data that holds relocated pointers."""
        self.sections.append(Section(".data.rel.ro", PROGBITS, data, address, PF_R | PF_W))

    def bss(self, address: int, size: int) -> None:
        """Adds zeroed memory without bytes in the file."""
        self.sections.append(Section(".bss", NOBITS, b"", address, PF_R | PF_W, size))

    def relative(self, address: int, addend: int) -> None:
        """R_X86_64_RELATIVE: at run time the word at `address` holds `addend` plus the load bias."""
        self._dynamic.append((address, RELATIVE, "", addend))

    def glob_dat(self, slot: int, name: str) -> None:
        """R_X86_64_GLOB_DAT: the slot holds the address of an imported function."""
        self._dynamic.append((slot, GLOB_DAT, name, 0))

    def plt(
        self, address: int, slots: int, names: list[str], *, endbr: bool = True, bnd: bool = False
    ) -> dict[str, int]:
        """Adds .plt stubs of 16 bytes for imported functions, and their slots' relocations; name -> stub."""
        asm, stubs = Assembler(address), {}
        for n, name in enumerate(names):
            stubs[name] = asm.here
            if endbr:
                asm.endbr64()
            asm.jmp_slot(f"slot {n}", b"\xf2" if bnd else b"")
            asm.align()
            self._plt.append((slots + 8 * n, name))
        self.text(address, asm.assemble({f"slot {n}": slots + 8 * n for n in range(len(names))}), ".plt")
        self.sections.append(Section(".got.plt", PROGBITS, bytes(8 * len(names)), slots, PF_R | PF_W))
        self.dynsym += [Symbol(name, defined=False) for name in names]
        return stubs

    def eh_frame(self, address: int, ranges: list[tuple[int, int]]) -> None:
        """Adds .eh_frame_hdr and .eh_frame (the fields that bounds are read from) for (start, end) of functions."""
        frame, frames = bytearray(), address + _PAGE * (1 + len(ranges) * 8 // _PAGE)
        header = struct.pack("<BBBBiI", 1, 0x1B, 0x03, 0x3B, frames - address - 4, len(ranges))
        for start, end in sorted(ranges):
            fde = frames + len(frame)
            frame += struct.pack("<IIiI", 12, 4, start - (fde + 8), end - start)
            header += struct.pack("<ii", start - address, fde - address)
        self.rodata(address, header, ".eh_frame_hdr")
        self.rodata(frames, bytes(frame), ".eh_frame")

    def _tables(self) -> list[Section]:
        tables = []
        names, index = Strings(), {}
        if self.dynamic_at:
            self.dynsym.sort(key=lambda symbol: symbol.defined)  # as DT_GNU_HASH wants it
        if self.dynsym:
            index = {symbol.name: n + 1 for n, symbol in enumerate(self.dynsym)}
            tables += [Section(".dynsym", DYNSYM, _symbols(self.dynsym, names), link=".dynstr", entry_size=24)]
            tables += [Section(".dynstr", STRTAB, names.data)]
        rows = [(at, kind | index.get(name, 0) << 32, addend) for at, kind, name, addend in self._dynamic]
        plt = [(at, JUMP_SLOT | index.get(name, 0) << 32, 0) for at, name in self._plt]
        for title, table in ((".rela.dyn", rows), (".rela.plt", plt)):
            if table:
                data = b"".join(struct.pack("<QQq", *row) for row in table)
                tables.append(Section(title, RELA, data, link=".dynsym" if self.dynsym else "", entry_size=24))
        if self.dynamic_at:
            tables += self._hashed(tables)
        if self.symtab:
            local = Strings()
            tables += [Section(".symtab", SYMTAB, _symbols(self.symtab, local), link=".strtab", entry_size=24)]
            tables += [Section(".strtab", STRTAB, local.data)]
        return tables

    def _hashed(self, tables: list[Section]) -> list[Section]:
        """Gives the dynamic tables their places in memory; the hash table and PT_DYNAMIC that lead to them."""
        imports = sum(not symbol.defined for symbol in self.dynsym)
        defined = [symbol.name for symbol in self.dynsym[imports:]]
        if self.gnu_hash:  # one bucket: the chain is all there is to follow
            chain = [gnu_hash(name) & ~1 | (name is defined[-1]) for name in defined]
            data = struct.pack("<4IQI", 1, imports + 1, 1, 0, (1 << 64) - 1, imports + 1 if defined else 0)
            data += struct.pack(f"<{len(chain)}I", *chain)
        else:
            count = len(self.dynsym) + 1
            data = struct.pack("<3I", 1, count, count - 1) + struct.pack(f"<{count}I", 0, *range(count - 1))
        added = [Section(".gnu.hash" if self.gnu_hash else ".hash", PROGBITS, data), Section(".dynamic", DYNAMIC)]
        at = self.dynamic_at
        for section in [*tables, *added]:
            section.address, section.flags = at, PF_R
            at += _PAGE * (1 + len(section.data) // _PAGE)
        place = {section.name: section for section in tables}
        tags = [(0x6FFFFEF5 if self.gnu_hash else 4, added[0].address), (11, 24)]
        for name, start, size in ((".dynsym", 6, 0), (".dynstr", 5, 10), (".rela.dyn", 7, 8), (".rela.plt", 23, 2)):
            if name in place:
                tags.append((start, place[name].address))
                tags += [(size, len(place[name].data))] if size else []
        added[1].data = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (0, 0)])
        return added

    def build(self) -> bytes:
        """The file's bytes."""
        sections = [Section("", 0), *self.sections]
        if self.build_id is not None:
            note = struct.pack("<III", 4, len(self.build_id), 3) + b"GNU\0" + self.build_id
            sections.append(Section(".note.gnu.build-id", NOTE, note))
        sections += self._tables()
        names = Strings()
        sections.append(Section(".shstrtab", STRTAB))
        name_at = [names.add(section.name) for section in sections]
        sections[-1].data = names.data
        loads = [section for section in sections if section.flags]
        out = bytearray(_PAGE * (1 + self.skew))
        for section in sections[1:]:
            out += bytes((section.address - len(out)) % _PAGE if section.flags else -len(out) % 8)
            section.offset = len(out)
            out += section.data
        out += bytes(-len(out) % 8)
        headers = [(PT_LOAD, s.flags, s.offset, s.address, s.address, len(s.data), s.length(), _PAGE) for s in loads]
        for section in sections:
            kind = {NOTE: PT_NOTE, DYNAMIC: PT_DYNAMIC}.get(section.kind, 0)
            kind = PT_GNU_EH_FRAME if section.name == ".eh_frame_hdr" else kind
            if kind:
                size = len(section.data)
                headers.append((kind, PF_R, section.offset, section.address, section.address, size, size, 4))
        index = {section.name: n for n, section in enumerate(sections)}
        table = b"".join(
            struct.pack("<IIQQQQIIQQ", at, s.kind, bool(s.flags) * 2, s.address, s.offset, s.length(),
                        index.get(s.link, 0) if s.link else 0, 0, 8, s.entry_size)
            for at, s in zip(name_at, sections, strict=True)
        )  # fmt: skip
        shown = len(sections) if self.section_headers else 0
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        entry = next((s.address for s in loads if s.flags & PF_X), 0)
        out[:64] = struct.pack(
            "<16sHHIQQQIHHHHHH", ident, self.kind, self.machine, 1, entry, 64, len(out) if shown else 0, 0,
            64, 56, len(headers), 64, shown, shown - 1 if shown else 0,
        )  # fmt: skip
        assert 64 + 56 * len(headers) <= _PAGE
        for n, header in enumerate(headers):
            struct.pack_into("<IIQQQQQQ", out, 64 + 56 * n, *header)
        return bytes(out + table if shown else out)


def gnu_hash(name: str) -> int:
    """The hash of DT_GNU_HASH."""
    value = 5381
    for byte in name.encode():
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def _symbols(symbols: list[Symbol], names: Strings) -> bytes:
    data = bytes(24)
    for symbol in symbols:
        name, info, place = names.add(symbol.name), 1 << 4 | symbol.kind, int(symbol.defined)
        data += struct.pack("<IBBHQQ", name, info, 0, place, symbol.value, symbol.size)
    return data


def elf32(machine: int = EM_386) -> bytes:
    """A 32 bit program of nothing but its header (and a pad, to be as long as a 64 bit one)."""
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    return struct.pack("<16sHHIIIIIHHHHHH", ident, ET_EXEC, machine, 1, 0, 0, 0, 0, 52, 32, 0, 40, 0, 0) + bytes(64)


@contextlib.contextmanager
def file_of(data: bytes) -> Iterator[str]:
    """A path to a file in memory that holds `data`."""
    descriptor = os.memfd_create("elf")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
