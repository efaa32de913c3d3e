"""What the dynamic linker will write: names behind PLT stubs and GOT slots, and pointers in data."""

from __future__ import annotations

import struct

from colotrace.binary.image import Image
from colotrace.binary.machines import ISAS
from colotrace.binary.tables import ROW, dynamic_symbols, relocation_table

_RELA = struct.Struct("<QQq")
_MOST_POINTERS = 64


class Relocations:
    """Lookups in an image's .rela.dyn and .rela.plt."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._isa = ISAS[image.machine]
        self._dynamic = relocation_table(image, ".rela.dyn")
        self._plt = relocation_table(image, ".rela.plt")
        self._plt_slots: dict[int, str] | None = None

    def pointer_at(self, address: int) -> int | None:
        """The pointer that data at `address` will hold at run time, less the load bias."""
        if not 0 <= address < 1 << 64:
            return None
        row = _find_row(self._dynamic, struct.pack("<QQ", address, self._isa.relative))
        if row is not None:
            return int(_RELA.unpack_from(self._dynamic, row)[2])
        data = self._image.read(address, 8)
        return int.from_bytes(data, "little") or None if len(data) == 8 else None

    def pointers_to(self, address: int) -> list[int]:
        """Where data will hold a pointer to an address, as far as relocations tell it."""
        wanted, found = struct.pack("<Qq", self._isa.relative, address), list[int]()
        at = self._dynamic.find(wanted)
        while at >= 0 and len(found) < _MOST_POINTERS:
            if at % _RELA.size == 8:
                found.append(int(_RELA.unpack_from(self._dynamic, at - 8)[0]))
            at = self._dynamic.find(wanted, at + 1)
        return found

    def slot_name(self, slot: int) -> str | None:
        """The name of the function whose address the GOT slot at `slot` will hold; None if it is not known."""
        if self._plt_slots is None:
            self._plt_slots = self._read_slots()
        return self._plt_slots.get(slot)

    def _read_slots(self) -> dict[int, str]:
        symbols = dynamic_symbols(self._image)
        if symbols is None:
            return {}
        table, strings = symbols.rows, symbols.strings
        slots = {}
        for rows, wanted in ((self._plt, self._isa.jump_slot), (self._dynamic, self._isa.glob_dat)):
            for offset, info, _addend in _RELA.iter_unpack(rows[: len(rows) - len(rows) % _RELA.size]):
                if info & 0xFFFFFFFF != wanted or ((info >> 32) + 1) * ROW.size > len(table):
                    continue
                name_at = ROW.unpack_from(table, (info >> 32) * ROW.size)[0]
                end = strings.find(b"\0", name_at)
                slots[offset] = strings[name_at:end].decode("utf-8", "replace")
        return slots


def _find_row(rows: bytes, start: bytes) -> int | None:
    """Where the row that begins with `start` begins; rows are found by a search of the bytes, 100 times faster."""
    at = rows.find(start)
    while at >= 0:
        if at % _RELA.size == 0:
            return at
        at = rows.find(start, at + 1)
    return None
