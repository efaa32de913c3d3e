"""Names from separate debug files and MiniDebugInfo: the right file gives the whole plan, any other none at all."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import pytest

from colotrace.binary.debugfiles import candidates, debug_link
from colotrace.errors import BinaryError, ColotraceError, PlanError
from colotrace.phases import ROLE_PHASES, Role
from colotrace.resolve.nameoptions import NameOptions
from colotrace.resolve.plan import ProbePlan
from colotrace.resolve.resolver import resolve

from .coloprogram import Recipe, build
from .decoding import image_of
from .elfwriter import BUILD_ID, ElfWriter, Symbol
from .nameless import all_names, debug_file, link_to, minidebug, nameless, symbols_of, with_section
from .truth import exact, lies

PROGRAM = nameless(seed=4)
ALL = {(role.value, phase.value) for role in Role for phase in ROLE_PHASES[role]}
OTHER_ID = BUILD_ID[::-1]


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def plan_with(folder: Path, data: bytes, debug: str | None = None) -> ProbePlan:
    path = write(folder / "bin/qemu", data)
    return resolve(path, options=NameOptions(debug, debug_root=str(folder / "debug")))


def is_whole(plan: ProbePlan, source: str) -> bool:
    assert not lies(plan, PROGRAM.truth)
    assert {known.source for known in plan.names} == {source}
    return exact(plan) == ALL and plan.ram_counters.known


def test_without_one_there_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="0 functions of that name"):
        plan_with(tmp_path, PROGRAM.data)


def test_a_file_that_is_named(tmp_path: Path) -> None:
    debug = write(tmp_path / "qemu.debug", debug_file(PROGRAM))
    assert is_whole(plan_with(tmp_path, PROGRAM.data, debug), f".symtab of {debug}")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (debug_file(PROGRAM, OTHER_ID), f"its build-id is {OTHER_ID.hex()}, and the binary's is {BUILD_ID.hex()}"),
        (debug_file(PROGRAM, None), "its build-id is missing"),
        (debug_file(PROGRAM, text_size=4096), "its .text is 4096 bytes at 0x41000, and the binary's"),
        (debug_file(PROGRAM, symbols=[]), "has no .symtab"),
        (b"\x7fELF" + bytes(100), "damaged"),
        (b"not ELF", "not an ELF file"),
    ],
)
def test_a_file_that_is_not_the_binarys_is_an_error_if_it_was_named(tmp_path: Path, data: bytes, words: str) -> None:
    debug = write(tmp_path / "qemu.debug", data)
    with pytest.raises(BinaryError, match=words):
        plan_with(tmp_path, PROGRAM.data, debug)


def test_a_file_that_contradicts_exported_functions_is_an_error(tmp_path: Path) -> None:
    exported = build(Recipe(seed=4))
    symbols = symbols_of(PROGRAM, {"vm_start": PROGRAM.labels["vm_stop_force_state"]})
    debug = write(tmp_path / "qemu.debug", debug_file(PROGRAM, symbols=symbols))
    with pytest.raises(BinaryError, match=r"contradicts the symbols .* in 1 names, the first: vm_start"):
        plan_with(tmp_path, exported.data, debug)


def test_a_file_in_the_directory_of_build_ids(tmp_path: Path) -> None:
    name = BUILD_ID.hex()
    debug = write(tmp_path / f"debug/.build-id/{name[:2]}/{name[2:]}.debug", debug_file(PROGRAM))
    assert is_whole(plan_with(tmp_path, PROGRAM.data), f".symtab of {debug}")


@pytest.mark.parametrize("where", ["bin", "bin/.debug", "debug{}/bin"])
def test_a_file_that_the_binary_links_to(tmp_path: Path, where: str) -> None:
    data = debug_file(PROGRAM, None)
    linked = with_section(PROGRAM.data, ".gnu_debuglink", link_to("qemu.debug", data))
    debug = write(tmp_path / where.format(tmp_path) / "qemu.debug", data)
    assert is_whole(plan_with(tmp_path, linked), f".symtab of {debug}")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (debug_file(PROGRAM, None) + b"\0", "its checksum is not the one in .gnu_debuglink"),
        (debug_file(PROGRAM, OTHER_ID), "its build-id is"),
        (debug_file(PROGRAM)[:-70], "truncated"),
    ],
)
def test_another_file_behind_the_link_is_left_out_with_the_reason(tmp_path: Path, data: bytes, words: str) -> None:
    binary = with_section(build(Recipe(seed=4)).data, ".gnu_debuglink", link_to("q.debug", debug_file(PROGRAM, None)))
    write(tmp_path / "bin/q.debug", data)
    plan = plan_with(tmp_path, binary)
    assert plan.sources == (".dynsym",) and exact(plan) == ALL
    assert [(item.what, words in item.reason) for item in plan.unresolved] == [("names", True)]


def test_what_a_link_may_be() -> None:
    def link(contents: bytes) -> tuple[str, int] | None:
        with image_of(with_section(PROGRAM.data, ".gnu_debuglink", contents)) as image:
            found = debug_link(image)
            return (found.name, found.crc) if found else None

    assert link(b"a\0\0\0\1\2\3\4") == ("a", 0x04030201)
    assert link(b"abc\0\1\2\3\4") == ("abc", 0x04030201)
    for wrong in (b"", b"\0\0\0\0\1\2\3\4", b"abc\0\1\2\3", b"../a\0\0\0\0\1\2\3\4", b"no end", b"x" * 4096):
        assert link(wrong) is None, wrong


def test_where_files_are_looked_for() -> None:
    elf = ElfWriter(build_id=b"\x12")
    elf.text(0x41000, b"\xc3")
    with image_of(elf.build()) as image:
        assert [path for path, _ in candidates(image)] == [], "a build-id of one byte has no file"
    with image_of(with_section(PROGRAM.data, ".gnu_debuglink", link_to("q.debug", b""))) as image:
        image.path = "/usr/bin/qemu (deleted)"
        name = BUILD_ID.hex()
        assert [path for path, _ in candidates(image)] == [
            f"/usr/lib/debug/.build-id/{name[:2]}/{name[2:]}.debug",
            "/usr/bin/q.debug",
            "/usr/bin/.debug/q.debug",
            "/usr/lib/debug/usr/bin/q.debug",
        ]


def test_minidebuginfo(tmp_path: Path) -> None:
    data = with_section(PROGRAM.data, ".gnu_debugdata", minidebug(debug_file(PROGRAM)))
    assert is_whole(plan_with(tmp_path, data), ".symtab of .gnu_debugdata")


def test_minidebuginfo_beside_exported_names(tmp_path: Path) -> None:
    """As distributions have it: what .dynsym has is left out of it."""
    program = build(Recipe(seed=4))
    helpers = [Symbol("colo_send_message", program.labels["send message"], 16)]
    data = with_section(program.data, ".gnu_debugdata", minidebug(debug_file(program, symbols=helpers)))
    plan = plan_with(tmp_path, data)
    assert plan.sources == (".symtab of .gnu_debugdata", ".dynsym") and exact(plan) == ALL
    assert any("colo_send_message by name" in probe.evidence for probe in plan.probes)


def test_minidebuginfo_that_is_damaged_is_left_out_with_the_reason(tmp_path: Path) -> None:
    good = minidebug(debug_file(PROGRAM))
    bomb = lzma.compress(bytes(33 << 20), lzma.FORMAT_XZ, preset=0)
    greedy = lzma.compress(b"x", lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}])
    for contents, words in (
        (good[:-9], "it is cut off"),
        (b"", "it is cut off"),
        (good[:40] + b"\xff" * 8 + good[48:], "does not unpack"),
        (bomb, f"it has more than {32 << 20} bytes"),
        (greedy, "does not unpack"),
        (minidebug(b"no ELF"), "is not an ELF file"),
        (minidebug(debug_file(PROGRAM, text_size=64)), "its .text is 64 bytes"),
    ):
        plan = plan_with(tmp_path, with_section(build(Recipe(seed=4)).data, ".gnu_debugdata", contents))
        assert exact(plan) == ALL and len(plan.unresolved) == 1 and words in plan.unresolved[0].reason, words


def test_fetching_is_asked_for_last(tmp_path: Path) -> None:
    asked: list[str] = []
    debug = write(tmp_path / "fetched", debug_file(PROGRAM))

    def fetch(build_id: str) -> str:
        asked.append(build_id)
        return debug

    path, named = write(tmp_path / "qemu", PROGRAM.data), NameOptions(fetch=fetch, debug_root=str(tmp_path))
    assert is_whole(resolve(path, options=named), f".symtab of {debug}") and asked == [BUILD_ID.hex()]
    asked.clear()
    resolve(path, options=NameOptions(debug, fetch))
    write(tmp_path / f".build-id/{BUILD_ID.hex()[:2]}/{BUILD_ID.hex()[2:]}.debug", debug_file(PROGRAM))
    resolve(path, options=named)
    assert asked == []


def test_a_named_file_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("fifo", "absent", "."):
        with pytest.raises(ColotraceError):
            plan_with(tmp_path, PROGRAM.data, str(tmp_path / path))


def test_all_names_are_the_labels_of_functions_and_objects() -> None:
    assert {"vm_start", "migrate_start_colo_process", "COLOMessage_lookup", "ram_counters"} <= all_names()
