"""An ELF file: its segments, sections, build-id, and bytes by virtual address.

The file is mapped, and tables are taken from it whole, because a QEMU has 20,000 symbols and 120,000 relocations.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from colotrace.binary import elf
from colotrace.binary.elf import Section
from colotrace.binary.opening import check_magic, map_binary, open_binary, truncated
from colotrace.errors import BinaryError

_MACHINES = {elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "aarch64"}
_VERSION = re.compile(rb"QEMU emulator version ([ -~]{1,120}?)\n")
_PF_X, _PF_W = 1, 2
_IN_THE_FILE = (elf.PT_LOAD, elf.PT_NOTE, elf.PT_DYNAMIC, elf.PT_GNU_EH_FRAME)


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD segment."""

    address: int
    offset: int
    file_size: int
    memory_size: int
    flags: int

    @property
    def executable(self) -> bool:
        """Whether code may run in it."""
        return bool(self.flags & _PF_X)

    @property
    def writable(self) -> bool:
        """Whether the program may write to it."""
        return bool(self.flags & _PF_W)


class Image:
    """A mapped ELF file of a machine that colotrace knows. Use as a context manager, or close().

    `name` is what messages call it, where the path says little (/proc/self/fd/7). With `debug` it may be a file of
    debug symbols only: its sections count, its segments may be empty. Raises BinaryError for what is not ELF, is
    truncated, or is of another architecture.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None, *, debug: bool = False) -> None:
        self.path = name or str(path)
        self._debug = debug
        self._file: BinaryIO | None = open_binary(str(path))
        try:
            self._data: mmap.mmap | bytes = map_binary(self._file, self.path)
            self._parse_or_refuse()
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def of_bytes(cls, data: bytes, name: str) -> Image:
        """An image of debug symbols that lie in memory. Raises BinaryError as the constructor does."""
        image = cls.__new__(cls)
        image.path, image._debug, image._file, image._data = name, True, None, data
        check_magic(data, name)
        image._parse_or_refuse()
        return image

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmaps the file."""
        if isinstance(self._data, mmap.mmap):
            self._data.close()
        if self._file is not None:
            self._file.close()

    def _parse_or_refuse(self) -> None:
        try:
            self._parse()
        except (struct.error, ValueError, OverflowError) as error:
            raise BinaryError(f"{self.path} is a damaged ELF file: {error}", "Use an intact copy of it.") from error

    def _parse(self) -> None:
        header = elf.read_header(self._data)
        self._check_kind(header)
        self.machine = _MACHINES[header.machine]
        self.entry = header.entry
        self.at_fixed_addresses = header.kind == elf.ET_EXEC
        size = len(self._data)
        if header.end > size:
            raise truncated(self.path, size, header.end)
        self._headers = elf.read_program_headers(self._data, header)
        for row in self._headers:
            in_file = row.kind in _IN_THE_FILE and row.file_size > 0 and not self._debug  # .bss has none
            if in_file and row.offset + row.file_size > size:
                raise truncated(self.path, size, row.offset + row.file_size)
        self.segments = [
            Segment(row.address, row.offset, row.file_size, row.memory_size, row.flags)
            for row in self._headers
            if row.kind == elf.PT_LOAD
        ]
        self._check_segments()
        self.sections = elf.read_sections(self._data, header)
        for section in self.sections:
            if section.in_file and section.offset + section.size > size:
                raise truncated(self.path, size, section.offset + section.size)
        self.build_id = self._read_build_id()

    def _check_kind(self, header: elf.Header) -> None:
        machine = _MACHINES.get(header.machine)
        if machine is None or header.bits != 64 or not header.little_endian:
            order = "" if header.little_endian else ", big-endian"
            raise BinaryError(
                f"{self.path} is built for {machine or _machine_name(header.machine)}, {header.bits} bits{order}; "
                f"colotrace reads {' and '.join(_MACHINES.values())}, little-endian",
                "Run it on the binary of such a host. What the QEMU emulates does not matter.",
            )
        if header.kind not in (elf.ET_EXEC, elf.ET_DYN):
            what = {elf.ET_CORE: "a core file", elf.ET_REL: "an object file or kernel module"}.get(header.kind)
            raise BinaryError(
                f"{self.path} is {what or f'of type {header.kind}'}, not a program", "Name the QEMU binary itself."
            )

    def _check_segments(self) -> None:
        if self._debug:
            return
        if not any(segment.executable for segment in self.segments):
            raise BinaryError(
                f"{self.path} holds no code (a file of debug symbols only?)", "Name the QEMU binary itself."
            )
        ordered = sorted(self.segments, key=lambda segment: segment.address)
        for one, following in itertools.pairwise(ordered):
            if one.address + max(one.file_size, one.memory_size) > following.address:
                raise ValueError(f"its segments at {one.address:#x} and {following.address:#x} overlap")
        if ordered[-1].address + ordered[-1].memory_size > 1 << 64:
            raise ValueError(f"its segment at {ordered[-1].address:#x} goes beyond the end of the address space")

    def _read_build_id(self) -> str | None:
        """From the note segments, and where there are none (debug files), from the section."""
        places = [(row.offset, row.file_size) for row in self._headers if row.kind == elf.PT_NOTE]
        places += [(s.offset, s.size) for s in self.sections if s.kind == "SHT_NOTE"]
        for offset, size in places:
            for note in elf.read_notes(self._data[offset : offset + min(size, 1 << 20)]):
                if note.owner == b"GNU" and note.kind == elf.NT_GNU_BUILD_ID and note.data:
                    return note.data.hex()
        return None

    def build_id_address(self) -> int | None:
        """Where the build-id itself is, as a virtual address; None if there is none, or it is not loaded."""
        if self.build_id is None:
            return None
        for row in self._headers:
            if row.kind == elf.PT_NOTE:
                found = self._data.find(bytes.fromhex(self.build_id), row.offset, row.offset + row.file_size)
                if found >= 0:
                    return self.address_of(found)
        return None

    @functools.cached_property
    def dynamic(self) -> dict[int, int]:
        """The entries of the PT_DYNAMIC segment by tag: what the dynamic linker goes by, section headers or not."""
        row = next((row for row in self._headers if row.kind == elf.PT_DYNAMIC), None)
        return elf.read_dynamic(self._data[row.offset : row.offset + row.file_size]) if row else {}

    def unwind_index(self) -> tuple[int, bytes] | None:
        """The address and the bytes of .eh_frame_hdr, which has a program header of its own."""
        row = next((row for row in self._headers if row.kind == elf.PT_GNU_EH_FRAME), None)
        if row is not None:
            return row.address, self._data[row.offset : row.offset + row.file_size]
        section = self.section(".eh_frame_hdr")
        return (section.address, self.contents(section)) if section else None

    def file_facts(self) -> tuple[int, str]:
        """The size of the file and the SHA-256 of all of it, read through the descriptor that was opened first."""
        assert self._file is not None, "an image in memory has no file"
        digest, at, descriptor = hashlib.sha256(), 0, self._file.fileno()
        while chunk := os.pread(descriptor, 1 << 20, at):
            digest.update(chunk)
            at += len(chunk)
        return at, digest.hexdigest()

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((s for s in self.sections if s.name == name), None)

    def contents(self, section: Section) -> bytes:
        """A section's bytes in the file; empty for .bss and its like."""
        return self._data[section.offset : section.offset + section.size] if section.in_file else b""

    def piece(self, section: Section, at: int, size: int) -> bytes:
        """Up to `size` of a section's bytes, from `at` on, read without mapping them."""
        start, size = section.offset + at, max(0, min(size, section.size - at))
        return self._data[start : start + size] if self._file is None else os.pread(self._file.fileno(), size, start)

    def offset_of(self, address: int) -> int | None:
        """The file offset of a virtual address; None if the file has no byte for it."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.file_size:
                return address - segment.address + segment.offset
        return None

    def address_of(self, offset: int) -> int | None:
        """The virtual address at which a file offset is loaded; None if it is not."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.file_size:
                return offset - segment.offset + segment.address
        return None

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes at a virtual address, as the file has them; fewer at a segment's end, b"" outside."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.file_size:
                start = address - segment.address + segment.offset
                return self._data[start : start + min(size, segment.address + segment.file_size - address)]
        return b""

    def read_string(self, address: int, limit: int = 256) -> str | None:
        """The NUL-terminated string at a virtual address; None if there is none of at most `limit` bytes."""
        data = self.read(address, limit)
        end = data.find(b"\0")
        return None if end < 0 else data[:end].decode("utf-8", "replace")

    def is_code(self, address: int) -> bool:
        """Whether the address lies in an executable segment."""
        return any(s.executable and s.address <= address < s.address + s.file_size for s in self.segments)

    def executable_segments(self) -> Iterator[Segment]:
        """The segments that hold code."""
        return (segment for segment in self.segments if segment.executable)

    def constants(self) -> list[tuple[int, int]]:
        """(start, end) in the file of the read-only data: .rodata*, or all that is not writable without sections."""
        if self.sections:
            named = [s for s in self.sections if s.name.startswith(".rodata") and s.in_file]
            return [(s.offset, s.offset + s.size) for s in named]
        return [(s.offset, s.offset + s.file_size) for s in self.segments if not s.writable]

    def find_text(self, text: bytes) -> Iterator[int]:
        """The file offsets of a text in the read-only data."""
        for start, end in self.constants():
            at = self._data.find(text, start, end)
            while at >= 0:
                yield at
                at = self._data.find(text, at + 1, end)

    def has_text(self, text: bytes) -> bool:
        """Whether the read-only data hold a text."""
        return next(self.find_text(text), None) is not None

    def qemu_version(self) -> str | None:
        """What `--version` would print after "QEMU emulator version", read from the text itself; None: not a QEMU."""
        for start, end in self.constants():
            found = _VERSION.search(self._data, start, end)
            if found:
                return found.group(1).decode("ascii")
        return None


def _machine_name(number: int) -> str:
    from elftools.elf.enums import ENUM_E_MACHINE  # only for the message

    return next((name for name, value in ENUM_E_MACHINE.items() if value == number), str(number))
