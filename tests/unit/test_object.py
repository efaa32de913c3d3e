"""The compiled kernel program: maps by their place, how it is kept, and what its compiler's process tells."""

from __future__ import annotations

import json
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colotrace.errors import EnvironmentFault
from colotrace.kernel import compiler, objectcache
from colotrace.kernel.compiler import compile_object
from colotrace.kernel.object import KernelObject, MapDefinition, _digest, code_with_map_indices
from colotrace.kernel.objectcache import kernel_object

EXIT = "9500000000000000"


def code(*instructions: str) -> bytes:
    return bytes.fromhex("".join(instructions))


def load_map(fd: int, register: int = 1, source: int = 1) -> str:
    """As bcc leaves it: 16 bytes, of which the second half must stay as it is."""
    return struct.pack("<BBhi", 0x18, register | source << 4, 0, fd).hex() + "0000000000000000"


def test_maps_are_named_by_their_place() -> None:
    before = code(load_map(9), "b700000000000000", load_map(7, 2), load_map(9, 3), EXIT)
    after = code(load_map(1, 1, 5), "b700000000000000", load_map(0, 2, 5), load_map(1, 3, 5), EXIT)
    assert code_with_map_indices(before, [7, 9]) == after


def test_other_numbers_stay() -> None:
    constant = "1801000009000000" + "1810000009000000"  # the second half looks like the load of a map
    helper = "8500000005000000"
    assert code_with_map_indices(code(constant, helper, EXIT), [9]) == code(constant, helper, EXIT)


@pytest.mark.parametrize(
    "instruction", [load_map(8), load_map(9, source=2), load_map(9, source=4), "8510000000000000", "8520000000000000"]
)
def test_what_would_mean_something_else_elsewhere(instruction: str) -> None:
    with pytest.raises(ValueError):
        code_with_map_indices(code(instruction, EXIT), [9])


OBJECT = KernelObject(
    "GPL",
    (MapDefinition("targets", 2, 4, 96, 64, 0), MapDefinition("events", 27, 0, 0, 1 << 20, 0)),
    code(load_map(0, 1, 5), EXIT),
)


def test_there_and_back() -> None:
    assert KernelObject.from_json(OBJECT.to_json("x"), "x") == OBJECT


def test_no_byte_of_it_may_change() -> None:
    """Whatever is done to a byte: it is the same object, or none."""
    data = OBJECT.to_json("x")
    for at in range(len(data)):
        for byte in (data[at] ^ 1, data[at] ^ 0x20, 0, 0xFF, ord("9")):
            changed = data[:at] + bytes([byte]) + data[at + 1 :]
            assert KernelObject.from_json(changed, "x") in (None, OBJECT), at
        assert KernelObject.from_json(data[:at], "x") is None


def signed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A change by somebody who knows how the sum is made."""
    data = json.loads(OBJECT.to_json("x"))
    change(data["object"])
    return json.dumps(data | {"sha256": _digest(data["object"])}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, OBJECT.to_json("y"), b"1" * 5000,
        signed(lambda o: o.update(code="9")),
        signed(lambda o: o.update(code="95")),
        signed(lambda o: o.update(code="")),
        signed(lambda o: o.update(more=1)),
        signed(lambda o: o["maps"][0].pop("flags")),
        signed(lambda o: o["maps"][0].update(kind="2")),
        signed(lambda o: o["maps"][0].update(kind=2.0)),
    ],
)  # fmt: skip
def test_anything_else_is_none(data: bytes) -> None:
    assert KernelObject.from_json(data, "x") is None


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/colotrace/objects"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The options of each time that something was compiled."""
    times: list[tuple[str, ...]] = []

    def count(defines: tuple[str, ...]) -> KernelObject:
        times.append(tuple(defines))
        return OBJECT

    monkeypatch.setattr(objectcache, "compile_object", count)
    monkeypatch.setattr(objectcache, "find_bcc", lambda: ("", "1"))
    return times


def test_the_second_time_nothing_is_compiled(cache: Path, compiled: list[tuple[str, ...]]) -> None:
    assert kernel_object() == kernel_object() == OBJECT and compiled == [()]
    (kept,) = cache.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(cache.stat().st_mode) == 0o700
    kept.write_bytes(kept.read_bytes()[:-10])
    assert kernel_object() == kernel_object() == OBJECT and len(compiled) == 2, "a damaged one is made anew, once"
    kept.chmod(0o666)
    assert kernel_object() == OBJECT and len(compiled) == 3, "others may have written to it"
    other = kept.rename(kept.with_name("other"))
    kept.symlink_to(other)
    assert kernel_object() == OBJECT and len(compiled) == 4 and not kept.is_symlink() and other.is_file()


def test_whatever_it_is_made_of(
    cache: Path, compiled: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_object()
    kernel_object(["-DA"])
    kernel_object(["-DB", "-DC"])
    kernel_object(["-DB-DC"])
    monkeypatch.setattr(objectcache, "find_bcc", lambda: ("", "2"))
    kernel_object()
    source = tmp_path / "bpf"
    (source / "headers/include").mkdir(parents=True)
    monkeypatch.setattr(objectcache, "bpf_directory", lambda: source)
    for name in ("colo_phases.bpf.c", "colo_phases.h", "headers/include/a.h"):
        (source / name).write_text("1")
        kernel_object()
    assert len(compiled) == 8
    for defines in ((), ["-DA"]):
        kernel_object(defines)
    assert len(compiled) == 9 and compiled[-1] == ("-DA",)
    assert len([*cache.iterdir()]) == 8, "old ones are forgotten"


def test_nowhere_to_keep_it(compiled: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert kernel_object() == kernel_object() == OBJECT and len(compiled) == 2


def install_bcc(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Another package of that name, which this process and the compiler's find first."""
    (folder / "bcc.py").write_text(text)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print('some other bcc')", "cannot import name 'BPF'"),
        ("raise OSError('libbcc.so.0: cannot open shared object file')", "libbcc.so.0: cannot open"),
    ],
)
def test_a_bcc_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str) -> None:
    install_bcc(tmp_path, monkeypatch, text)
    with pytest.raises(EnvironmentFault) as caught:
        compile_object()
    assert caught.value.message.startswith("bcc cannot be imported (") and reason in caught.value.message
    assert "python3-bpfcc" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("import os; os.write(2, b'no memory'); os.kill(os.getpid(), 9)", "ended with signal SIGKILL", "no memory"),
        ("import os; os._exit(3)", "ended with status 3", ""),
        ("import os; os.write(2, b'[1]'); BPF = 0; lib = 0", "'int' object is not callable", "[1]"),
    ],
)
def test_a_compiler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str, said: str
) -> None:
    install_bcc(tmp_path, monkeypatch, text)
    with pytest.raises(EnvironmentFault, match="the kernel program could not be loaded") as caught:
        compile_object()
    assert reason in caught.value.message and said in str(caught.value.remedy)


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"3", b'{"object": {}}', b'{"object": null}', b"{}", b"\xff"])
def test_an_answer_that_is_none(answer: bytes) -> None:
    with pytest.raises(EnvironmentFault):
        compiler._understood(0, answer, "")


def test_no_bcc_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    with pytest.raises(EnvironmentFault, match="bcc cannot be imported"):
        kernel_object()


def test_an_interpreter_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(EnvironmentFault, match="cannot be started"):
        compile_object()
