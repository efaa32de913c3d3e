"""Damaged ELF files of every kind that colotrace reads from: seeds, where they can be hurt, and what must hold then.

Shared by the tests, which take a bounded time, and by scripts/fuzz, which takes as long as it is given.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import struct
from collections.abc import Callable, Iterator
from functools import cache

from colotrace.errors import ColotraceError
from colotrace.resolve.nameoptions import NameOptions
from colotrace.resolve.plan import ProbePlan, Quality
from colotrace.resolve.resolver import resolve

from . import compiled
from .coloprogram import VERSION_TEXT, Recipe, build
from .compiled import Build
from .decoding import cpu_bound, image_of
from .described import PLAIN, SPLIT
from .elfwriter import file_of
from .evidenceprogram import FUNCTIONS, built
from .nameless import debug_file, link_to, minidebug, nameless, with_section

SECONDS, MEMORY_MIB = 5.0, 256
WORDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 63) - 1, -1)
NOWHERE = "/nonexistent"


@cache
def seeds() -> dict[str, bytes]:
    """Name -> a file that is read to the end: each has its names from another source."""
    stripped = nameless(seed=2)
    name = "colo_send_message"
    evidence = built({name: (f"probe {name}", *FUNCTIONS[name]), "version": ("text " + VERSION_TEXT, "number 1")})
    return {
        "dynsym": build(Recipe(seed=3)).data,
        "gnu hash": build(Recipe(seed=3, dynamic="gnu", section_headers=False)).data,
        "sysv hash": build(Recipe(seed=3, dynamic="sysv", section_headers=False)).data,
        "minidebuginfo": with_section(stripped.data, ".gnu_debugdata", minidebug(debug_file(stripped))),
        "debuglink": with_section(stripped.data, ".gnu_debuglink", link_to("x.debug", b"")),
        "evidence": evidence.data,
    }


@cache
def debug_seed() -> tuple[bytes, bytes]:
    """A file without names, and its debug file, which is the one to be hurt."""
    program = nameless(seed=2)
    return program.data, debug_file(program)


@cache
def dwarf_seeds() -> dict[str, bytes]:
    """Name -> a compiled program whose debugging information is the part to be hurt."""
    builds = [Build(*way, flags=flags, stripped=False) for way, flags in PLAIN.items()]
    builds += [Build("gcc", "-O2", flags=flags, stripped=False) for flags in ("-g -gz", "-g -flto", "-g -gdwarf64")]
    builds += [Build("clang", "-O2", 111, "pie", "-g -flto -fuse-ld=lld", stripped=False), SPLIT[0]]
    return {f"dwarf: {one}": compiled.build(one).path.read_bytes() for one in builds}


@cache
def places(data: bytes) -> dict[str, range]:
    """The parts of a file that mean something, by name."""
    found = {"header": range(64), "program headers": range(64, 64 + 56 * struct.unpack_from("<H", data, 56)[0])}
    table, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    if count:
        found["section headers"] = range(table, table + 64 * count)
    with image_of(data) as image:
        for n, segment in enumerate(image.segments):
            if segment.file_size:
                found[f"segment {n}"] = range(segment.offset, segment.offset + segment.file_size)
        for section in image.sections:
            if section.size and section.in_file and section.offset:
                found[section.name] = range(section.offset, section.offset + section.size)
    return found


def hurt(data: bytes, dice: random.Random, only: str = "") -> bytes:
    """The file with a few changes: bytes, words that are often mishandled, cuts, and parts in the place of others.

    With `only`, just in the parts whose names begin with it, and without cuts.
    """
    out = bytearray(data)
    regions = [region for name, region in places(data).items() if name.startswith(only)]
    for _ in range(dice.randint(1, 6)):
        region = dice.choice(regions)
        at = min(dice.choice(region), len(out) - 1)
        kind = dice.randrange(9 if only else 10)
        if kind < 4:
            out[at] = dice.randrange(256)
        elif kind < 8:
            size = dice.choice((1, 2, 4, 8))
            at = max(at - at % size, region.start) if only else at - at % size
            word = dice.choice(WORDS) + dice.choice((0, 0, 1, -1)) & (1 << 8 * size) - 1
            end = min(at + size, region.stop) if only else at + size
            out[at:end] = word.to_bytes(size, "little")[: end - at]
        elif kind == 8:
            other = dice.choice(dice.choice(regions))
            size = dice.choice((8, 24, 64, 200))
            size = min(size, region.stop - at) if only else size  # the next part is not to be hurt
            out[at : at + size] = data[other : other + size]
        else:
            del out[dice.randrange(len(out)) :]
            break
    return bytes(out)


@contextlib.contextmanager
def memory_bound(mib: int) -> Iterator[None]:
    """MemoryError for whoever takes more than that, on top of what is taken now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + (mib << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _answer(work: Callable[[], ProbePlan]) -> ProbePlan | ColotraceError:
    with cpu_bound(SECONDS), memory_bound(MEMORY_MIB):
        try:
            return work()
        except ColotraceError as error:
            assert str(error) and error.exit_code in (4, 5)
            return error


def survives(data: bytes) -> ProbePlan | ColotraceError:
    """The plan, or an error for people; AssertionError, or whatever else is raised, where it is neither, or is late."""
    with file_of(data) as path:
        return _answer(lambda: resolve(path, "qemu", NameOptions(debug_root=NOWHERE)))


@cache
def _unhurt(name: str) -> ProbePlan:
    plan = survives(dwarf_seeds()[name])
    assert isinstance(plan, ProbePlan)
    return plan


def survives_dwarf(name: str, data: bytes) -> ProbePlan:
    """The plan for a seed of which only the debugging information was hurt: its probes are the same, as if it were
    not; and what is exact then is exact with it or not at all."""
    plan, before = survives(data), _unhurt(name)
    assert isinstance(plan, ProbePlan)
    assert [(p.address, p.data, p.boundary) for p in plan.probes] == [
        (p.address, p.data, p.boundary) for p in before.probes
    ]
    for role, told in plan.roles.items():
        heard = told.witness
        assert heard.agreed or heard.contradicted or heard.reason
        assert not heard.contradicted or Quality.EXACT not in told.phases.values()
        assert heard.contradicted or told.phases == before.roles[role].phases
    return plan


def survives_debug(debug: bytes) -> ProbePlan | ColotraceError:
    """Likewise, for a damaged debug file of a file that is whole."""
    with file_of(debug_seed()[0]) as path, file_of(debug) as other:
        return _answer(lambda: resolve(path, "qemu", NameOptions(other, debug_root=NOWHERE)))
