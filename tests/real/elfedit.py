"""Debian's QEMU with less in it: no names of its own, no section headers; for tests of where names can come from."""

from __future__ import annotations

import struct

_SYMBOL, _SECTION = struct.Struct("<IBBHQQ"), struct.Struct("<IIQQQQIIQQ")
_RELA = struct.Struct("<QQq")
_SHT_SYMTAB, _SHT_RELA, _SHT_DYNSYM = 2, 4, 11


def without_names(data: bytes) -> bytes:
    """The file without the names of what it defines itself; what it imports keeps its name, as it must.

    So does the little that the dynamic linker looks up in the file itself: it still runs.
    """
    out = bytearray(data)
    needed = _relocated(data)
    table = struct.unpack_from("<Q", data, 40)[0]
    for n, (_, kind, _, _, offset, size, *_) in enumerate(_sections(data)):
        if kind == _SHT_DYNSYM:
            for at in range(offset, offset + size, _SYMBOL.size):
                if _SYMBOL.unpack_from(out, at)[3] and (at - offset) // _SYMBOL.size not in needed:
                    struct.pack_into("<I", out, at, 0)
        elif kind == _SHT_SYMTAB:
            struct.pack_into("<I", out, table + n * _SECTION.size + 4, 0)  # SHT_NULL
            struct.pack_into("<Q", out, table + n * _SECTION.size + 32, 0)
    return bytes(out)


def without_section_headers(data: bytes) -> bytes:
    """The file as `strip --strip-section-headers` leaves it."""
    out = bytearray(data)
    struct.pack_into("<Q", out, 40, 0)
    struct.pack_into("<HHH", out, 58, 0, 0, 0)
    return bytes(out)


def exported(data: bytes) -> dict[int, set[str]]:
    """Address -> the names that .dynsym has for it."""
    names: dict[int, set[str]] = {}
    rows = _sections(data)
    for _, kind, _, _, offset, size, link, *_ in rows:
        if kind == _SHT_DYNSYM:
            strings = rows[link][4]
            for name, _info, _other, defined, value, _size in _SYMBOL.iter_unpack(data[offset : offset + size]):
                if defined:
                    end = data.index(b"\0", strings + name)
                    names.setdefault(value, set()).add(data[strings + name : end].decode())
    return names


def _relocated(data: bytes) -> set[int]:
    """The indices of the symbols that relocations refer to."""
    return {
        info >> 32
        for _, kind, _, _, offset, size, *_ in _sections(data)
        if kind == _SHT_RELA
        for _, info, _ in _RELA.iter_unpack(data[offset : offset + size])
    }


def _sections(data: bytes) -> list[tuple[int, ...]]:
    table, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    return list(_SECTION.iter_unpack(data[table : table + count * _SECTION.size]))
