"""Which code DWARF says each function has: its own, and wherever a call of it was inlined.

The unit that describes an address is found by .debug_aranges, which gcc writes; where that does not tell, by the first
entry of each unit.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import struct
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from colotrace.binary import dwarf
from colotrace.binary.debugsections import DebugSections, NoDwarf
from colotrace.binary.dwarf import Attributes, Steps, Unit
from colotrace.binary.dwarfforms import RANGES_INDEX, fixed, number
from colotrace.binary.image import Image

_ARANGES, _RANGES, _RANGE_LISTS = ".debug_aranges", ".debug_ranges", ".debug_rnglists"
_LARGEST_ARANGES = 8 << 20
_MOST_PIECES = 1000
"""colo.c has about 25."""
_MOST_HOPS = 8
"""From an inlined call to its function's name: an abstract instance, a declaration."""
_PAIR = struct.Struct("<QQ")
_HIGHEST = (1 << 64) - 1

Ranges = tuple[tuple[int, int], ...]
"""(start, end), as DWARF has them."""


@dataclass(frozen=True)
class Piece:
    """Code that was compiled from a function: out of line, or where a call of it was inlined."""

    name: str
    inlined: bool
    ranges: Ranges

    def has(self, address: int) -> bool:
        """Whether an address lies in it."""
        return any(start <= address < end for start, end in self.ranges)

    def begins_at(self, addresses: AbstractSet[int]) -> bool:
        """Whether it is a function out of line whose entry is one of these."""
        return not self.inlined and any(start in addresses for start, _ in self.ranges)


@dataclass(frozen=True)
class Described:
    """The pieces of the functions asked for, and of the units that describe them the source files and all the code."""

    files: tuple[str, ...]
    pieces: tuple[Piece, ...]
    code: Ranges

    def covers(self, address: int) -> bool:
        """Whether an address lies in the code of one of the units."""
        return any(start <= address < end for start, end in self.code)


def describe(
    image: Image, addresses: AbstractSet[int], names: AbstractSet[str], called: AbstractSet[int] = frozenset()
) -> Described:
    """The code of functions of these names, and of those that begin where one of `called` is.

    Only the units that describe the addresses are read, and those of what is called that are found along with them.
    Raises NoDwarf with the reason where there is nothing to go by.
    """
    sections = DebugSections(image)
    if not sections.has(dwarf.INFO):
        raise NoDwarf("it is in the old compressed form (.zdebug)" if sections.has(".zdebug_info") else "there is none")
    try:
        units = _Units(sections)
        found = units.around(sorted(addresses), sorted(addresses | called))
        split = next(filter(None, (unit.elsewhere for unit in found)), None)
        if split is not None:
            raise NoDwarf(f"it is split: what describes the code is in {split}, which is not read")
        if not found:
            raise NoDwarf("no unit describes the code that would be probed")
        wanted = (p for unit in found for p in units.pieces(unit) if p.name in names or p.begins_at(called))
        pieces = tuple(itertools.islice(wanted, _MOST_PIECES + 1))
        if len(pieces) > _MOST_PIECES:
            raise NoDwarf(f"it is too large: it has the functions of colo.c in more than {_MOST_PIECES} pieces")
        code = tuple(span for unit in found for span in units.ranges(unit, unit.attributes))
    except (OSError, IndexError, ValueError, OverflowError, struct.error) as error:
        raise NoDwarf(f"it is damaged: {error}") from error
    return Described(tuple(unit.name for unit in found), pieces, code)


