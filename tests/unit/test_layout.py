"""The structs of bpf/colo_phases.h: Python's mirror has the C compiler's sizes and offsets."""

from __future__ import annotations

import ctypes as ct
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from colotrace.kernel.layout import STRUCTS, TotalsKey

BPF = Path(__file__).resolve().parents[2] / "bpf"
GCC = shutil.which("gcc")
_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\t(?:struct )?\w+ (\w+)(?:\[\w+\])?;", re.MULTILINE)


def fields_in_c() -> dict[str, list[str]]:
    """Struct -> its fields, from the header's text."""
    found = _STRUCT.findall((BPF / "colo_phases.h").read_text())
    return {name: _FIELD.findall(body) for name, body in found}


def test_every_struct_and_field_is_mirrored() -> None:
    mirrored = {name: [field[0] for field in struct._fields_] for name, struct in STRUCTS.items()}
    assert fields_in_c() == mirrored


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, ...]]:
    """What the compiler says: "struct" -> (size,), "struct.field" -> (offset, size)."""
    if GCC is None:
        pytest.skip("gcc is not installed, and only a C compiler knows C's layout")
    lines = []
    for name, fields in fields_in_c().items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        for field in fields:
            size = f"sizeof(((struct {name} *)0)->{field})"
            lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof(struct {name}, {field}), {size});')
    source = '#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n#include "colo_phases.h"\n'
    source += "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    folder = tmp_path_factory.mktemp("layout")
    (folder / "layout.c").write_text(source)
    command = [GCC, "-Wall", "-Werror", "-I", str(BPF), "-o", str(folder / "layout"), str(folder / "layout.c")]
    subprocess.run(command, check=True, timeout=60)
    printed = subprocess.run([folder / "layout"], check=True, timeout=10, capture_output=True, text=True).stdout
    return {line.split()[0]: tuple(map(int, line.split()[1:])) for line in printed.splitlines()}


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_sizes_are_the_compilers(compiled: dict[str, tuple[int, ...]], name: str) -> None:
    assert compiled[name] == (ct.sizeof(STRUCTS[name]),)


@pytest.mark.parametrize(("name", "field"), [(n, f[0]) for n, s in sorted(STRUCTS.items()) for f in s._fields_])
def test_fields_are_the_compilers(compiled: dict[str, tuple[int, ...]], name: str, field: str) -> None:
    mirror = getattr(STRUCTS[name], field)
    assert compiled[f"{name}.{field}"] == (mirror.offset, mirror.size)


def test_the_totals_key_is_the_programs() -> None:
    """struct totals_key stands in the program itself: two u32s, the target first."""
    text = (BPF / "colo_phases.bpf.c").read_text()
    body = next(body for name, body in _STRUCT.findall(text) if name == "totals_key")
    assert re.findall(r"\t(\w+) (\w+);", body) == [("__u32", name) for name, *_ in TotalsKey._fields_]
    assert ct.sizeof(TotalsKey) == 8
