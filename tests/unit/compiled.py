"""Our program with COLO's skeleton (tests/unit/program), built by real compilers in many ways; and where its marks are.

The truth does not come from colotrace: the marks are addresses that the assembler noted in a section of their own, and
objdump tells which instruction is the first call, or the first branch, behind one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
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
_CALL = re.compile(r"^(call|blr?)$")
_BRANCH = re.compile(r"^(call|jmp|j[a-z]+|push|b|bl|br|blr|ret|b\.[a-z]+|cbn?z|tbn?z|adrp?)$")
"""Mnemonics of both machines; none means another thing on the other."""
_ARM = "aarch64-linux-gnu"


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
    arm: bool = False
    """Whether it is built for AArch64."""

    @property
    def tool(self) -> str:
        """The compiler's command for its machine."""
        return f"{_ARM}-gcc" if self.arm and self.compiler == "gcc" else self.compiler

    def __str__(self) -> str:
        words = ["aarch64"] * self.arm + [self.compiler, self.level, str(self.shape), self.link, *self.flags.split()]
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


ON_ARM = (
    Build("gcc", "-O0", 72, arm=True),
    Build("gcc", "-O1", 52, arm=True),
    Build("gcc", "-O2", 111, flags="-mbranch-protection=standard", arm=True),
    Build("gcc", "-O3", 100, stripped=False, arm=True),
    Build("gcc", "-O2", 72, "fixed", shared=True, missing="transaction-end", arm=True),
    Build("gcc", "-Os", 50, "static-pie", stripped=False, arm=True),
    Build("clang", "-O0", 111, flags="-fuse-ld=lld", arm=True),
    Build("clang", "-O1", 72, flags="-fuse-ld=lld", shared=True, arm=True),
    Build("clang", "-O2", 100, flags="-fuse-ld=lld", arm=True),
    Build("clang", "-O3", 52, "fixed", "-fuse-ld=lld", stripped=False, arm=True),
)
"""For AArch64, by cross-compilers; nothing of them runs."""


@dataclass(frozen=True)
class Compiled:
    """A built program, its twin that kept its symbols, and the truth: role -> boundary -> addresses."""

    path: Path
    twin: Path
    truth: Mapping[str, Mapping[str, tuple[int, ...]]]
    arm: bool = False


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
    return Compiled(directory / "program", directory / "twin", _truth(directory / "twin", one.arm), one.arm)


def missing_tools(arm: bool) -> str:
    """The tools that are not installed for building for a machine."""
    tools = (f"{_ARM}-gcc", f"{_ARM}-objdump", "clang", "ld.lld") if arm else ()
    return ", ".join(tool for tool in tools if shutil.which(tool) is None)


def build_all(builds: tuple[Build, ...] = BUILDS) -> dict[Build, Future[Compiled]]:
    """All of them, two at a time; each as a result to ask for."""
    with ThreadPoolExecutor(2) as pool:
        return {one: pool.submit(build, one) for one in builds}


@cache
def _sources_hash() -> str:
    data = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))
    versions = [run(tool, "--version").encode() for tool in ("gcc", "clang", "ld.lld")]
    return hashlib.sha256(data + b"".join(versions) + Path(__file__).read_bytes()).hexdigest()[:16]


def _directory(one: Build) -> Path:
    return Path(_CACHE) / "compiled" / f"{_sources_hash()}-{hashlib.sha256(repr(one).encode()).hexdigest()[:16]}"


def _compile(one: Build, work: Path) -> None:
    machine = [f"--target={_ARM}"] if one.arm and one.compiler == "clang" else []
    command = [one.tool, *machine, one.level, f"-DSHAPE={one.shape}", *_COMMON.split(), *_LINKS[one.link].split()]
    command += one.flags.split()
    ribs = work / ("libribs.so" if one.shared else "ribs.o")  # never part of what LTO looks through
    options = ["-shared", "-fPIC", "-nostdlib"] if one.shared else ["-c", *_LINKS[one.link].split()[:1]]
    options += ["-O1", "-w", "-ffreestanding", "-fno-stack-protector", f"-DSHAPE={one.shape}"]
    linker = [flag for flag in one.flags.split() if machine and one.shared and flag.startswith("-fuse-ld")]
    run(one.tool, *machine, *linker, *options, "-o", str(ribs), str(SOURCES / "ribs.c"))
    sources = [*(str(SOURCES / name) for name in ("thread.c", "counters.c", "text.c")), str(ribs)]
    run(*command, "-o", str(work / "twin"), *sources, folder=work)
    strip = ["--strip-all"] if one.stripped else []
    objcopy = tool_for("objcopy", one.arm)
    run(objcopy, *strip, "--remove-section=.marks", str(work / "twin"), str(work / "program"))


