"""Symbol tables that were split off a binary: separate debug files, and MiniDebugInfo inside it.

Where they lie is GDB's convention ("Debugging Information in Separate Files", and "MiniDebugInfo"). None is believed
for its name: a file must have the binary's build-id, or else the checksum that the binary has of it; its .text must be
the binary's; and it must not contradict the binary's own dynamic symbols.
"""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from colotrace.binary.image import Image
from colotrace.binary.tables import SymbolTable, contradictions, dynamic_symbols, symbol_tables
from colotrace.errors import BinaryError
from colotrace.text import printable

DEBUG_ROOT = "/usr/lib/debug"
_MOST_UNPACKED = 32 << 20
"""Bytes of MiniDebugInfo; a QEMU's are 4 MB."""
_MOST_XZ_MEMORY = 70 << 20
"""Enough for what `xz -9` packs."""
_MOST_DEBUG_FILE = 4 << 30
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DebugLink:
    """.gnu_debuglink: a file's name, and the CRC-32 of its bytes."""

    name: str
    crc: int


def debug_link(image: Image) -> DebugLink | None:
    """The image's debug link; None if it has none, or one that names more than a file."""
    section = image.section(".gnu_debuglink")
    data = image.contents(section)[:1024] if section else b""
    end = data.find(b"\0")
    crc_at = end + 1 + -(end + 1) % 4
    if end < 1 or b"/" in data[:end] or crc_at + 4 > len(data):
        return None
    return DebugLink(os.fsdecode(data[:end]), struct.unpack_from("<I", data, crc_at)[0])


def candidates(image: Image, root: str = DEBUG_ROOT) -> Iterator[tuple[str, DebugLink | None]]:
    """Where a separate debug file may lie; with a link where the link's checksum is what vouches for it."""
    if image.build_id and len(image.build_id) > 2:
        yield f"{root}/.build-id/{image.build_id[:2]}/{image.build_id[2:]}.debug", None
    link = debug_link(image)
    if link:
        folder = os.path.dirname(os.path.abspath(image.path.removesuffix(" (deleted)")))
        for path in (f"{folder}/{link.name}", f"{folder}/.debug/{link.name}", f"{root}{folder}/{link.name}"):
            yield path, link


def tables_of_file(image: Image, path: str, link: DebugLink | None = None) -> list[SymbolTable]:
    """The symbols in a separate debug file of `image`. Raises BinaryError if it is not its, or has none."""
    with Image(path, debug=True) as debug:
        if link is not None and debug.build_id is None and _crc(path) != link.crc:
            raise BinaryError(
                f"{path} is not the debug file of {image.path}: its checksum is not the one in .gnu_debuglink",
                "Install the debug symbols of exactly this build.",
            )
        if link is None or debug.build_id is not None:
            _check_build_id(image, debug)
        return _tables(image, debug, f".symtab of {path}")


def tables_inside(image: Image) -> list[SymbolTable]:
    """The symbols in the image's MiniDebugInfo; [] if it has none. Raises BinaryError if it is damaged or another's."""
    section = image.section(".gnu_debugdata")
    if section is None:
        return []
    name = f".gnu_debugdata of {image.path}"
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_XZ_MEMORY)
    try:
        data = decompressor.decompress(image.contents(section), _MOST_UNPACKED)
    except (lzma.LZMAError, MemoryError) as error:
        raise BinaryError(f"{name} does not unpack: {error or 'it wants too much memory'}") from error
    if not decompressor.eof:
        why = f"it has more than {_MOST_UNPACKED} bytes" if len(data) >= _MOST_UNPACKED else "it is cut off"
        raise BinaryError(f"{name} does not unpack: {why}")
    with Image.of_bytes(data, name) as debug:
        return _tables(image, debug, ".symtab of .gnu_debugdata")


def _check_build_id(image: Image, debug: Image) -> None:
    if image.build_id is None or image.build_id != debug.build_id:
        raise BinaryError(
            f"{debug.path} is not the debug file of {image.path}: its build-id is {debug.build_id or 'missing'}, "
            f"and the binary's is {image.build_id or 'missing'}",
            "Install the debug symbols of exactly this build.",
        )


def _tables(image: Image, debug: Image, source: str) -> list[SymbolTable]:
    """The tables of a debug file, if nothing in it contradicts the image."""
    text, other = image.section(".text"), debug.section(".text")
    if text and other and (text.address, text.size) != (other.address, other.size):
        raise BinaryError(
            f"{debug.path} is not the debug file of {image.path}: its .text is {other.size} bytes at "
            f"{other.address:#x}, and the binary's {text.size} at {text.address:#x}",
            "Install the debug symbols of exactly this build.",
        )
    tables = [t for t in symbol_tables(debug) if t.source == ".symtab"]
    if not tables:
        raise BinaryError(f"{debug.path} has no .symtab", "Install the full debug symbols.")
    named = SymbolTable(source, tables[0].rows, tables[0].strings)
    _check_agreement(image, debug, named)
    return [named]


def _check_agreement(image: Image, debug: Image, table: SymbolTable) -> None:
    """Exported functions that the debug file names as well must be where it has them."""
    own = dynamic_symbols(image)
    differing = contradictions(own, table) if own else []
    if differing:
        raise BinaryError(
            f"{debug.path} contradicts the symbols of {image.path} in {len(differing)} names, the first: "
            f"{printable(differing[0])}",
            "Install the debug symbols of exactly this build.",
        )


def _crc(path: str) -> int:
    """The CRC-32 of a file, as .gnu_debuglink has it."""
    crc, left = 0, _MOST_DEBUG_FILE
    with open(path, "rb") as file:
        while left > 0 and (chunk := file.read(_CHUNK)):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return crc
