"""The .debug_* sections of an image, read piece by piece, whether they are compressed or not.

A QEMU's fill 100 MB, of which a few pages are wanted: they are read, and not mapped, since a page that is touched in a
map brings its neighbours with it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import TypeVar

from colotrace.binary.elf import SHF_COMPRESSED, Section
from colotrace.binary.image import Image

_MOST_UNPACKED = 64 << 20
"""Bytes of all compressed sections together: they are unpacked in memory."""
_PIECES = (1 << 8, 1 << 12, 1 << 16, 1 << 20)
"""How much is read at first, and how much more if that does not do."""
_LONGEST_NAME = 4096
_COMPRESSION = struct.Struct("<II QQ")
"""Elf64_Chdr: type, reserved, size, alignment."""
_ZLIB, _ZSTD = 1, 2

T = TypeVar("T")


class NoDwarf(Exception):
    """There is nothing to go by in the debugging information; the text is the reason."""


class DebugSections:
    """Raises NoDwarf for what is not there, is cut off, or is packed in a way that is not read."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._unpacked: dict[str, bytes] = {}
        self._left = _MOST_UNPACKED

    def has(self, name: str) -> bool:
        """Whether a section of that name has bytes in the file."""
        return self._section(name) is not None

    def size(self, name: str) -> int:
        """The bytes of a section, unpacked; 0 if it is not there."""
        section = self._section(name)
        if section is None:
            return 0
        return len(self._unpack(section)) if section.flags & SHF_COMPRESSED else section.size

    def read(self, name: str, at: int, size: int) -> bytes:
        """Up to `size` bytes; fewer at the section's end."""
        section = self._section(name)
        if section is None:
            raise NoDwarf(f"there is no {name}")
        if section.flags & SHF_COMPRESSED:
            return self._unpack(section)[at : at + size]
        return self._image.piece(section, at, size)

    def parse(self, name: str, at: int, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of the bytes from `at` on: it is given more, as long as it runs off their end."""
        for size in _PIECES:
            data = self.read(name, at, size)
            try:
                return parse(data)
            except (IndexError, struct.error):
                if len(data) < size:
                    break
        raise NoDwarf(f"{name} is damaged: what begins at {at:#x} has no end")

    def string(self, name: str, at: int) -> bytes:
        """The text that begins at an offset."""
        data = self.read(name, at, 64)
        if b"\0" not in data:
            data = self.read(name, at, _LONGEST_NAME)
        return data.partition(b"\0")[0]

    def _section(self, name: str) -> Section | None:
        section = self._image.section(name)
        return section if section is not None and section.in_file and section.size else None

    def _unpack(self, section: Section) -> bytes:
        if section.name not in self._unpacked:
            data = self._image.contents(section)
            if len(data) < _COMPRESSION.size:
                raise NoDwarf(f"{section.name} is damaged: its compression header is cut off")
            kind, _, size, _ = _COMPRESSION.unpack_from(data)
            if kind != _ZLIB:
                raise NoDwarf(f"{section.name} is compressed with {'zstd' if kind == _ZSTD else kind}; zlib is read")
            if size > self._left:
                raise NoDwarf(f"the compressed sections are too large: more than {_MOST_UNPACKED >> 20} MiB")
            unpacker = zlib.decompressobj()
            try:
                unpacked = unpacker.decompress(data[_COMPRESSION.size :], size + 1)
            except zlib.error as error:
                raise NoDwarf(f"{section.name} does not unpack: {error}") from error
            if len(unpacked) != size:
                raise NoDwarf(f"{section.name} does not unpack to the {size} bytes that its header speaks of")
            self._left -= size
            self._unpacked[section.name] = unpacked
        return self._unpacked[section.name]