def tool_for(name: str, arm: bool) -> str:
    """One of the binutils for a machine."""
    return f"{_ARM}-{name}" if arm else name


def run(*command: str, folder: Path | None = None) -> str:
    """What a tool prints; what it complains of is the error. Clang leaves .dwo files in the `folder` it works in."""
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, f"{' '.join(command)}:\n{run.stderr}"
    return run.stdout


def _truth(twin: Path, arm: bool) -> dict[str, dict[str, tuple[int, ...]]]:
    """Role -> boundary -> the addresses of its instructions, from the marks and objdump's listing.

    Where the sending of LOADED is inlined, the end is the first branch behind the call that sends it out, and not the
    one behind the trace that follows: the mark stands behind both.
    """
    listing = run(tool_for("objdump", arm), "-d", "--no-show-raw-insn", str(twin))
    lines = [(int(m[1], 16), m[2], m[3]) for m in _LINE.finditer(listing)]
    found: dict[str, dict[str, set[int]]] = {"primary": {}, "secondary": {}}
    sent = None
    for address, text in sorted(_marks(twin, arm)):
        kind, role, boundary = text.split()
        if boundary == "init-begin" and role == "secondary":
            address = _start(listing, "colo_process_incoming_thread")
        if boundary == "transaction-end" and sent is not None:
            address, sent = sent, None
        call = _call_behind(lines, address)
        if boundary == "loaded" and "<qemu_put_be32" in call[2]:  # inlined: it is sent with the call behind that one
            sent = next(line[0] for line in lines if line[0] > call[0] and _CALL.match(line[1])) + 1
        place = call[0] if kind == "call" else next(at for at, m, _ in lines if at >= address and _BRANCH.match(m))
        for name in boundary.split("+"):
            found[role].setdefault(name, set()).add(place)
    return {role: {name: tuple(sorted(at)) for name, at in places.items()} for role, places in found.items()}


def _call_behind(lines: list[tuple[int, str, str]], address: int) -> tuple[int, str, str]:
    """The first call that is reached from an address; where a compiler has merged two of them, by a jump."""
    for line in lines:
        if line[0] >= address and line[1] in ("jmp", "b"):
            return _call_behind(lines, int(line[2].split()[0], 16))
        if line[0] >= address and _CALL.match(line[1]):
            return line
    raise AssertionError(f"no call behind {address:#x}")


def instructions(twin: Path, arm: bool = False) -> list[tuple[int, bytes, str]]:
    """Address, bytes and text of all instructions of thread.c's functions, by objdump; ribs.c's lie elsewhere."""
    own = re.findall(r"^([0-9a-f]+) [tT] (colo_\w+|migrate_start_colo_process)", run("nm", str(twin)), re.MULTILINE)
    own_names = {name for _, name in own} - {"colo_flush_ram_cache"}
    found, inside = [], False
    for line in run(tool_for("objdump", arm), "-d", "-w", str(twin)).splitlines():
        if header := re.match(r"^[0-9a-f]+ <([^>]+)>:$", line):
            name = header[1].split(".")[0]
            inside = name in own_names and not name.startswith(("colo_notify", "colo_compare"))
        elif inside and (part := re.match(r"^ +([0-9a-f]+):\t([0-9a-f ]+?) *\t(.*)$", line)):
            data = bytes.fromhex(part[2])
            found.append((int(part[1], 16), data[::-1] if arm else data, part[3]))  # of a word, the value is shown
    return found


def symbols(twin: Path) -> dict[str, int]:
    """Name -> address of the functions and objects of a program."""
    lines = re.findall(r"^([0-9a-f]+) [tTbB] (\w+)$", run("nm", str(twin)), re.MULTILINE)
    return {name: int(address, 16) for address, name in lines}


def _marks(twin: Path, arm: bool) -> list[tuple[int, str]]:
    with tempfile.NamedTemporaryFile() as file:
        options = ["-O", "binary", "--only-section=.marks", "--set-section-flags", ".marks=alloc"]
        run(tool_for("objcopy", arm), *options, str(twin), file.name)
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
