"""Our program with COLO's skeleton (tests/unit/program), built by real compilers in many ways; and where its marks are.

The truth does not come from colotrace: the marks are addresses that the assembler noted in a section of their own, and
objdump tells which instruction is the first call, or the first branch, behind one.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "program"
_CACHE = os.environ.get("COLOTRACE_CACHE") or os.path.expanduser("~/.cache/colotrace")
_COMMON = (
    "-std=gnu11 -w -ffreestanding -fasynchronous-unwind-tables -fno-stack-protector -nostdlib "
    "-Wl,-e,begin -Wl,--build-id -Wl,-z,noexecstack"
)
_LINKS = {
    "pie": "-fPIE -pie -rdynamic",
    "fixed": "-fno-pie -no-pie -rdynamic",
    "static-pie": "-fPIE -static-pie",
    "static": "-fno-pie -static",
}
_LINE = re.compile(r"^ +([0-9a-f]+):\t(?:addr32 )?(\S+)(.*)$", re.MULTILINE)
_BRANCH = re.compile(r"^(call|jmp|j[a-z]+|push)$")


@dataclass(frozen=True)
class Build:
    """One way to build it: `shape` is the version of QEMU whose calls it makes."""

    compiler: str
    level: str
    shape: int = 72
    link: str = "pie"
    flags: str = ""
    stripped: bool = True
    shared: bool = False
    """Whether the named functions are in a library, and are called through the PLT or the GOT."""
    missing: str = ""
    """The secondary's boundary that has no place of its own in this build: the compiler has merged its code with an
    error path's."""

    def __str__(self) -> str:
        words = [self.compiler, self.level, str(self.shape), self.link, *self.flags.split()]
        return " ".join([*words, "library" * self.shared, "stripped" * self.stripped]).strip()


BUILDS = (
    Build("gcc", "-O0"),
    Build("gcc", "-O1", 52),
    Build("gcc", "-O2"),
    Build("gcc", "-O3", 111),
    Build("gcc", "-Os", 100, missing="transaction-end"),
    Build("gcc", "-O2", 50),
    Build("gcc", "-O0", 50, stripped=False),
    Build("gcc", "-O0", 111, "fixed", stripped=False),
    Build("gcc", "-O2", 100, "fixed", "-fno-inline", shared=True),
    Build("gcc", "-O3", 72, "fixed", "-fuse-ld=lld", stripped=False),
    Build("gcc", "-O2", 111, "static-pie", stripped=False),
    Build("gcc", "-O0", 100, "static", stripped=False),
    Build("gcc", "-O2", 72, "pie", "-flto -fuse-linker-plugin"),
    Build("gcc", "-O3", 100, "pie", "-flto -fcf-protection=full", stripped=False),
    Build("gcc", "-O2", 111, "pie", "-fcf-protection=full -freorder-blocks-and-partition"),
    Build("gcc", "-O2", 72, "pie", "-fno-plt", shared=True),
    Build("gcc", "-O2", 72, "pie", "-fno-plt -fcf-protection=full"),
    Build("gcc", "-O1", 111, "pie", "-fuse-ld=lld", shared=True),
    Build("clang", "-O0", 111),
    Build("clang", "-O0", 52, "fixed", stripped=False),
    Build("clang", "-O1", 100),
    Build("clang", "-O2", 72, "pie", "-fuse-ld=lld"),
    Build("clang", "-O3", 111, "pie", "-fuse-ld=lld -Wl,-z,separate-loadable-segments"),
    Build("clang", "-Os", 50, "fixed", shared=True),
    Build("clang", "-O2", 100, "pie", "-flto -fuse-ld=lld"),
    Build("clang", "-O2", 111, "static-pie", "-fuse-ld=lld", stripped=False),
    Build("clang", "-O2", 72, "pie", "-fno-inline -fuse-ld=lld"),
    Build("clang", "-O2", 100, "pie", "-fuse-ld=lld", shared=True),
)


@dataclass(frozen=True)
class Compiled:
    """A built program, its twin that kept its symbols, and the truth: role -> boundary -> addresses."""

    path: Path
    twin: Path
    truth: Mapping[str, Mapping[str, tuple[int, ...]]]


def build(one: Build) -> Compiled:
    """The program built that way; from the cache if it was built before."""
    directory = _directory(one)
    if not (directory / "program").exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as work:
            _compile(one, Path(work))
            if not directory.exists():
                os.rename(work, directory)
                os.mkdir(work)
    return Compiled(directory / "program", directory / "twin", _truth(directory / "twin"))


def build_all() -> dict[Build, Future[Compiled]]:
    """All of them, two at a time; each as a result to ask for."""
    with ThreadPoolExecutor(2) as pool:
        return {one: pool.submit(build, one) for one in BUILDS}


@cache
def _sources_hash() -> str:
    data = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))
    versions = [run(tool, "--version").encode() for tool in ("gcc", "clang", "ld.lld")]
    return hashlib.sha256(data + b"".join(versions) + Path(__file__).read_bytes()).hexdigest()[:16]


