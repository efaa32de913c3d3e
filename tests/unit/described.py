"""Our program with debugging information, in the formats that compilers have; and what pyelftools reads in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.descriptions import describe_form_class
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.ranges import BaseAddressEntry, RangeEntry
from elftools.elf.elffile import ELFFile

from .compiled import BUILDS, Build, build

NAMES = frozenset(("migrate_start_colo_process", *(f"colo_{what}" for what in (
    "send_message", "send_message_value", "receive_message", "receive_check_message", "receive_message_value",
    "do_checkpoint_transaction", "process_checkpoint", "wait_handle_message", "incoming_process_checkpoint",
    "process_incoming_thread",
))))  # fmt: skip
FORMATS = (
    "-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-4 -fdebug-types-section", "-g -gdwarf64", "-g -gz", "-g1", "-g3",
    "-g -ffunction-sections",
)  # fmt: skip
WITNESSED = (
    *(replace(one, flags=f"{one.flags} -g".strip(), stripped=False) for one in BUILDS),
    *(Build(compiler, "-O2", flags=flags, stripped=False) for compiler in ("gcc", "clang") for flags in FORMATS),
)
SPLIT = tuple(
    Build(compiler, "-O2", flags=f"{version} -gsplit-dwarf", stripped=False)
    for compiler in ("gcc", "clang")
    for version in ("-g", "-gdwarf-4")
)
PLAIN = {
    ("gcc", "-O0"): "-g", ("gcc", "-O2"): "-g", ("clang", "-O0"): "-g", ("clang", "-O2"): "-g",
    ("gcc", "-O3"): "-gdwarf-4", ("clang", "-O3"): "-gdwarf-4",
}  # fmt: skip
"""(compiler, level) -> the format of the builds that tests change something in."""
INLINED, SUBPROGRAM = "DW_TAG_inlined_subroutine", "DW_TAG_subprogram"


def plain(compiler: str, level: str) -> Path:
    """One of PLAIN's programs."""
    return build(Build(compiler, level, flags=PLAIN[compiler, level], stripped=False)).path


@dataclass(frozen=True)
class Place:
    """An attribute's value in a file: where it is, and of how many bytes."""

    at: int
    size: int


def pieces(path: Path) -> set[tuple[str, bool, tuple[tuple[int, int], ...]]]:
    """(name, inlined, ranges) of the functions of NAMES, by pyelftools."""
    with path.open("rb") as file:
        dwarf = ELFFile(file).get_dwarf_info(follow_links=False)
        found = set()
        for unit, entry in _functions(dwarf):
            name, ranges = _name(entry), _ranges(dwarf, unit, entry)
            if name in NAMES and ranges:
                found.add((name, entry.tag == INLINED, ranges))
        return found


def place(path: Path, name: str, attribute: str) -> Place:
    """Where in the file the first code of a function has an attribute."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        section = elf.get_section_by_name(".debug_info")["sh_offset"]
        dwarf = elf.get_dwarf_info(follow_links=False)
        for _, entry in _functions(dwarf):
            if attribute in entry.attributes and _name(entry) == name:
                value = entry.attributes[attribute]
                sizes = {"DW_FORM_data8": 8, "DW_FORM_addr": 8, "DW_FORM_data4": 4, "DW_FORM_sec_offset": 4}
                return Place(section + value.offset, sizes.get(value.form, 1))
    raise AssertionError(f"{path}: nothing of {name} has {attribute}")


def with_bytes(data: bytes, where: Place, new: bytes) -> bytes:
    """The file with another value there."""
    assert len(new) == where.size
    return data[: where.at] + new + data[where.at + where.size :]


def _functions(dwarf: DWARFInfo) -> Iterator[tuple[CompileUnit, DIE]]:
    for unit in dwarf.iter_CUs():
        for entry in unit.iter_DIEs():
            if entry.tag in (INLINED, SUBPROGRAM):
                yield unit, entry


def _name(entry: DIE) -> str:
    while "DW_AT_name" not in entry.attributes:
        origin = next((a for a in ("DW_AT_abstract_origin", "DW_AT_specification") if a in entry.attributes), None)
        if origin is None:
            return ""
        entry = entry.get_DIE_from_attribute(origin)
    name: bytes = entry.attributes["DW_AT_name"].value
    return name.decode()


def _ranges(dwarf: DWARFInfo, unit: CompileUnit, entry: DIE) -> tuple[tuple[int, int], ...]:
    attributes = entry.attributes
    if "DW_AT_ranges" in attributes:
        base = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
        start = base.value if base else 0
        found = []
        for one in dwarf.range_lists().get_range_list_at_offset(attributes["DW_AT_ranges"].value, cu=unit):
            if isinstance(one, BaseAddressEntry):
                start = one.base_address
            elif isinstance(one, RangeEntry) and one.begin_offset < one.end_offset:
                more = 0 if one.is_absolute else start
                found.append((more + one.begin_offset, more + one.end_offset))
        return tuple(found)
    if "DW_AT_low_pc" not in attributes or "DW_AT_high_pc" not in attributes:
        return ()
    low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
    end = high.value if describe_form_class(high.form) == "address" else low + high.value
    return ((low, end),) if low < end else ()
