"""A synthetic QEMU without names, and the debug files that give them back."""

from __future__ import annotations

import lzma
import struct
import zlib
from functools import cache

from .coloprogram import IMPORTS, Program, Recipe, build
from .elfwriter import BUILD_ID, FUNC, NOBITS, OBJECT, PF_R, PF_X, PROGBITS, ElfWriter, Section, Symbol

DATA = {"COLOMessage_lookup": 24, "ram_counters": 0x80}


@cache
def all_names() -> frozenset[str]:
    """Whatever a synthetic QEMU exports."""
    return frozenset(name for name in build().labels if " " not in name and "#" not in name and ":" not in name)


def nameless(**recipe: object) -> Program:
    """A synthetic QEMU of which no symbol of its own is left."""
    return build(Recipe(stripped=all_names(), **recipe))  # type: ignore[arg-type]


def symbols_of(program: Program, moved: dict[str, int] | None = None) -> list[Symbol]:
    """The symbols that the program was stripped of; some of them elsewhere."""
    found = [
        Symbol(name, at, DATA.get(name, 16), OBJECT if name in DATA else FUNC)
        for name, at in program.labels.items()
        if name in all_names() - set(IMPORTS)
    ]
    return [Symbol(s.name, (moved or {}).get(s.name, s.value), s.size, s.kind) for s in found]


def debug_file(
    program: Program, build_id: bytes | None = BUILD_ID, symbols: list[Symbol] | None = None, text_size: int = 0
) -> bytes:
    """What objcopy --only-keep-debug leaves of it: the symbols, and .text without bytes."""
    elf = ElfWriter(build_id=build_id, symtab=symbols_of(program) if symbols is None else symbols)
    size = text_size or len(text_of(program))
    elf.sections.append(Section(".text", NOBITS, b"", program.text[0], PF_R | PF_X, size))
    return elf.build()


def text_of(program: Program) -> bytes:
    """The bytes of .text."""
    at = struct.unpack_from("<Q", program.data, 40)[0]
    while True:  # the section header of .text is the one with its address
        if struct.unpack_from("<Q", program.data, at + 16)[0] == program.text[0]:
            offset, size = struct.unpack_from("<QQ", program.data, at + 24)
            return program.data[offset : offset + size]
        at += 64


def with_section(data: bytes, name: str, contents: bytes) -> bytes:
    """The file with one more section at its end, which is not loaded: what `objcopy --add-section` does."""
    out = bytearray(data)
    table, count, names = struct.unpack_from("<Q", out, 40)[0], *struct.unpack_from("<HH", out, 60)
    rows = [list(struct.unpack_from("<IIQQQQIIQQ", out, table + 64 * n)) for n in range(count)]
    strings = bytes(out[rows[names][4] : rows[names][4] + rows[names][5]])
    rows[names][4], rows[names][5] = len(out), len(strings) + len(name) + 1
    out += strings + name.encode() + b"\0"
    rows.append([len(strings), PROGBITS, 0, 0, len(out), len(contents), 0, 0, 1, 0])
    out += contents
    struct.pack_into("<Q", out, 40, len(out))
    struct.pack_into("<H", out, 60, count + 1)
    return bytes(out + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows))


def link_to(name: str, data: bytes) -> bytes:
    """The contents of .gnu_debuglink for a file."""
    text = name.encode() + b"\0"
    return text + bytes(-len(text) % 4) + struct.pack("<I", zlib.crc32(data))


def minidebug(debug: bytes) -> bytes:
    """The contents of .gnu_debugdata."""
    return lzma.compress(debug, lzma.FORMAT_XZ)
