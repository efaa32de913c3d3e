"""The compiled kernel program kept from run to run, so that attaching does not wait for a compiler.

It is kept by a digest of all that it is made of: the sources and headers, the options, the compiler's version, the
machine, and the code that drives the compiler. Where anything is wrong with what was kept, it is compiled again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from colotrace.cachedir import keep, kept
from colotrace.kernel.compiler import bpf_directory, compile_object, find_bcc
from colotrace.kernel.object import KernelObject

_MOST_BYTES = 1 << 20
_MOST_OBJECTS = 8
_DRIVERS = ("compiler.py", "object.py")


def kernel_object(defines: Sequence[str] = (), *, fresh: bool = False) -> KernelObject:
    """The kernel program: the one that was kept, else (or if it must be `fresh`) compiled now.

    Raises what compile_object() does.
    """
    made_of = _made_of(defines)
    name = f"{made_of[:32]}.json"
    data = None if fresh else kept("objects", name, _MOST_BYTES)
    found = KernelObject.from_json(data, made_of) if data else None
    if found is None:
        found = compile_object(defines)
        keep("objects", name, found.to_json(made_of), _MOST_OBJECTS)
    return found


def _made_of(defines: Sequence[str]) -> str:
    source, here = bpf_directory(), Path(__file__).resolve().parent
    parts: list[tuple[str, bytes]] = [
        ("machine", os.uname().machine.encode()),
        ("bcc", " ".join(find_bcc()).encode()),
        *(("define", define.encode()) for define in defines),
        *(("driver", (here / name).read_bytes()) for name in _DRIVERS),
        *((str(path.relative_to(source)), path.read_bytes()) for path in sorted(source.rglob("*.[ch]"))),
    ]
    digest = hashlib.sha256()
    for what, data in parts:
        digest.update(f"{what}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
