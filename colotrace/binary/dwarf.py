"""DWARF's units and their entries: which function the code at an address was compiled from.

Versions 2 to 5 (the DWARF standard, chapter 7), as gcc and clang write them, 32 or 64 bits of format. A unit's entries
are read one after the other, with no regard to the tree that they form, and of most of them nothing but the length:
what is asked for (the names and the code of functions) stands in each entry itself. No file can cost more than a number
of steps that is far beyond what a QEMU needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from colotrace.binary.debugsections import DebugSections, NoDwarf

INFO, ABBREVIATIONS = ".debug_info", ".debug_abbrev"
INLINED, SUBPROGRAM = 0x1D, 0x2E
NAME, LOW, HIGH, ORIGIN, SPECIFICATION, RANGES = 0x03, 0x11, 0x12, 0x31, 0x47, 0x55
_STRINGS_BASE, ADDRESSES_BASE, RANGES_BASE = 0x72, 0x73, 0x74
_SPLIT = (0x76, 0x2130)
"""DW_AT_dwo_name, and what GNU's compilers had before it."""
_COMPILE, _PARTIAL, _SKELETON, _SPLIT_UNIT = 1, 3, 4, 5

MOST_STEPS = 400_000
"""Entries, attributes of abbreviations, ranges: what colo.c and the way to it need is some 20,000."""
_LARGEST_UNIT = 32 << 20

_ADDRESS, _BLOCK2, _BLOCK4, _STRING, _BLOCK, _BLOCK1 = 0x01, 0x03, 0x04, 0x08, 0x09, 0x0A
_SDATA, _UDATA, _REF_ADDRESS, _REF_UDATA, _INDIRECT, _EXPRESSION = 0x0D, 0x0F, 0x10, 0x15, 0x16, 0x18
_STRP, _LINE_STRP, _STRX, _ADDRX, _IMPLICIT, RANGES_INDEX = 0x0E, 0x1F, 0x1A, 0x1B, 0x21, 0x23
_SIZES = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x19: 0, 0x1C: 4, 0x1E: 16,
    0x20: 8, 0x21: 0, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
"""Form -> bytes, where that is always the same."""
_OFFSETS = frozenset((_STRP, 0x17, 0x1D, _LINE_STRP, 0x1F20, 0x1F21))
"""Forms that are an offset into a section: 4 or 8 bytes by the format."""
_NUMBERS = frozenset((_UDATA, _REF_UDATA, _STRX, _ADDRX, 0x22, RANGES_INDEX, 0x1F01, 0x1F02))
_UNIT_REFERENCES = frozenset((0x11, 0x12, 0x13, 0x14, _REF_UDATA))
_STRING_INDICES = frozenset((_STRX, 0x25, 0x26, 0x27, 0x28))
_ADDRESS_INDICES = frozenset((_ADDRX, 0x29, 0x2A, 0x2B, 0x2C))
_CONSTANTS = frozenset((0x05, 0x06, 0x07, 0x0B, _SDATA, _UDATA, _IMPLICIT))

Attributes = dict[int, tuple[int, int]]
"""Attribute -> its form, and its value as the form has it: for a string in place, where it begins."""


class Steps:
    """How much has been read; NoDwarf when it is too much."""

    def __init__(self) -> None:
        self._left = MOST_STEPS

    def take(self, count: int = 1) -> None:
        """Counts some."""
        self._left -= count
        if self._left < 0:
            raise NoDwarf(f"it is too large: finding what describes colo.c takes more than {MOST_STEPS} steps")


def number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128, and where it ends. IndexError if the data end before it does."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise NoDwarf("it is damaged: a number of more than 64 bits")


def fixed(data: bytes, at: int, size: int) -> int:
    """A number of so many bytes. IndexError if the data end before it does."""
    if at + size > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + size], "little")


@dataclass(frozen=True)
class Abbreviation:
    """What entries of a code have: their tag, and each attribute with its form and implicit value.

    `skip` is how to pass by such an entry: a number of bytes, or a form whose length the entry tells, as a negative
    number.
    """

    tag: int
    fields: tuple[tuple[int, int, int], ...]
    skip: tuple[int, ...]