class _Units:
    """The units of one .debug_info."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections, self._steps = sections, Steps()
        self._units: dict[int, Unit] = {}
        self._names: dict[int, bytes | None] = {}

    def around(self, needed: list[int], wanted: list[int]) -> list[Unit]:
        """The units that describe at least one of the addresses `wanted`, by their place.

        All units are gone through only for one that is `needed`.
        """
        units = (self._unit(at) for at in sorted(self._indexed(wanted)))
        found = [unit for unit in units if self._covers(unit, wanted)]
        if all(any(self._covers(unit, [address]) for unit in found) for address in needed):
            return found
        return [unit for unit in self._all() if self._covers(unit, wanted)]

    def pieces(self, unit: Unit) -> Iterator[Piece]:
        """The code in a unit of all functions whose names are known."""
        for tag, attributes in unit.functions():
            self._steps.take(8)
            ranges = self.ranges(unit, attributes)
            name = self._name(unit, attributes) if ranges else None
            if name is not None:
                yield Piece(name.decode("utf-8", "replace"), tag == dwarf.INLINED, ranges)

    def _unit(self, at: int) -> Unit:
        if at not in self._units:
            self._units[at] = Unit(self._sections, at, self._steps)
        return self._units[at]

    @functools.cached_property
    def _starts(self) -> list[int]:
        """Where each unit begins."""
        found, at, end = list[int](), 0, self._sections.size(dwarf.INFO)
        while at < end:
            self._steps.take(2)
            found.append(at)
            at += dwarf.unit_size(self._sections.read(dwarf.INFO, at, 12))
        return found

    def _all(self) -> Iterator[Unit]:
        """Every unit; not kept, since there are many."""
        return (self._units.get(at) or Unit(self._sections, at, self._steps) for at in self._starts)

    def _covers(self, unit: Unit, addresses: list[int]) -> bool:
        return any(_any_within(addresses, start, end) for start, end in self.ranges(unit, unit.attributes))

    def _indexed(self, addresses: list[int]) -> set[int]:
        """The units that .debug_aranges has for these addresses."""
        size = self._sections.size(_ARANGES)
        data = self._sections.read(_ARANGES, 0, size) if 0 < size <= _LARGEST_ARANGES else b""
        found, at = set[int](), 0
        while at + 12 <= len(data):
            length, wide, start = fixed(data, at, 4), 4, at + 4
            if length == 0xFFFFFFFF:
                length, wide, start = fixed(data, at + 4, 8), 8, at + 12
            end = start + length
            version, unit = fixed(data, start, 2), fixed(data, start + 2, wide)
            first = start + 2 + wide + 2
            first += -(first - at) % _PAIR.size
            if end > len(data) or version != 2 or data[start + 2 + wide] != 8:
                break  # then it does not tell
            self._steps.take(1 + (end - first) // 256)
            pairs = _PAIR.iter_unpack(data[first : first + (end - first) // _PAIR.size * _PAIR.size])
            if any(_any_within(addresses, begin, begin + count) for begin, count in pairs):
                found.add(unit)
            at = end
        return found

    def _name(self, unit: Unit, attributes: Attributes) -> bytes | None:
        """The name of a function, which stands in the entry that its own one refers to."""
        passed = []
        name = None
        for _ in range(_MOST_HOPS):
            self._steps.take()
            if dwarf.NAME in attributes:
                name = unit.text(attributes, dwarf.NAME)
                break
            origin = unit.reference(attributes, dwarf.ORIGIN) or unit.reference(attributes, dwarf.SPECIFICATION)
            if origin is None:
                break
            if origin in self._names:
                name = self._names[origin]
                break
            passed.append(origin)
            if not unit.at <= origin < unit.end:
                unit = self._around(origin)
            attributes = (unit.entry(origin) or (0, {}))[1]
        self._names.update(dict.fromkeys(passed, name))
        return name

    def _around(self, offset: int) -> Unit:
        """The unit that has an entry, which another unit refers to."""
        return self._unit(self._starts[bisect.bisect_right(self._starts, offset) - 1])

    def ranges(self, unit: Unit, attributes: Attributes) -> Ranges:
        """The code that an entry describes; none where it describes no code."""
        if dwarf.RANGES in attributes:
            base = unit.address(unit.attributes, dwarf.LOW) or 0
            form, value = attributes[dwarf.RANGES]
            if unit.version < 5:
                return self._sections.parse(_RANGES, value, lambda data: self._old_list(data, base))
            if form == RANGES_INDEX:
                table = unit.attributes.get(dwarf.RANGES_BASE, (0, 8 + unit.offset_size))[1]
                at = table + value * unit.offset_size
                value = table + fixed(self._sections.read(_RANGE_LISTS, at, 8), 0, unit.offset_size)
            return self._sections.parse(_RANGE_LISTS, value, lambda data: self._list(unit, data, base))
        low = unit.address(attributes, dwarf.LOW)
        if low is None or dwarf.HIGH not in attributes:
            return ()
        high = unit.address(attributes, dwarf.HIGH)
        if high is None:
            high = low + (unit.constant(attributes, dwarf.HIGH) or 0)
        return ((low, high),) if low < high <= _HIGHEST else ()

    def _old_list(self, data: bytes, base: int) -> Ranges:
        """A list of .debug_ranges, of DWARF 2 to 4."""
        found, at = list[tuple[int, int]](), 0
        while True:
            self._steps.take()
            start, end = _PAIR.unpack_from(data, at)
            at += _PAIR.size
            if start == end == 0:
                return tuple(found)
            if start == _HIGHEST:
                base = end
            elif start < end:
                found.append((base + start, base + end))

    def _list(self, unit: Unit, data: bytes, base: int) -> Ranges:
        """A list of .debug_rnglists, of DWARF 5 (section 7.25)."""
        found, at = list[tuple[int, int]](), 0

        def operand(kind: str) -> int:
            nonlocal at
            value, at = (fixed(data, at, 8), at + 8) if kind == "address" else number(data, at)
            return unit.address_of_index(value) if kind == "index" else value

        while True:
            self._steps.take()
            kind, at = data[at], at + 1
            if kind == 0:
                return tuple(found)
            if kind not in _RANGE_ENTRIES:
                raise NoDwarf(f"{_RANGE_LISTS} is damaged: it has no entries of kind {kind}")
            relative, *operands = _RANGE_ENTRIES[kind]
            values = [operand(one) for one in operands]
            if len(values) == 1:
                base = values[0]
                continue
            start, end = values
            if relative == "base":
                start, end = base + start, base + end
            elif relative == "start":
                end = start + end
            if start < end:
                found.append((start, end))


def _any_within(addresses: list[int], start: int, end: int) -> bool:
    """Whether one of these sorted addresses lies there."""
    at = bisect.bisect_left(addresses, start)
    return at < len(addresses) and addresses[at] < end


_RANGE_ENTRIES = {
    1: ("", "index"), 2: ("", "index", "index"), 3: ("start", "index", "number"), 4: ("base", "number", "number"),
    5: ("", "address"), 6: ("", "address", "address"), 7: ("start", "address", "number"),
}  # fmt: skip
"""DW_RLE_*: what the end is relative to (start_length), or both are (offset_pair), and the operands."""
