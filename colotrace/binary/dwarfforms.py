"""The forms in which DWARF has the values of attributes (the standard, section 7.5.6): how long, and what they say."""

from __future__ import annotations

from colotrace.binary.debugsections import NoDwarf

ADDRESS, _BLOCK2, _BLOCK4, STRING, _BLOCK, _BLOCK1 = 0x01, 0x03, 0x04, 0x08, 0x09, 0x0A
_SDATA, _UDATA, REFERENCE, _REFERENCE_UDATA, INDIRECT, _EXPRESSION = 0x0D, 0x0F, 0x10, 0x15, 0x16, 0x18
STRING_OFFSET, LINE_STRING_OFFSET, _STRING_INDEX, _ADDRESS_INDEX = 0x0E, 0x1F, 0x1A, 0x1B
IMPLICIT, RANGES_INDEX = 0x21, 0x23
_SIZES = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x19: 0, 0x1C: 4, 0x1E: 16,
    0x20: 8, 0x21: 0, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
"""Form -> bytes, where that is always the same."""
_OFFSETS = frozenset((STRING_OFFSET, 0x17, 0x1D, LINE_STRING_OFFSET, 0x1F20, 0x1F21))
"""Forms that are an offset into a section: 4 or 8 bytes by the format; the last two are GNU's, into another file."""
_NUMBERS = frozenset((_UDATA, _REFERENCE_UDATA, _STRING_INDEX, _ADDRESS_INDEX, 0x22, RANGES_INDEX, 0x1F01, 0x1F02))
_LEB128 = _NUMBERS | {_SDATA}
UNIT_REFERENCES = frozenset((0x11, 0x12, 0x13, 0x14, _REFERENCE_UDATA))
STRING_INDICES = frozenset((_STRING_INDEX, 0x25, 0x26, 0x27, 0x28))
ADDRESS_INDICES = frozenset((_ADDRESS_INDEX, 0x29, 0x2A, 0x2B, 0x2C))
CONSTANTS = frozenset((0x05, 0x06, 0x07, 0x0B, _SDATA, _UDATA, IMPLICIT))


def number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128, and where it ends. IndexError if the data end before it does."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
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


class Forms:
    """The forms in units of one version, and one width of offsets (4 or 8)."""

    def __init__(self, version: int, offset_size: int) -> None:
        self._sizes = _SIZES | dict.fromkeys(_OFFSETS, offset_size)
        self._sizes |= {ADDRESS: 8, REFERENCE: 8 if version == 2 else offset_size}

    def size(self, form: int) -> int | None:
        """The bytes of a value; None where the value itself tells."""
        return self._sizes.get(form)

    def value(self, data: bytes, at: int, form: int) -> tuple[int, int]:
        """A value as its form has it, and where it ends; of one that is no number, where it begins."""
        size = self._sizes.get(form)
        if size is not None:
            return fixed(data, at, size), at + size
        return number(data, at) if form in _LEB128 else (at, self.end(data, at, form))

    def end(self, data: bytes, at: int, form: int) -> int:
        """Where a value ends that tells its length itself. IndexError if the data end before it does."""
        if form in _LEB128:
            while data[at] >= 0x80:
                at += 1
            return at + 1
        if form == STRING:
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
        if form == INDIRECT:
            form, at = number(data, at)
            if form == INDIRECT:
                raise NoDwarf("it is damaged: a form that says to look for the form")
            size = self._sizes.get(form)
            return self.end(data, at, form) if size is None else at + size
        raise NoDwarf(f"an attribute has the form {form:#x}, which is not known")
