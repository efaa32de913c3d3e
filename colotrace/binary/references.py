"""Which code takes the address of which text: the way into a binary that has no names.

Position-independent code takes addresses by `lea disp32(%rip), reg`, code at fixed addresses by `mov $imm32, reg` too.
What is found is a hint for where to decode, and no more: an instruction's end, since both kinds end with the address.
The caller decodes the function and looks whether an instruction ends there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable

from colotrace.binary.image import Image

_LEA = re.compile(rb"[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", re.DOTALL)
"""lea disp32(%rip) into any 64-bit register: REX.W or REX.WR, 8d, mod 00 and r/m 101. No two of these can overlap."""
_LEA_SIZE, _LEA_DISPLACEMENT = 7, 3
_IMMEDIATE = re.compile(rb"(?:[\xb8-\xbf]|[\x48\x49]\xc7[\xc0-\xc7])\Z", re.DOTALL)
"""What may stand before an immediate address: mov $imm32 into a 32-bit register, or sign-extended into a 64-bit one."""
_INT = struct.Struct("<i")
_LONGEST_PREFIX = 256
_MOST_PLACES = 64
"""Of one text; a hostile file could repeat it without end."""


def text_addresses(image: Image, text: str) -> list[int]:
    """Where a NUL-terminated text stands in the read-only data, as a text of its own or as the end of a longer one."""
    found = []
    for offset in image.find_text(text.encode() + b"\0"):
        address = image.address_of(offset)
        if address is not None:
            found.append(address)
        if len(found) >= _MOST_PLACES:
            break
    return found


def path_addresses(image: Image, path: str) -> list[int]:
    """Where a source file's path begins in the read-only data: `path` itself, or a longer one that ends in it."""
    found = []
    for address in text_addresses(image, path):
        found.append(address)
        begin = max(s.address for s in image.segments if s.address <= address)
        begin = max(begin, address - _LONGEST_PREFIX)
        before = image.read(begin, address - begin)
        prefix = before[before.rfind(b"\0") + 1 :]
        if prefix.endswith(b"/"):
            found.append(address - len(prefix))
    return found


def code_references(image: Image, addresses: Collection[int]) -> dict[int, list[int]]:
    """Address -> the ends of what looks like instructions that take it."""
    found: dict[int, list[int]] = {address: [] for address in addresses}
    for segment in image.executable_segments():
        code = image.read(segment.address, segment.file_size)
        after, unpack = segment.address + _LEA_SIZE, _INT.unpack_from
        for match in _LEA.finditer(code, 0, max(0, len(code) - _LEA_SIZE + _LEA_DISPLACEMENT)):
            at = match.start()
            target = after + at + unpack(code, at + _LEA_DISPLACEMENT)[0]
            if target in found:
                found[target].append(after + at)
        if image.at_fixed_addresses:
            for address in addresses:
                found[address] += _immediates(code, segment.address, address)
    return found


def _immediates(code: bytes, base: int, address: int) -> Iterable[int]:
    """The ends of instructions that move an address as an immediate."""
    if not 0 < address < 1 << 31:
        return
    wanted = _INT.pack(address)
    at = code.find(wanted)
    while at >= 0:
        if _IMMEDIATE.search(code[max(0, at - 3) : at]):
            yield base + at + _INT.size
        at = code.find(wanted, at + 1)
