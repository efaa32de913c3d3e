"""Compiles bpf/colo_phases.bpf.c through bcc, in a child process that ends with it.

bcc brings a whole compiler into the process that imports it: 100 MiB, and a quarter of a second before it does a thing.
The tracer stays clear of that. The child has the interpreter, the import path and the privileges of its parent (bcc
makes the maps while it compiles, which takes CAP_BPF; they end with it), and hands back a KernelObject.

bcc wants the running kernel's headers, which production hosts lack; a uprobe program needs none of them, so the stub
headers in bpf/headers stand in (BCC_KERNEL_SOURCE).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colotrace.errors import EnvironmentFault
from colotrace.kernel.object import KernelObject, MapDefinition, code_with_map_indices
from colotrace.plain import from_plain, to_plain

FUNCTION = "on_boundary"
MAPS = ("targets", "probes", "blank", "threads", "totals", "events")
_SOURCE = "colo_phases.bpf.c"
_FACTS = ("map_type", "key_size", "value_size", "max_entries", "map_flags")
"""Of /proc/self/fdinfo/FD, in MapDefinition's order."""
_SAID_MOST = 800


def bpf_directory() -> Path:
    """Where the BPF sources are: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "bpf", package.parent / "bpf"):
        if (place / _SOURCE).is_file():
            return place
    raise EnvironmentFault(
        "colotrace's own bpf/ directory is missing", "The installation is damaged: install it again."
    )


def import_bcc() -> Any:
    """bcc's BPF class. Raises EnvironmentFault that says which package has it."""
    try:
        from bcc import BPF
    except (ImportError, OSError) as error:  # OSError: its C library cannot be loaded
        raise no_bcc(str(error)) from error
    return BPF


def find_bcc() -> tuple[str, str]:
    """Where bcc is and what it says of its version ("" if nothing), without importing it. Raises as import_bcc()."""
    try:
        found = importlib.util.find_spec("bcc")
    except ValueError:  # somebody has put something nameless in its place
        found = None
    if found is None or not found.origin:
        raise no_bcc("No module named 'bcc'")
    version = Path(found.origin).with_name("version.py")
    told = re.search(r"__version__ *= *['\"]([^'\"]+)", version.read_text("utf-8") if version.is_file() else "")
    return found.origin, told[1] if told else ""


def no_bcc(reason: str) -> EnvironmentFault:
    """bcc cannot be used: why, and which package has it."""
    return EnvironmentFault(
        f"bcc cannot be imported ({reason})",
        "Install the distribution's package: python3-bpfcc (Debian, Ubuntu) or python3-bcc (Fedora, RHEL), and run "
        "colotrace with the system's Python or a venv with --system-site-packages. PyPI's bcc is another thing.",
    )


def load_fault(reason: str, said: str) -> EnvironmentFault:
    """Capabilities and lockdown have been looked at before (preflight.py); what is left is the kernel or bcc."""
    details = f"\nbcc and the kernel said:\n{said.strip()[-_SAID_MOST:]}" if said.strip() else ""
    return EnvironmentFault(
        f"the kernel program could not be loaded ({reason})",
        "colotrace needs Linux 6.6 or newer with CONFIG_BPF_SYSCALL and CONFIG_UPROBES; this is "
        f"{os.uname().release}.{details}",
    )


def compile_object(defines: Sequence[str] = ()) -> KernelObject:
    """The compiled program, `defines` being more -D options. Raises EnvironmentFault with what bcc and clang said."""
    import subprocess  # with what it imports, more than all that loading a kept object takes

    source = bpf_directory()
    # not as -m: root must not import what lies about in a directory that its own import path does not name
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
    options = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
    try:
        child = subprocess.Popen(
            [sys.executable, *options, "-c", code, str(source), *defines],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"BCC_KERNEL_SOURCE": str(source / "headers")},
            process_group=0,  # Ctrl-C is for us alone
        )  # fmt: skip
    except OSError as error:
        raise EnvironmentFault(
            f"the compiler's process cannot be started: {error.strerror} ({sys.executable!r})",
            "colotrace runs the Python interpreter that it is run by; it must be there, and be allowed to be run.",
        ) from error
    with child:
        try:
            answer, errors = child.communicate()
        except BaseException:
            child.kill()
            raise
    return _understood(child.returncode, answer, errors.decode("utf-8", "replace"))


def _understood(status: int, answer: bytes, said: str) -> KernelObject:
    """The child's answer. Raises the error that it tells."""
    try:
        told = json.loads(answer)
        if "object" in told:
            return from_plain(KernelObject, told["object"])
        missing, failed = told.get("missing"), told.get("failed")
    except (ValueError, TypeError, AttributeError):
        import signal

        names = {one.value: one.name for one in signal.Signals}  # those of real-time signals have none
        how = f"signal {names.get(-status, -status)}" if status < 0 else f"status {status}"
        missing, failed = None, f"the compiler's process ended with {how}"
    raise no_bcc(missing) if missing else load_fault(str(failed), said)


def serve() -> None:
    """The child: compiles, and writes one JSON object to what was its standard output."""
    source, *defines = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # whatever else is printed is for people
        json.dump(_answer(Path(source), defines), answer)


def _answer(source: Path, defines: Sequence[str]) -> dict[str, object]:
    try:
        import_bcc()
    except EnvironmentFault as error:
        return {"missing": str(error.__cause__)}
    try:
        return {"object": to_plain(_compiled(source, defines))}
    except Exception as error:  # bcc raises plain Exception for everything
        return {"failed": str(error)}


def _compiled(source: Path, defines: Sequence[str]) -> KernelObject:
    from bcc import lib

    bpf = import_bcc()(src_file=os.fsencode(source / _SOURCE), cflags=[f"-I{source}", *defines])
    fds = {name: lib.bpf_table_fd(bpf.module, name.encode()) for name in MAPS}
    code = code_with_map_indices(bpf.dump_func(FUNCTION.encode()), list(fds.values()))
    maps = tuple(_definition(name, fd) for name, fd in fds.items())
    return KernelObject(lib.bpf_module_license(bpf.module).decode(), maps, code)


def _definition(name: str, fd: int) -> MapDefinition:
    """What a map was made of, as the kernel states it."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text("ascii").splitlines()
    facts = {key: int(value, 0) for key, _, value in (line.partition(":") for line in lines) if key in _FACTS}
    return MapDefinition(name, *(facts[key] for key in _FACTS))
