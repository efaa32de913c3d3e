"""Names for addresses, from the tables a binary has: .symtab where it is, .dynsym where it is not stripped of that."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from colotrace.binary.image import Image

_SYM = struct.Struct("<IBBHQQ")
_SOURCES = (".symtab", ".dynsym")
_STT_OBJECT, _STT_FUNC, _STT_GNU_IFUNC = 1, 2, 10


@dataclass(frozen=True)
class Symbol:
    """A defined function or object."""

    name: str
    address: int
    size: int
    is_function: bool
    source: str


class Symbols:
    """The defined functions and objects of an image, by name and by address.

    A name can stand for several addresses (static functions of one name): `find` answers all of them, and it is the
    caller's to refuse an ambiguous one.
    """

    def __init__(self, image: Image) -> None:
        self._by_name: dict[str, dict[int, Symbol]] = {}
        self._by_address: dict[int, list[Symbol]] = {}
        self.sources: list[str] = []
        for source in _SOURCES:
            section = image.section(source)
            if section is None or section.size == 0 or section.link >= len(image.sections):
                continue
            self.sources.append(source)
            self._read(image.contents(section), image.contents(image.sections[section.link]), source)

    def _read(self, table: bytes, strings: bytes, source: str) -> None:
        whole = len(table) - len(table) % _SYM.size
        for name_at, info, _other, index, value, size in _SYM.iter_unpack(table[:whole]):
            kind = info & 0xF
            if index == 0 or kind not in (_STT_OBJECT, _STT_FUNC, _STT_GNU_IFUNC):
                continue
            end = strings.find(b"\0", name_at)
            if end <= name_at:
                continue
            name = strings[name_at:end].decode("utf-8", "replace")
            known = self._by_name.setdefault(name, {})
            if value not in known:
                known[value] = Symbol(name, value, size, kind != _STT_OBJECT, source)
                self._by_address.setdefault(value, []).append(known[value])

    def find(self, name: str) -> list[Symbol]:
        """All symbols of that name, at different addresses."""
        return list(self._by_name.get(name, {}).values())

    def one(self, name: str) -> Symbol | None:
        """The symbol of that name if there is exactly one."""
        found = self.find(name)
        return found[0] if len(found) == 1 else None

    def names_at(self, address: int) -> list[str]:
        """The names of the functions that begin at an address."""
        return [symbol.name for symbol in self._by_address.get(address, ()) if symbol.is_function]