def _directory(one: Build) -> Path:
    return Path(_CACHE) / "compiled" / f"{_sources_hash()}-{hashlib.sha256(repr(one).encode()).hexdigest()[:16]}"


def _compile(one: Build, work: Path) -> None:
    command = [one.compiler, one.level, f"-DSHAPE={one.shape}", *_COMMON.split(), *_LINKS[one.link].split()]
    command += one.flags.split()
    ribs = work / ("libribs.so" if one.shared else "ribs.o")  # never part of what LTO looks through
    options = ["-shared", "-fPIC", "-nostdlib"] if one.shared else ["-c", *_LINKS[one.link].split()[:1]]
    options += ["-O1", "-w", "-ffreestanding", "-fno-stack-protector", f"-DSHAPE={one.shape}"]
    run(one.compiler, *options, "-o", str(ribs), str(SOURCES / "ribs.c"))
    sources = [*(str(SOURCES / name) for name in ("thread.c", "counters.c", "text.c")), str(ribs)]
    run(*command, "-o", str(work / "twin"), *sources, folder=work)
    strip = ["--strip-all"] if one.stripped else []
    run("objcopy", *strip, "--remove-section=.marks", str(work / "twin"), str(work / "program"))


def run(*command: str, folder: Path | None = None) -> str:
    """What a tool prints; what it complains of is the error. Clang leaves .dwo files in the `folder` it works in."""
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, f"{' '.join(command)}:\n{run.stderr}"
    return run.stdout


def _truth(twin: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Role -> boundary -> the addresses of its instructions, from the marks and objdump's listing.

    Where the sending of LOADED is inlined, the end is the first branch behind the call that sends it out, and not the
    one behind the trace that follows: the mark stands behind both.
    """
    listing = run("objdump", "-d", "--no-show-raw-insn", str(twin))
    lines = [(int(m[1], 16), m[2], m[3]) for m in _LINE.finditer(listing)]
    found: dict[str, dict[str, set[int]]] = {"primary": {}, "secondary": {}}
    sent = None
    for address, text in sorted(_marks(twin)):
        kind, role, boundary = text.split()
        if boundary == "init-begin" and role == "secondary":
            address = _start(listing, "colo_process_incoming_thread")
        if boundary == "transaction-end" and sent is not None:
            address, sent = sent, None
        call = next(line for line in lines if line[0] >= address and line[1] == "call")
        if boundary == "loaded" and "<qemu_put_be32" in call[2]:  # inlined: it is sent with the call behind that one
            sent = next(line[0] for line in lines if line[0] > call[0] and line[1] == "call") + 1
        place = call[0] if kind == "call" else next(at for at, m, _ in lines if at >= address and _BRANCH.match(m))
        for name in boundary.split("+"):
            found[role].setdefault(name, set()).add(place)
    return {role: {name: tuple(sorted(at)) for name, at in places.items()} for role, places in found.items()}


def instructions(twin: Path) -> list[tuple[int, bytes, str]]:
    """Address, bytes and text of all instructions of thread.c's functions, by objdump; ribs.c's lie elsewhere."""
    own = re.findall(r"^([0-9a-f]+) [tT] (colo_\w+|migrate_start_colo_process)", run("nm", str(twin)), re.MULTILINE)
    own_names = {name for _, name in own} - {"colo_flush_ram_cache"}
    found, inside = [], False
    for line in run("objdump", "-d", "-w", str(twin)).splitlines():
        if header := re.match(r"^[0-9a-f]+ <([^>]+)>:$", line):
            name = header[1].split(".")[0]
            inside = name in own_names and not name.startswith(("colo_notify", "colo_compare"))
        elif inside and (part := re.match(r"^ +([0-9a-f]+):\t([0-9a-f ]+?) *\t(.*)$", line)):
            found.append((int(part[1], 16), bytes.fromhex(part[2]), part[3]))
    return found


def symbols(twin: Path) -> dict[str, int]:
    """Name -> address of the functions and objects of a program."""
    lines = re.findall(r"^([0-9a-f]+) [tTbB] (\w+)$", run("nm", str(twin)), re.MULTILINE)
    return {name: int(address, 16) for address, name in lines}


def _marks(twin: Path) -> list[tuple[int, str]]:
    with tempfile.NamedTemporaryFile() as file:
        options = ["-O", "binary", "--only-section=.marks", "--set-section-flags", ".marks=alloc"]
        run("objcopy", *options, str(twin), file.name)
        data = Path(file.name).read_bytes()
    marks, at = [], 0
    while at < len(data):
        end = data.index(b"\0", at + 8)
        marks.append((int.from_bytes(data[at : at + 8], "little"), data[at + 8 : end].decode()))
        at = end + 1
    return marks


def _start(listing: str, name: str) -> int:
    match = re.search(rf"^([0-9a-f]+) <{name}>:$", listing, re.MULTILINE)
    assert match, name
    return int(match[1], 16)
