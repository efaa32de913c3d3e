"""Files that are no QEMU, each with its own message; and what an Image answers about one that is."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from colotrace.binary.image import Image
from colotrace.errors import BinaryError, NoColoError, PlanError

from .asm import Assembler
from .coloprogram import Recipe, build
from .decoding import image_of
from .elfwriter import BUILD_ID, ET_CORE, ET_EXEC, ET_REL, ElfWriter, elf32
from .truth import plan_of

VALID = build().data


def header(**fields: int) -> bytes:
    """The valid file with other values in its header's fields."""
    places = {"type": ("<H", 16), "machine": ("<H", 18), "phoff": ("<Q", 32), "shoff": ("<Q", 40), "phnum": ("<H", 56)}
    places["shnum"] = ("<H", 60)
    data = bytearray(VALID)
    for name, value in fields.items():
        struct.pack_into(places[name][0], data, places[name][1], value)
    return bytes(data)


def plain(writer: ElfWriter) -> bytes:
    writer.text(0x41000, b"\xc3")
    return writer.build()


def debug_only() -> bytes:
    """What objcopy --only-keep-debug leaves: sections without segments that hold code."""
    writer = ElfWriter()
    writer.rodata(0x1000, b"no code here")
    return writer.build()


def vmlinux() -> bytes:
    """An executable at the kernel's addresses, with the kernel's own version text."""
    writer = ElfWriter(kind=ET_EXEC)
    writer.rodata(0xFFFFFFFF82000000, b"Linux version 6.18.0 (synthetic)\n")
    writer.text(0xFFFFFFFF81000000, b"\xc3")
    return writer.build()


def overlapping() -> bytes:
    writer = ElfWriter()
    writer.text(0x41000, b"\xc3" * 16)
    writer.text(0x41000, b"\x90" * 16)
    return writer.build()


def beyond() -> bytes:
    writer = ElfWriter()
    writer.text(0xFFFFFFFFFFFFF000, b"\xc3" * 0x1001)
    return writer.build()


PLAIN = plain(ElfWriter())
MESSAGES = {
    "empty": (b"", "is empty"),
    "a script": (b"#!/bin/sh\nexec qemu-system-x86_64\n", "is not an ELF file"),
    "nearly": (b"\x7fELG" + VALID[4:], "is not an ELF file"),
    "only the magic": (VALID[:4], "is truncated: it has 4 bytes"),
    "a byte short of a header": (VALID[:63], "is truncated: it has 63 bytes"),
    "aarch64": (PLAIN[:18] + b"\xb7" + PLAIN[19:], "is not a QEMU system emulator"),
    "big endian aarch64": (VALID[:5] + b"\2" + VALID[6:16] + b"\0\3\0\xb7" + VALID[20:], "aarch64, 64 bits, big"),
    "riscv": (header(machine=243), "is built for EM_RISCV"),
    "an unknown machine": (header(machine=0xFEED), "is built for 65261"),
    "32 bits": (elf32(), "is built for EM_386, 32 bits"),
    "x32": (elf32(62), "is built for x86_64, 32 bits"),
    "big endian": (VALID[:5] + b"\2" + VALID[6:16] + b"\0\3\0\x3e" + VALID[20:], "x86_64, 64 bits, big-endian"),
    "big endian of its own machine": (VALID[:5] + b"\2" + VALID[6:16] + b"\0\2\0\x16" + VALID[20:], "EM_S390, 64"),
    "32 bits and big endian": (elf32()[:5] + b"\2" + elf32()[6:16] + b"\0\2\0\x14" + elf32()[20:], "EM_PPC, 32 bits"),
    "no such class": (VALID[:4] + b"\3" + VALID[5:], "damaged ELF file: its header has no such class"),
    "a kernel image": (b"MZ" + bytes(0x200) + b"HdrS" + bytes(99), "is a Linux kernel image"),
    "a kernel's ELF": (vmlinux(), "is not a QEMU system emulator"),
    "too many segments": (header(phnum=513), "has 513 program headers, and 512 are the most"),
    "too many sections": (header(shnum=4097), "has 4097 sections, and 4096 are the most"),
    "overlapping segments": (overlapping(), "its segments at 0x41000 and 0x41000 overlap"),
    "a segment beyond all addresses": (beyond(), "goes beyond the end of the address space"),
    "a core file": (header(type=ET_CORE), "is a core file, not a program"),
    "an object file": (header(type=ET_REL), "is an object file or kernel module"),
    "an unknown type": (header(type=0xFE12), "not a program"),
    "debug symbols": (debug_only(), "holds no code"),
    "no segments": (header(phnum=0), "holds no code"),
    "no QEMU": (PLAIN, "is not a QEMU system emulator"),
    "no section headers": (plain(ElfWriter(section_headers=False)), "is not a QEMU system emulator"),
    "another program's version": (build(Recipe(version="qemu-img version 9.9.9\n")).data, "is not a QEMU system"),
}


@pytest.mark.parametrize("what", sorted(MESSAGES))
def test_each_has_its_own_message(what: str) -> None:
    data, words = MESSAGES[what]
    with pytest.raises(BinaryError, match=words) as caught:
        plan_of(data)
    assert caught.value.remedy and caught.value.exit_code == 4
    assert not isinstance(caught.value, NoColoError)