class Unit:
    """A unit of .debug_info: its header, its first entry, and, when they are asked for, all entries."""

    def __init__(self, sections: DebugSections, at: int, steps: Steps) -> None:
        self.sections, self.at, self.steps = sections, at, steps
        steps.take(4)
        self._abbreviations: dict[int, Abbreviation] = {}
        sections.parse(INFO, at, self._read_header)
        self._table_end = self._abbreviations_at
        self.attributes: Attributes = {}
        if self.readable:
            entry = self.entry(self.at + self._first)
            self.attributes = entry[1] if entry else {}

    def _read_header(self, data: bytes) -> None:
        length, self.offset_size, here = fixed(data, 0, 4), 4, 4
        if length == 0xFFFFFFFF:
            length, self.offset_size, here = fixed(data, 4, 8), 8, 12
        self.size = here + length
        self.version = fixed(data, here, 2)
        here, kind = here + 2, _COMPILE
        if self.version >= 5:
            kind, address_size = data[here], data[here + 1]
            self._abbreviations_at = fixed(data, here + 2, self.offset_size)
            here += 2 + self.offset_size + (8 if kind in (_SKELETON, _SPLIT_UNIT) else 0)
        else:
            self._abbreviations_at = fixed(data, here, self.offset_size)
            here += self.offset_size + 1
            address_size = fixed(data, here - 1, 1)
        self._first = here
        if self.size <= here or self.at + self.size > self.sections.size(INFO):
            raise NoDwarf(f"{INFO} is damaged: the unit at {self.at:#x} has {length} bytes")
        self.readable = 2 <= self.version <= 5 and address_size == 8 and kind in (_COMPILE, _PARTIAL, _SKELETON)
        """Whether it may describe code of this program, in a version that is known."""

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.at + self.size

    @property
    def name(self) -> str:
        """The source file's name."""
        return (self.text(self.attributes, NAME) or b"").decode("utf-8", "replace")

    @property
    def elsewhere(self) -> str | None:
        """The file that has the entries, where this one has only a skeleton (split DWARF)."""
        names = [self.text(self.attributes, one) for one in _SPLIT if one in self.attributes]
        return (names[0] or b"?").decode("utf-8", "replace") if names else None

    def entry(self, at: int) -> tuple[int, Attributes] | None:
        """The tag and the attributes of the entry at an offset into .debug_info; None for the end of a list."""
        if not self.at + self._first <= at < self.end:
            raise NoDwarf(f"{INFO} is damaged: it refers to {at:#x} as if an entry began there")
        return self.sections.parse(INFO, at, lambda data: self._entry(data, 0, at)[0])

    def functions(self) -> Iterator[tuple[int, Attributes]]:
        """The tag and the attributes of all entries of functions and of inlined calls."""
        if self.size > _LARGEST_UNIT:
            raise NoDwarf(f"it is too large: the unit of {self.name} has {self.size} bytes")
        data, at = self.sections.read(INFO, self.at, self.size), self._first
        try:
            while at < len(data):
                self.steps.take()
                code, after = number(data, at)
                if code == 0:
                    at = after
                    continue
                abbreviation = self._abbreviations.get(code) or self._abbreviation(code)
                if abbreviation.tag in (INLINED, SUBPROGRAM):
                    entry, at = self._entry(data, at, self.at)
                    if entry is not None:
                        yield entry
                else:
                    at = self._skip(data, after, abbreviation)
        except IndexError:
            at = len(data) + 1
        if at > len(data):
            raise NoDwarf(f"{INFO} is damaged: an entry goes beyond the end of its unit")

    def text(self, attributes: Attributes, attribute: int) -> bytes | None:
        """The value of an attribute that is a string; None if it is absent, or in another file."""
        form, value = attributes.get(attribute, (0, 0))
        if form == _STRP:
            return self.sections.string(".debug_str", value)
        if form == _LINE_STRP:
            return self.sections.string(".debug_line_str", value)
        if form == _STRING:
            return self.sections.string(INFO, value)
        if form in _STRING_INDICES:
            base = self.attributes.get(_STRINGS_BASE, (0, 8))[1]
            at = base + value * self.offset_size
            offset = fixed(self.sections.read(".debug_str_offsets", at, self.offset_size), 0, self.offset_size)
            return self.sections.string(".debug_str", offset)
        return None

    def address(self, attributes: Attributes, attribute: int) -> int | None:
        """The value of an attribute that is an address; None if it is absent or no address."""
        form, value = attributes.get(attribute, (0, 0))
        if form in _ADDRESS_INDICES:
            return self.address_of_index(value)
        return value if form == _ADDRESS else None

    def address_of_index(self, index: int) -> int:
        """An address by its number in .debug_addr."""
        at = self.attributes.get(ADDRESSES_BASE, (0, 8))[1] + 8 * index
        data = self.sections.read(".debug_addr", at, 8)
        if len(data) < 8:
            raise NoDwarf(".debug_addr is damaged: it has fewer addresses than are referred to")
        return fixed(data, 0, 8)

    def constant(self, attributes: Attributes, attribute: int) -> int | None:
        """The value of an attribute that is a number; None if it is absent or none."""
        form, value = attributes.get(attribute, (0, 0))
        return value if form in _CONSTANTS else None

    def reference(self, attributes: Attributes, attribute: int) -> int | None:
        """The offset into .debug_info of the entry that an attribute refers to; None if it is absent, or elsewhere."""
        form, value = attributes.get(attribute, (0, 0))
        if form in _UNIT_REFERENCES:
            return self.at + value
        return value if form == _REF_ADDRESS else None

    def _entry(self, data: bytes, at: int, base: int) -> tuple[tuple[int, Attributes] | None, int]:
        """An entry, and where it ends; `base` is where the data begin in .debug_info."""
        code, at = number(data, at)
        if code == 0:
            return None, at
        abbreviation = self._abbreviations.get(code) or self._abbreviation(code)
        attributes: Attributes = {}
        self.steps.take(len(abbreviation.fields))
        for attribute, form, implicit in abbreviation.fields:
            if form == _INDIRECT:
                form, at = number(data, at)
            value, at = (implicit, at) if form == _IMPLICIT else self._value(data, at, form)
            attributes[attribute] = form, value + base if form == _STRING else value
        return (abbreviation.tag, attributes), at

    def _value(self, data: bytes, at: int, form: int) -> tuple[int, int]:
        """A value as its form has it, and where it ends."""
        size = self._size(form)
        if size is not None:
            return fixed(data, at, size), at + size
        if form in _NUMBERS or form == _SDATA:
            return number(data, at)
        return at, self._end(data, at, form)

    def _skip(self, data: bytes, at: int, abbreviation: Abbreviation) -> int:
        for one in abbreviation.skip:
            at = at + one if one >= 0 else self._end(data, at, -one)
        return at

    def _end(self, data: bytes, at: int, form: int) -> int:
        """Where a value ends whose length is in it."""
        if form in _NUMBERS or form == _SDATA:
            while data[at] >= 0x80:
                at += 1
            return at + 1
        if form == _STRING:
            end = data.find(b"\0", at)
            if end < 0:
                raise IndexError(at)
            return end + 1
        if form in (_BLOCK, _EXPRESSION):
            length, at = number(data, at)
            return at + length
        if form in (_BLOCK1, _BLOCK2, _BLOCK4):
            prefix = {_BLOCK1: 1, _BLOCK2: 2, _BLOCK4: 4}[form]
            return at + prefix + fixed(data, at, prefix)
        if form == _INDIRECT:
            form, at = number(data, at)
            length = self._size(form)
            if form == _INDIRECT:
                raise NoDwarf(f"{INFO} is damaged: a form that says to look for the form")
            return self._end(data, at, form) if length is None else at + length
        raise NoDwarf(f"an attribute has the form {form:#x}, which is not known")

    def _size(self, form: int) -> int | None:
        """The bytes of a form's value, where the form tells."""
        if form in _OFFSETS:
            return self.offset_size
        if form == _ADDRESS or (form == _REF_ADDRESS and self.version == 2):
            return 8
        return self.offset_size if form == _REF_ADDRESS else _SIZES.get(form)

    def _abbreviation(self, code: int) -> Abbreviation:
        """Reads on in the unit's table of abbreviations until there is one of that code."""
        while code not in self._abbreviations:
            kept, one, size = self.sections.parse(ABBREVIATIONS, self._table_end, self._declaration)
            if kept == 0:
                raise NoDwarf(f"{ABBREVIATIONS} is damaged: it has no abbreviation {code}")
            self._abbreviations.setdefault(kept, one)
            self._table_end += size
        return self._abbreviations[code]

    def _declaration(self, data: bytes) -> tuple[int, Abbreviation, int]:
        """The code, the abbreviation, and the length of its declaration; code 0 at the table's end."""
        code, at = number(data, 0)
        if code == 0:
            return 0, Abbreviation(0, (), ()), at
        tag, at = number(data, at)
        at += 1  # whether it has children
        fields: list[tuple[int, int, int]] = []
        skip: list[int] = []
        while True:
            attribute, at = number(data, at)
            form, at = number(data, at)
            if form == 0:
                self.steps.take(len(fields) + 1)
                return code, Abbreviation(tag, tuple(fields), tuple(skip)), at
            implicit = 0
            if form == _IMPLICIT:
                implicit, at = number(data, at)
            fields.append((attribute, form, implicit))
            length = self._size(form)
            if length is None:
                skip.append(-form)
            elif skip and skip[-1] >= 0:
                skip[-1] += length
            else:
                skip.append(length)
