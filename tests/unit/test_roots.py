"""Where a role's function begins: by name, or as what colo_incoming_co() makes a thread of; never by a guess."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from colotrace.resolve.roots import find_root
from colotrace.resolve.skeleton import PRIMARY, SECONDARY

from .asm import Assembler
from .decoding import TEXT, code_of

Emit = Callable[[Assembler], object]
NAMES = ("colo_incoming_co", "qemu_thread_create")


def coroutine(*emit: Emit, names: tuple[str, ...] = NAMES, role: str = "secondary") -> tuple[int, str] | str:
    """What is found where colo_incoming_co does this and then creates a thread."""
    asm = Assembler(TEXT)
    asm.label("colo_incoming_co")
    for one in emit:
        one(asm)
    asm.call("qemu_thread_create")
    asm.ret()
    for name in ("thread", "other thread", "qemu_thread_create", *names):
        if name not in asm.labels:
            asm.align()
            asm.label(name)
            asm.ret()
    with code_of(asm, names) as code:
        found = find_root(code, SECONDARY if role == "secondary" else PRIMARY)
        return found if isinstance(found, str) else (found[0] - asm.labels["thread"], found[1])


def test_the_thread_is_the_third_argument() -> None:
    found = coroutine(lambda a: a.lea("rdx", "thread"))
    assert found == (0, "as the third argument of the call of qemu_thread_create in colo_incoming_co")
    assert coroutine(lambda a: a.lea("rbx", "thread"), lambda a: a.mov("rdx", "rbx")) == found


def test_a_name_comes_first() -> None:
    found = coroutine(lambda a: a.lea("rdx", "other thread"), names=(*NAMES, "colo_process_incoming_thread"))
    assert not isinstance(found, str) and found[0] != 0 and found[1] == "by its name in .dynsym"


def either(asm: Assembler) -> None:
    asm.lea("rdx", "thread")
    asm.test("rdi")
    asm.jcc8("e", "go")
    asm.lea("rdx", "other thread")
    asm.label("go")


def twice(asm: Assembler) -> None:
    asm.lea("rdx", "thread")
    asm.call("qemu_thread_create")
    asm.lea("rdx", "thread")


@pytest.mark.parametrize(
    ("emit", "names", "words"),
    [
        (lambda a: a.lea("rdx", "thread"), ("qemu_thread_create",), "no colo_incoming_co"),
        (lambda a: a.lea("rdx", "thread"), ("colo_incoming_co",), "0 calls of qemu_thread_create"),
        (twice, NAMES, "2 calls of qemu_thread_create"),
        (either, NAMES, "does not tell which function"),
        (lambda a: a.mov("rdx", "rdi"), NAMES, "does not tell which function"),
        (lambda a: a.mov_imm("rdx", 16), NAMES, "does not tell which function"),
    ],
    ids=["no coroutine", "no creation", "two creations", "two threads", "argument", "no code"],
)
def test_anything_less_is_said(emit: Emit, names: tuple[str, ...], words: str) -> None:
    found = coroutine(emit, names=names)
    assert isinstance(found, str) and words in found


def test_the_primary_is_not_looked_for_there() -> None:
    found = coroutine(lambda a: a.lea("rdx", "thread"), role="primary")
    assert isinstance(found, str) and "0 functions of that name" in found
