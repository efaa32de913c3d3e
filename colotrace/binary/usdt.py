"""USDT probes: the places in the code that a program marks itself, told by notes that survive stripping.

The format is SystemTap's (sys/sdt.h, version 3): in .note.stapsdt, of owner "stapsdt" and type 3, three addresses (the
place, .stapsdt.base as it was linked, a semaphore) and three strings (provider, name, arguments). QEMU has them where
it was configured with --enable-trace-backends=dtrace.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from colotrace.binary.elf import NT_STAPSDT, read_notes
from colotrace.binary.image import Image

_ADDRESSES = struct.Struct("<QQQ")
_MOST_BYTES = 8 << 20
_ALL = (1 << 64) - 1


@dataclass(frozen=True)
class UsdtProbe:
    """A place in the code: a nop that its program has put there."""

    provider: str
    name: str
    address: int


def usdt_probes(image: Image, provider: str) -> list[UsdtProbe]:
    """The image's probes of a provider, by address; those that are not in its code are left out."""
    section = image.section(".note.stapsdt")
    if section is None:
        return []
    base = image.section(".stapsdt.base")
    found = set()
    for note in read_notes(image.contents(section)[:_MOST_BYTES]):
        parts = note.data[_ADDRESSES.size :].split(b"\0")
        if note.owner != b"stapsdt" or note.kind != NT_STAPSDT or len(parts) < 3:
            continue
        place, linked_base, _semaphore = _ADDRESSES.unpack_from(note.data)
        moved = base.address - linked_base if base else 0
        address = (place + moved) & _ALL
        if parts[0] == provider.encode() and image.is_code(address):
            found.add(UsdtProbe(provider, parts[1].decode("utf-8", "replace"), address))
    return sorted(found, key=lambda probe: (probe.address, probe.name))
