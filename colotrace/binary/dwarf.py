"""DWARF's units and their entries: which function the code at an address was compiled from.

Versions 2 to 5 (the DWARF standard, chapter 7), as gcc and clang write them, 32 or 64 bits of format. A unit's entries
are read one after the other, with no regard to the tree that they form, and of most of them nothing but the length:
what is asked for (the names and the code of functions) stands in each entry itself. No file can cost more than a number
of steps that is far beyond what a QEMU needs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from colotrace.binary import dwarfforms
from colotrace.binary.debugsections import DebugSections, NoDwarf
from colotrace.binary.dwarfforms import Forms, fixed, number

INFO, ABBREVIATIONS = ".debug_info", ".debug_abbrev"
INLINED, SUBPROGRAM = 0x1D, 0x2E
NAME, LOW, HIGH, ORIGIN, SPECIFICATION, RANGES = 0x03, 0x11, 0x12, 0x31, 0x47, 0x55
_STRINGS_BASE, ADDRESSES_BASE, RANGES_BASE = 0x72, 0x73, 0x74
_SPLIT = (0x76, 0x2130)
"""DW_AT_dwo_name, and what GNU's compilers had before it."""
_COMPILE, _PARTIAL, _SKELETON, _SPLIT_UNIT = 1, 3, 4, 5

MOST_STEPS = 1_000_000
"""Entries, attributes of abbreviations, ranges: a second's work. What colo.c and the way to it need is 10,000, and
400,000 in a file of 750 units from gcc of which .debug_aranges was taken away."""
_LARGEST_UNIT = 32 << 20
_WIDE = 0xFFFFFFFF
"""What stands for a length of 8 bytes to follow: the format of 64 bits."""

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


def unit_size(data: bytes) -> int:
    """The bytes of the unit that begins with these."""
    length = fixed(data, 0, 4)
    return 12 + fixed(data, 4, 8) if length == _WIDE else 4 + length


class Abbreviation:
    """What entries of a code have: their tag, and each attribute with its form and implicit value."""

    def __init__(self, tag: int, fields: tuple[tuple[int, int, int], ...], forms: Forms) -> None:
        self.tag, self.fields, self._forms = tag, fields, forms

    @functools.cached_property
    def skip(self) -> list[int]:
        """How to pass by such an entry: numbers of bytes, and, as negative numbers, forms whose values tell theirs."""
        found: list[int] = []
        for _, form, _ in self.fields:
            size = self._forms.size(form)
            if size is None:
                found.append(-form)
            elif found and found[-1] >= 0:
                found[-1] += size
            else:
                found.append(size)
        return found


class Unit:
    """A unit of .debug_info: its header, its first entry, and, when they are asked for, all entries."""

    def __init__(self, sections: DebugSections, at: int, steps: Steps) -> None:
        self.sections, self.at, self.steps = sections, at, steps
        steps.take(16)
        self._abbreviations: dict[int, Abbreviation] = {}
        sections.parse(INFO, at, self._read_header)
        self._forms = Forms(self.version, self.offset_size)
        self._table_at = self._abbreviations_at
        self.attributes: Attributes = {}
        if self.readable:
            entry = self.entry(self.at + self._first)
            self.attributes = entry[1] if entry else {}

    def _read_header(self, data: bytes) -> None:
        self.size = unit_size(data)
        self.offset_size, here = (8, 12) if fixed(data, 0, 4) == _WIDE else (4, 4)
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
            raise NoDwarf(f"{INFO} is damaged: the unit at {self.at:#x} has {self.size} bytes")
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
        if form == dwarfforms.STRING_OFFSET:
            return self.sections.string(".debug_str", value)
        if form == dwarfforms.LINE_STRING_OFFSET:
            return self.sections.string(".debug_line_str", value)
        if form == dwarfforms.STRING:
            return self.sections.string(INFO, value)
        if form in dwarfforms.STRING_INDICES:
            base = self.attributes.get(_STRINGS_BASE, (0, 8))[1]
            at = base + value * self.offset_size
            offset = fixed(self.sections.read(".debug_str_offsets", at, self.offset_size), 0, self.offset_size)
            return self.sections.string(".debug_str", offset)
        return None

    def address(self, attributes: Attributes, attribute: int) -> int | None:
        """The value of an attribute that is an address; None if it is absent or no address."""
        form, value = attributes.get(attribute, (0, 0))
        if form in dwarfforms.ADDRESS_INDICES:
            return self.address_of_index(value)
        return value if form == dwarfforms.ADDRESS else None

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
        return value if form in dwarfforms.CONSTANTS else None

    def reference(self, attributes: Attributes, attribute: int) -> int | None:
        """The offset into .debug_info of the entry that an attribute refers to; None if it is absent, or elsewhere."""
        form, value = attributes.get(attribute, (0, 0))
        if form in dwarfforms.UNIT_REFERENCES:
            return self.at + value
        return value if form == dwarfforms.REFERENCE else None

    def _entry(self, data: bytes, at: int, base: int) -> tuple[tuple[int, Attributes] | None, int]:
        """An entry, and where it ends; `base` is where the data begin in .debug_info."""
        code, at = number(data, at)
        if code == 0:
            return None, at
        abbreviation = self._abbreviations.get(code) or self._abbreviation(code)
        attributes: Attributes = {}
        self.steps.take(len(abbreviation.fields))
        for attribute, form, implicit in abbreviation.fields:
            if form == dwarfforms.INDIRECT:
                form, at = number(data, at)
            value, at = (implicit, at) if form == dwarfforms.IMPLICIT else self._forms.value(data, at, form)
            attributes[attribute] = form, value + base if form == dwarfforms.STRING else value
        return (abbreviation.tag, attributes), at

    def _skip(self, data: bytes, at: int, abbreviation: Abbreviation) -> int:
        for one in abbreviation.skip:
            at = at + one if one >= 0 else self._forms.end(data, at, -one)
        return at

    def _abbreviation(self, code: int) -> Abbreviation:
        """Reads on in the unit's table of abbreviations until there is one of that code."""
        if code not in self._abbreviations:
            read = self.sections.parse(ABBREVIATIONS, self._table_at, lambda data: self._declarations(data, code))
            self._table_at += read
        return self._abbreviations[code]

    def _declarations(self, data: bytes, wanted: int) -> int:
        """Keeps the abbreviations up to that of a code, and answers where its declaration ends."""
        at, fields = 0, list[tuple[int, int, int]]()
        while True:
            code, at = number(data, at)
            if code == 0:
                raise NoDwarf(f"{ABBREVIATIONS} is damaged: it has no abbreviation {wanted}")
            tag, at = number(data, at)
            at += 1  # whether it has children
            fields = []
            while True:
                attribute, form, implicit = data[at], data[at + 1], 0
                at += 2
                if attribute >= 0x80 or form >= 0x80:
                    attribute, at = number(data, at - 2)
                    form, at = number(data, at)
                if form == 0:
                    break
                if form == dwarfforms.IMPLICIT:
                    implicit, at = number(data, at)
                fields.append((attribute, form, implicit))
            self.steps.take(len(fields) + 1)
            self._abbreviations.setdefault(code, Abbreviation(tag, tuple(fields), self._forms))
            if code == wanted:
                return at
