"""Names for addresses, from every source a binary has, each symbol with the source that it came from."""

from __future__ import annotations

import array
import itertools
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from colotrace.binary.image import Image
from colotrace.binary.tables import LONGEST_NAME, ROW, SymbolTable, contradictions, symbol_tables

_STT_OBJECT, _STT_FUNC, _STT_GNU_IFUNC = 1, 2, 10
_KINDS = (_STT_OBJECT, _STT_FUNC, _STT_GNU_IFUNC)
_NAME = struct.Struct("<I")


@dataclass(frozen=True)
class Symbol:
    """A defined function or object. `evidence` says how the name was come by, where no table has it."""

    name: str
    address: int
    size: int
    is_function: bool
    source: str
    evidence: str = ""


class Symbols:
    """The defined functions and objects of an image, by name and by address.

    A name can stand for several addresses (static functions of one name, or sources that contradict each other): `find`
    answers all of them, and it is the caller's to refuse an ambiguous one. `conflicts` has the names on which sources
    contradict each other: those stand for no address. `notes` tells why a source was not used.
    """

    def __init__(self, image: Image, more: Iterable[SymbolTable] = ()) -> None:
        self._tables: list[_Lookup] = []
        self._found: dict[str, list[Symbol]] = {}
        self._given: dict[str, list[Symbol]] = {}
        self._given_at: dict[int, list[Symbol]] = {}
        self.sources: list[str] = []
        self.notes: list[str] = []
        self.debug_file: str | None = None
        """The separate debug file that some of the names are from."""
        self.of_colo: frozenset[int] | None = None
        """Where most functions have no name: those that evidence puts in migration/colo.c."""
        self.conflicts: dict[str, str] = {}
        own = symbol_tables(image)
        for table in [*own[:1], *more, *own[1:]] if own and own[0].source == ".symtab" else [*more, *own]:
            self._tables.append(_Lookup(table))
            self.sources.append(table.source)
        for one, other in itertools.combinations([lookup.table for lookup in self._tables], 2):
            for name in contradictions(one, other):
                self.conflicts[name] = f"{one.source} and {other.source} have it at different addresses"

    @property
    def incomplete(self) -> bool:
        """Whether most functions have no name: what a function is not known to call, it may call all the same."""
        return self.of_colo is not None

    def add(self, symbols: Iterable[Symbol]) -> None:
        """Adds symbols that are in no table, with the source that each of them names."""
        for symbol in symbols:
            if any(known.address != symbol.address for known in self.find(symbol.name)):
                self.conflicts[symbol.name] = f"{symbol.source} has it at {symbol.address:#x}, and a table elsewhere"
            self._given.setdefault(symbol.name, []).append(symbol)
            self._given_at.setdefault(symbol.address, []).append(symbol)
            self._found.pop(symbol.name, None)
            if symbol.source not in self.sources:
                self.sources.append(symbol.source)

    def find(self, name: str) -> list[Symbol]:
        """All symbols of that name, at different addresses; the first source that has an address is named."""
        if name not in self._found:
            found: dict[int, Symbol] = {}
            for symbol in [s for table in self._tables for s in table.find(name)] + self._given.get(name, []):
                found.setdefault(symbol.address, symbol)
            self._found[name] = list(found.values())
        return self._found[name]

    def one(self, name: str) -> Symbol | None:
        """The symbol of that name if there is exactly one."""
        found = self.find(name)
        return found[0] if len(found) == 1 else None

    def names_at(self, address: int) -> list[str]:
        """The names of the functions that begin at an address."""
        tables = (s for table in self._tables for s in table.at(address))
        names = dict.fromkeys(s.name for s in [*tables, *self._given_at.get(address, ())] if s.is_function)
        return [name for name in names if name not in self.conflicts]


class _Lookup:
    """A table searched in place: 100,000 symbols are not made objects of for the sake of a hundred."""

    def __init__(self, table: SymbolTable) -> None:
        self.table, self.source = table, table.source
        self._rows, self._strings = table.rows[: len(table.rows) - len(table.rows) % ROW.size], table.strings
        self._names = bytes(_column("I", self._rows, 0, 6))
        self._by_address: dict[int, int | list[int]] = {}
        """Row, or rows: most addresses have one, and a list for each would be most of the memory."""
        values, places = _column("Q", self._rows, 1, 3), _column("H", self._rows, 3, 12)
        for row, (value, info, place) in enumerate(zip(values, self._rows[4 :: ROW.size], places, strict=True)):
            if place and info & 0xF in _KINDS:
                known = self._by_address.setdefault(value, row)
                if isinstance(known, list):
                    known.append(row)
                elif known != row:
                    self._by_address[value] = [known, row]

    def find(self, name: str) -> list[Symbol]:
        """Every string that ends in the name and a NUL may stand for it, since linkers share the ends of names."""
        if not name:
            return []
        text, found = name.encode(errors="surrogateescape") + b"\0", []
        place = self._strings.find(text)
        while place >= 0:
            wanted = _NAME.pack(place)
            at = self._names.find(wanted)
            while at >= 0:
                if at % _NAME.size == 0:
                    found += self._symbol(at // _NAME.size)
                at = self._names.find(wanted, at + 1)
            place = self._strings.find(text, place + 1)
        return sorted(found, key=lambda symbol: symbol.address)

    def at(self, address: int) -> list[Symbol]:
        rows = self._by_address.get(address, [])
        return [symbol for row in (rows if isinstance(rows, list) else [rows]) for symbol in self._symbol(row)]

    def _symbol(self, row: int) -> list[Symbol]:
        name_at, info, _other, index, value, size = ROW.unpack_from(self._rows, row * ROW.size)
        kind = info & 0xF
        end = self._strings.find(b"\0", name_at, name_at + LONGEST_NAME)
        if index == 0 or kind not in _KINDS or end <= name_at:
            return []
        name = self._strings[name_at:end].decode("utf-8", "replace")
        return [Symbol(name, value, size, kind != _STT_OBJECT, self.source)]


def _column(code: str, rows: bytes, first: int, step: int) -> array.array[int]:
    """A column of a table, of a type that a row is a whole number of."""
    cells = array.array(code, rows)
    if sys.byteorder == "big":
        cells.byteswap()
    return cells[first::step]
