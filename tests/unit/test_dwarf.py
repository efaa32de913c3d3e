"""What is read of DWARF is what pyelftools reads, in every format of both compilers; what is not, has its reason."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest

from colotrace.binary import debugsections, dwarf
from colotrace.binary.debugsections import DebugSections, NoDwarf
from colotrace.binary.dwarffunctions import describe
from colotrace.binary.image import Image
from colotrace.resolve.resolver import resolve

from .compiled import Build, build, run
from .decoding import cpu_bound, image_of
from .described import NAMES, SPLIT, WITNESSED, pieces, place, plain, with_bytes
from .elfwriter import ElfWriter
from .nameless import with_section

GCC, CLANG = plain("gcc", "-O2"), plain("clang", "-O2")
COMPRESSED = 1 << 11


def probed(path: Path) -> set[int]:
    return {probe.address for probe in resolve(path).probes if probe.role is not None}


def described(path: Path, addresses: set[int] | None = None) -> set[tuple[str, bool, tuple[tuple[int, int], ...]]]:
    with Image(path) as image:
        found = describe(image, addresses or probed(path), NAMES)
    return {(piece.name, piece.inlined, piece.ranges) for piece in found.pieces if piece.name in NAMES}


def reason(path: Path, addresses: set[int] | None = None) -> str:
    with pytest.raises(NoDwarf) as caught:
        described(path, addresses)
    return str(caught.value)


@pytest.mark.parametrize("one", WITNESSED, ids=str)
def test_pyelftools_reads_the_same(one: Build) -> None:
    path = build(one).path
    expected = pieces(path)
    assert len({name for name, _, _ in expected}) >= 9
    assert described(path) == expected


def test_the_unit_is_found_without_an_index(tmp_path: Path) -> None:
    """Clang writes none; of gcc's it is taken away, or is damaged."""
    expected, path = pieces(GCC), tmp_path / "program"
    run("objcopy", "--remove-section=.debug_aranges", str(GCC), str(path))
    assert described(path) == expected
    data = GCC.read_bytes()
    with Image(GCC) as image:
        index = image.section(".debug_aranges")
    assert index is not None
    path.write_bytes(data[: index.offset] + b"\xff" * index.size + data[index.offset + index.size :])
    assert described(path) == expected


def test_a_debug_file(tmp_path: Path) -> None:
    debug = tmp_path / "debug"
    run("objcopy", "--only-keep-debug", str(GCC), str(debug))
    with Image(debug, debug=True) as image:
        found = describe(image, probed(GCC), NAMES)
    assert {(p.name, p.inlined, p.ranges) for p in found.pieces if p.name in NAMES} == pieces(GCC)
    assert [Path(name).name for name in found.files] == ["thread.c"]


def test_no_debugging_information(tmp_path: Path) -> None:
    path = tmp_path / "program"
    run("objcopy", "--strip-debug", str(GCC), str(path))
    assert reason(path, {0}) == "there is none"


@pytest.mark.parametrize("one", SPLIT, ids=str)
def test_split(one: Build) -> None:
    text = reason(build(one).path)
    assert text.startswith("it is split: ") and ".dwo, which is not read" in text


def test_code_that_no_unit_describes() -> None:
    for path in (GCC, CLANG):
        assert reason(path, {1}) == "no unit describes the code that would be probed"


def test_the_old_compressed_form(tmp_path: Path) -> None:
    path = tmp_path / "program"
    run("objcopy", "--compress-debug-sections=zlib-gnu", str(GCC), str(path))
    assert "old compressed form" in reason(path, {0})


def compressed(kind: int, size: int, data: bytes) -> bytes:
    """A program of nothing but a compressed .debug_info."""
    elf = ElfWriter()
    elf.text(0x1000, b"\xc3")
    out = bytearray(with_section(elf.build(), ".debug_info", struct.pack("<IIQQ", kind, 0, size, 1) + data))
    struct.pack_into("<Q", out, len(out) - 64 + 8, COMPRESSED)  # the section header is the last one
    return bytes(out)