@pytest.mark.parametrize("shoff", [len(VALID), len(VALID) - 64, 1 << 40])
def test_section_headers_beyond_the_end(shoff: int) -> None:
    with pytest.raises(BinaryError, match=r"truncated|damaged"):
        plan_of(header(shoff=shoff))


def boundaries() -> list[int]:
    """The ends of the file's headers, segments and sections, less one, exactly, and one more."""
    ends = {64, 64 + 56, struct.unpack_from("<Q", VALID, 40)[0], len(VALID)}
    with image_of(VALID) as image:
        ends |= {s.offset + s.file_size for s in image.segments}
        ends |= {s.offset + s.size for s in image.sections if s.kind != "SHT_NOBITS"}
    return sorted({end + delta for end in ends for delta in (-1, 0, 1) if 64 <= end + delta < len(VALID)})


@pytest.mark.parametrize("size", boundaries())
def test_truncated(size: int) -> None:
    with pytest.raises(BinaryError, match=r"is truncated|damaged ELF file"):
        plan_of(VALID[:size])


def test_truncated_tells_both_sizes() -> None:
    with pytest.raises(BinaryError, match=r"it has 20000 bytes, and its headers speak of \d{5}"):
        plan_of(VALID[:20000])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BinaryError, match="there is no file"):
        Image(tmp_path / "absent")
    with pytest.raises(BinaryError, match="not a regular file"):
        Image(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BinaryError, match="not a regular file"):
        Image(tmp_path / "fifo")


def test_no_colo_and_colo_that_is_not_understood_are_different_errors() -> None:
    roots = frozenset(("migrate_start_colo_process", "colo_process_incoming_thread"))
    with pytest.raises(NoColoError, match=r"is QEMU 9\.9\.9 \(synthetic\) without COLO"):
        plan_of(build(Recipe(stripped=roots, colo_text=False)).data)
    with pytest.raises(PlanError, match=r"QEMU 9\.9\.9 \(synthetic\) with COLO in it"):
        plan_of(build(Recipe(stripped=roots)).data)


def test_what_an_image_knows() -> None:
    program = build(Recipe(skew=3))
    with image_of(program.data) as image:
        assert image.machine == "x86_64"
        assert image.build_id == BUILD_ID.hex()
        assert image.qemu_version() == "9.9.9 (synthetic)"
        text = image.section(".text")
        assert text is not None and (text.address, text.offset) == program.text
        assert image.section(".nothing") is None
        assert image.contents(text) == program.data[text.offset : text.offset + text.size]
        bss = image.section(".bss")
        assert bss is not None and image.contents(bss) == b"" and bss.size == 0x200


def test_no_build_id() -> None:
    with image_of(plain(ElfWriter(build_id=None))) as image:
        assert image.build_id is None


def test_executables_at_fixed_addresses_are_programs_too() -> None:
    with image_of(header(type=ET_EXEC)) as image:
        assert image.qemu_version() == "9.9.9 (synthetic)"


def test_addresses() -> None:
    program = build(Recipe(skew=2))
    start, offset = program.text
    with image_of(program.data) as image:
        text = next(s for s in image.segments if s.address == start)
        end = start + text.file_size
        assert image.offset_of(start) == offset and image.offset_of(end - 1) == offset + text.file_size - 1
        assert image.offset_of(end) is None and image.offset_of(0) is None and image.offset_of(-1) is None
        assert image.is_code(start) and image.is_code(end - 1)
        assert not image.is_code(end) and not image.is_code(program.labels["text transferred"])
        assert image.offset_of(program.labels["ram_counters"]) is None, ".bss has no bytes in the file"
        assert image.read(program.labels["ram_counters"], 8) == b""
        assert image.read(end - 3, 10) == program.data[offset + text.file_size - 3 : offset + text.file_size]
        assert [s.address for s in image.executable_segments()] == [program.labels["g_realloc"], start]


def test_strings() -> None:
    asm = Assembler(0x1000)
    asm.raw(b"first\0se\xffcond\0" + b"x" * 300)
    writer = ElfWriter()
    writer.rodata(0x1000, asm.assemble())
    with image_of(plain(writer)) as image:
        assert image.read_string(0x1000) == "first"
        assert image.read_string(0x1003) == "st"
        assert image.read_string(0x1006) == "se\ufffdcond"
        assert image.read_string(0x100E) is None, "no end within the limit"
        assert image.read_string(0x9000) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (b"QEMU emulator version 7.2.22 (Debian 1:7.2)\n", "7.2.22 (Debian 1:7.2)"),
        (b"QEMU emulator version 11.1.3\nCopyright", "11.1.3"),
        (b"x\0QEMU emulator version 1\n", "1"),
        (b"QEMU emulator version 7.2", None),
        (b"QEMU emulator version \n", None),
        (b"QEMU emulator version 7\xff2\n", None),
        (b"QEMU emulator version " + b"7" * 121 + b"\n", None),
    ],
)
def test_versions(text: bytes, version: str | None) -> None:
    writer = ElfWriter()
    writer.rodata(0x1000, b"head\0" + text, ".rodata.str1.8")
    with image_of(plain(writer)) as image:
        assert image.qemu_version() == version


def test_a_version_is_only_looked_for_in_constants() -> None:
    writer = ElfWriter()
    writer.relro(0x1000, b"QEMU emulator version 1.2.3\n")
    with image_of(plain(writer)) as image:
        assert image.qemu_version() is None
