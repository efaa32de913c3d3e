"""An ELF file: its segments, sections, build-id, and bytes by virtual address.

pyelftools reads the headers; tables are read whole from the mapped file, because a QEMU has 20,000 symbols and
120,000 relocations.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.construct.core import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from colotrace.errors import BinaryError

_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
SUPPORTED_MACHINES = ("x86_64",)
_VERSION = re.compile(rb"QEMU emulator version ([ -~]{1,120}?)\n")
_PF_X, _PF_W = 1, 2


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


@dataclass(frozen=True)
class Section:
    """A section, by name."""

    name: str
    kind: str
    address: int
    offset: int
    size: int
    entry_size: int
    link: int


class Image:
    """A mapped ELF file of a machine that colotrace knows. Use as a context manager, or close().

    `name` is what messages call it, where the path says little (/proc/self/fd/7). Raises BinaryError for what is not
    ELF, is truncated, or is of another architecture.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self.path = name or str(path)
        self._file: BinaryIO = _open(str(path))
        try:
            self._data = _map(self._file, self.path)
            try:
                self._parse()
            except (
                ELFError,
                ConstructError,
                struct.error,
                KeyError,
                ValueError,
                OverflowError,
                UnicodeDecodeError,
            ) as error:
                raise BinaryError(
                    f"{self.path} is a damaged ELF file: {error or type(error).__name__}", "Use an intact copy of it."
                ) from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmaps the file."""
        self._data.close()
        self._file.close()

    def _parse(self) -> None:
        elf = ELFFile(self._file)
        machine = str(elf["e_machine"])
        self.machine = _MACHINES.get(machine, machine)
        if self.machine not in SUPPORTED_MACHINES or elf.elfclass != 64 or not elf.little_endian:
            raise BinaryError(
                f"{self.path} is built for {self.machine}, {elf.elfclass} bits; colotrace reads x86_64 so far",
                "Run it on the binary of an x86-64 host. What the QEMU emulates does not matter.",
            )
        kind = str(elf["e_type"])
        if kind not in ("ET_EXEC", "ET_DYN"):
            what = {"ET_CORE": "a core file", "ET_REL": "an object file or kernel module"}.get(kind, f"of type {kind}")
            raise BinaryError(f"{self.path} is {what}, not a program", "Name the QEMU binary itself.")
        self.entry = int(elf["e_entry"])
        size = len(self._data)
        self.segments: list[Segment] = []
        self.build_id: str | None = None
        for header in elf.iter_segments():
            end = header["p_offset"] + header["p_filesz"]
            if header["p_type"] in ("PT_LOAD", "PT_NOTE", "PT_DYNAMIC", "PT_GNU_EH_FRAME") and end > size:
                raise _truncated(self.path, size, end)
            if header["p_type"] == "PT_LOAD":
                self.segments.append(
                    Segment(
                        header["p_vaddr"], header["p_offset"], header["p_filesz"], header["p_memsz"], header["p_flags"]
                    )
                )
            elif isinstance(header, NoteSegment) and self.build_id is None:
                for note in header.iter_notes():
                    if note["n_type"] == "NT_GNU_BUILD_ID":
                        self.build_id = str(note["n_desc"])
        if not any(segment.executable for segment in self.segments):
            raise BinaryError(
                f"{self.path} holds no code (a file of debug symbols only?)", "Name the QEMU binary itself."
            )
        if elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"] > size:
            raise _truncated(self.path, size, elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"])
        self.sections: list[Section] = []
        for section in elf.iter_sections():
            if section["sh_type"] != "SHT_NOBITS" and section["sh_offset"] + section["sh_size"] > size:
                raise _truncated(self.path, size, section["sh_offset"] + section["sh_size"])
            self.sections.append(
                Section(
                    section.name,
                    str(section["sh_type"]),
                    section["sh_addr"],
                    section["sh_offset"],
                    section["sh_size"],
                    section["sh_entsize"],
                    section["sh_link"],
                )
            )

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((s for s in self.sections if s.name == name), None)

    def contents(self, section: Section) -> bytes:
        """A section's bytes in the file; empty for .bss and its like."""
        return b"" if section.kind == "SHT_NOBITS" else self._data[section.offset : section.offset + section.size]

    def offset_of(self, address: int) -> int | None:
        """The file offset of a virtual address; None if the file has no byte for it."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.file_size:
                return address - segment.address + segment.offset
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

    def has_text(self, text: bytes) -> bool:
        """Whether the read-only data hold a text."""
        return any(
            self._data.find(text, section.offset, section.offset + section.size) >= 0
            for section in self.sections
            if section.name.startswith(".rodata") and section.kind != "SHT_NOBITS"
        )

    def qemu_version(self) -> str | None:
        """What `--version` would print after "QEMU emulator version", read from the text itself; None: not a QEMU."""
        for section in self.sections:
            if section.name.startswith(".rodata") and section.kind != "SHT_NOBITS":
                found = _VERSION.search(self._data, section.offset, section.offset + section.size)
                if found:
                    return found.group(1).decode("ascii")
        return None


def _open(path: str) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would keep us waiting for a writer
    except FileNotFoundError as error:
        raise BinaryError(
            f"there is no file {path}", "Name a QEMU binary, such as /usr/bin/qemu-system-x86_64."
        ) from error
    except OSError as error:
        raise BinaryError(f"cannot read {path}: {error.strerror}", "Check the path and its permissions.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BinaryError(f"{path} is not a regular file", "Name the QEMU binary itself.")
    return os.fdopen(fd, "rb")


def _map(file: BinaryIO, path: str) -> mmap.mmap:
    try:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # an empty file
        raise BinaryError(f"{path} is empty, not an ELF file", "Name a QEMU binary.") from error
    except OSError as error:
        raise BinaryError(f"cannot read {path}: {error.strerror}", "Name a QEMU binary.") from error
    if data[:4] != b"\x7fELF":
        data.close()
        raise BinaryError(f"{path} is not an ELF file", "Name the QEMU binary itself, not a wrapper script.")
    if len(data) < 64:
        size = len(data)
        data.close()
        raise _truncated(path, size, 64)
    return data


def _truncated(path: str, size: int, end: int) -> BinaryError:
    return BinaryError(
        f"{path} is truncated: it has {size} bytes, and its headers speak of {end}", "Use an intact copy of it."
    )