@pytest.mark.parametrize(
    ("kind", "size", "data", "words"),
    [
        (2, 9, b"anything", "compressed with zstd"),
        (7, 9, b"anything", "compressed with 7"),
        (1, 9, b"anything", "does not unpack: "),
        (1, 9, zlib.compress(bytes(8)), "does not unpack to the 9 bytes"),
        (1, 9, zlib.compress(bytes(10)), "does not unpack to the 9 bytes"),
        (1, 65 << 20, zlib.compress(bytes(9)), "too large: more than 64 MiB"),
    ],
)
def test_compressed_in_ways_that_are_not_read(kind: int, size: int, data: bytes, words: str) -> None:
    with image_of(compressed(kind, size, data)) as image, pytest.raises(NoDwarf, match=words):
        describe(image, {0x1000}, NAMES)


def test_all_compressed_sections_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    path = build(Build("gcc", "-O2", flags="-g -gz", stripped=False)).path
    monkeypatch.setattr(debugsections, "_MOST_UNPACKED", 4096)
    assert "too large" in reason(path)


def test_a_bound_on_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = probed(GCC)
    monkeypatch.setattr(dwarf, "MOST_STEPS", 500)
    assert "it is too large: " in reason(GCC, addresses)


@pytest.mark.parametrize("what", ["units", "functions"])
def test_more_of_anything_than_there_should_be_ends_soon(what: str) -> None:
    """Units with nothing in them, and one unit of functions of which each has a name and code."""
    header, code = struct.pack("<HBBI", 5, 1, 8, 0), struct.pack("<QI", 0x1000, 1)
    if what == "units":
        unit = header + b"\x03"
        data = (struct.pack("<I", len(unit)) + unit) * 1_000_000
    else:
        unit = header + b"\x01" + code + (b"\x02" + code + b"f\0") * 400_000 + b"\0"
        data = struct.pack("<I", len(unit)) + unit
    low_high = b"\x11\x01\x12\x06"
    unit_with_code, inlined = b"\x01\x11\x01" + low_high + b"\0\0", b"\x02\x1d\x00" + low_high + b"\x03\x08\0\0"
    elf = ElfWriter()
    elf.text(0x1000, b"\xc3")
    file = with_section(elf.build(), ".debug_abbrev", unit_with_code + inlined + b"\x03\x11\x01\0\0\0")
    with image_of(with_section(file, ".debug_info", data)) as image, cpu_bound(5), pytest.raises(NoDwarf) as caught:
        describe(image, {0x1000}, NAMES)
    assert re.search("it is too large: .* steps", str(caught.value))


def test_a_bound_on_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = probed(GCC)
    monkeypatch.setattr(dwarf, "_LARGEST_UNIT", 500)
    assert "it is too large: the unit of" in reason(GCC, addresses)


def test_a_text_longer_than_a_piece(tmp_path: Path) -> None:
    """A unit's name may be longer than what is read at first."""
    with image_of(GCC.read_bytes()) as image:
        sections = DebugSections(image)
        section = image.section(".debug_str")
        assert section is not None
        whole = image.contents(section)
        longest = max(whole.split(b"\0"), key=len)
        assert len(longest) > 64 and sections.string(".debug_str", whole.index(longest)) == longest


@pytest.mark.parametrize(
    ("section", "at", "new", "words"),
    [
        (".debug_info", 0, struct.pack("<I", 1 << 30), "the unit at 0x"),
        (".debug_info", 8, struct.pack("<I", 1 << 30), "damaged"),
        (".debug_abbrev", 0, bytes(4096), "has no abbreviation"),
        (".debug_abbrev", 3, b"\x7f\x7f" * 64, "form 0x7f, which is not known|damaged"),
    ],
    ids=["a unit beyond the end", "a table beyond the end", "no abbreviations", "an unknown form"],
)
def test_damage_is_said(tmp_path: Path, section: str, at: int, new: bytes, words: str) -> None:
    data = GCC.read_bytes()
    with Image(GCC) as image:
        found = image.section(section)
        assert found is not None
        offset = found.offset + at
    new = new[: found.size - at]
    path = tmp_path / "program"
    path.write_bytes(data[:offset] + new + data[offset + len(new) :])
    text = reason(path, probed(GCC))
    assert re.search(words, text), text


def test_an_entry_that_refers_to_nothing(tmp_path: Path) -> None:
    """The origin of an inlined call lies beyond the unit."""
    where = place(GCC, "colo_process_checkpoint", "DW_AT_abstract_origin")
    path = tmp_path / "program"
    path.write_bytes(with_bytes(GCC.read_bytes(), where, b"\xff" * where.size))
    assert "damaged" in reason(path, probed(GCC))
