"""Builds a QEMU whose COLO is compiled in another way; see scripts/own_qemu.

    path = own_qemu("gcc", "-O0")

The patch is taken out of migration/colo.c again: all that it adds there are statements of its own. The other files stay
as they are; none of them is on a COLO thread's way between two boundaries.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

from qemu_patch.build import NAME, binary, cache

_FILE, _OBJECT = "migration/colo.c", "libcommon.fa.p/migration_colo.c.o"
_PATCHED = "checkpoint_recorder"
_DROPPED = ("-O2", "-Wold-style-declaration", "-Wimplicit-fallthrough=2", "-Wno-psabi", "-D_FORTIFY_SOURCE=2")
"""What another level of optimisation contradicts, and warnings that clang does not know."""


def own_qemu(compiler: str, *flags: str) -> Path:
    """The QEMU with its colo.c built by `compiler` with `flags`; those that name a linker go to the link as well."""
    home = binary("correct").parents[2]
    digest = hashlib.sha256(repr((home.name, compiler, flags, Path(__file__).read_bytes())).encode()).hexdigest()[:16]
    directory = cache() / "qemu-own" / digest
    path = directory / NAME
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("w") as lock:  # the build directory is the patched QEMU's
            fcntl.flock(lock, fcntl.LOCK_EX)
            _build(home, directory, compiler, flags)
    return path


def _build(home: Path, directory: Path, compiler: str, flags: tuple[str, ...]) -> None:
    source, object_ = directory / _FILE, directory / "colo.o"  # its path ends up in the binary, as colotrace knows it
    source.parent.mkdir(exist_ok=True)
    lines = (home / "tree" / _FILE).read_text().splitlines(keepends=True)
    source.write_text("".join(line for line in lines if _PATCHED not in line))
    commands = json.loads((home / "build" / "compile_commands.json").read_text())
    words = shlex.split(next(c["command"] for c in commands if c["file"].endswith(_FILE)))
    words = [word for word in words[1 : words.index("-MD")] if word not in _DROPPED]
    linking = [flag for flag in flags if flag.startswith("-fuse-ld=")]
    compiling = [flag for flag in flags if flag not in linking]
    include = ["-iquote", str((home / "tree" / _FILE).parent)]
    _run(home, compiler, *words, *include, "-w", *compiling, "-c", str(source), "-o", str(object_))
    link = shlex.split(_run(home, "ninja", "-t", "commands", NAME).splitlines()[-1])
    part = directory / "part"
    link[link.index("-o") + 1] = str(part)
    link[link.index(_OBJECT)] = str(object_)
    _run(home, *link, *linking)
    part.rename(directory / NAME)


def _run(home: Path, *words: str) -> str:
    run = subprocess.run(words, cwd=home / "build", capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"own_qemu: {' '.join(words)[:300]} ...\n{run.stderr}")
    return run.stdout


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: scripts/own_qemu COMPILER [FLAG ...]")
    print(own_qemu(sys.argv[1], *sys.argv[2:]))
