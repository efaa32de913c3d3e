"""What a register holds before a call: constants and passed arguments, and None wherever the code leaves it open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from colotrace.resolve.values import register_before
from colotrace.resolve.walk import Value, contents_of, result_of

from .asm import Assembler
from .decoding import TEXT, code_of, deadline

Emit = Callable[[Assembler], object]


def value(*emit: Emit, register: str = "rsi") -> Value | None:
    """What the register holds before the call that is put behind the code."""
    asm = Assembler(TEXT)
    for one in emit:
        one(asm)
    call = asm.call("callee")
    asm.ret()
    asm.label("callee")
    asm.ret()
    with code_of(asm) as code:
        return register_before(code, code.function(TEXT), call, register)


def raw(data: str) -> Emit:
    return lambda a: a.raw(data)


@pytest.mark.parametrize(
    ("emit", "expected"),
    [
        (lambda a: a.mov_imm("rsi", 5), Value(5)),
        (lambda a: a.mov_imm("rsi", 0xFFFFFFFF), Value(0xFFFFFFFF)),
        (lambda a: a.mov_imm64("rsi", 0x1122334455667788), Value(0x1122334455667788)),
        (raw("48c7c6ffffffff"), Value(2**64 - 1)),  # mov $-1, %rsi
        (lambda a: a.xor("rsi"), Value(0)),
        (raw("4831f6"), Value(0)),
        (lambda a: a.lea("rsi", "callee", 3), Value(TEXT + 7 + 5 + 1 + 3)),
        (lambda a: a.mov("rsi", "rdx"), Value(0, "rdx")),
        (lambda a: a.lea_base("rsi", "rdi", 40), Value(40, "rdi")),
        (lambda a: a.nop(), Value(0, "rsi")),
    ],
    ids=["mov", "mov -1", "movabs", "mov sign", "xor", "xor64", "lea", "mov reg", "lea reg", "argument"],
)
def test_known(emit: Emit, expected: Value) -> None:
    assert value(emit) == expected


@pytest.mark.parametrize(
    "data",
    ["66be0500", "40b605", "31fe", "29f6", "be05000000ffc6", "be0500000083c601", "488b3424", "5e", "480f44f0", "89fe",
     "4887fe", "488d343e", "488d7600", "0fb6f0", "be0500000040b607", "be05000000f7f6", "8d77054801ce"],
    ids=["mov16", "mov8", "xor other", "sub", "inc", "add", "load", "pop", "cmov", "mov32 of an argument", "xchg",
         "lea of two", "lea of itself is known", "movzx", "then mov8", "div leaves it", "lea then add"],
)  # fmt: skip
def test_open(data: str) -> None:
    known = {"488d7600": Value(0, "rsi"), "be05000000f7f6": Value(5)}
    assert value(raw(data)) == known.get(data)


def test_through_other_registers_and_later_instructions() -> None:
    assert value(
        lambda a: a.mov_imm("rbp", 6), lambda a: a.mov("rbx", "rbp"), lambda a: a.nop(9), lambda a: a.mov("rsi", "rbx"),
        lambda a: a.mov_imm("rdx", 1), lambda a: a.push("rax"),
    ) == Value(6)  # fmt: skip


@pytest.mark.parametrize(
    ("register", "expected"), [("rbx", Value(3)), ("rbp", Value(3)), ("r12", Value(3)), ("rsi", None), ("r11", None)]
)
def test_calls_clobber_what_the_abi_says(register: str, expected: Value | None) -> None:
    assert value(lambda a: a.mov_imm(register, 3), lambda a: a.call("callee"), register=register) == expected


@pytest.mark.parametrize("register", ["rax", "rbx", "r10", "r15"])
def test_what_is_no_argument_is_open_at_the_entry(register: str) -> None:
    assert value(register=register) is None


@pytest.mark.parametrize("register", ["rdi", "rsi", "rdx", "rcx", "r8", "r9"])
def test_arguments_pass_through(register: str) -> None:
    assert value(lambda a: a.nop(5), register=register) == Value(0, register)


def joined(one: int, other: int) -> tuple[Emit, ...]:
    """Two ways to the call, each with a number of its own."""

    def emit(asm: Assembler) -> None:
        asm.test("rdi")
        asm.jcc8("e", "other")
        asm.mov_imm("rsi", one)
        asm.jmp8("join")
        asm.label("other")
        asm.mov_imm("rsi", other)
        asm.label("join")

    return (emit,)


def test_ways_that_agree_and_ways_that_do_not() -> None:
    assert value(*joined(4, 4)) == Value(4)
    assert value(*joined(4, 5)) is None


def test_a_value_set_in_a_loop_is_known_and_one_from_before_it_is_open() -> None:
    def loop(asm: Assembler) -> None:
        asm.mov_imm("rbx", 1)
        asm.label("top")
        asm.mov_imm("rsi", 2)
        asm.test("rdi")
        asm.jcc8("e", "top")

    assert value(loop) == Value(2)
    assert value(loop, register="rbx") is None


def test_many_ways_are_walked_once() -> None:
    """A cascade of diamonds has 2**40 ways, but only 80 places."""

    def cascade(asm: Assembler) -> None:
        for n in range(40):
            asm.jcc8("e", f"skip {n}")
            asm.nop()
            asm.label(f"skip {n}")

    with deadline(1):
        assert value(cascade) == Value(0, "rsi")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ((), True), (("c745f005000000",), True), (("c745ec05000000",), Value(5)), (("8955ec",), Value(0, "rdx")),
        (("c745ee05000000",), None), (("c645ed05",), None), (("48895de8",), None), (("488d45f8",), True),
        (("488d45ec",), True), (("488d45ec", "c70005000000"), None), (("488d45f8", "c70005000000"), True),
        (("5d",), None), (("c7448dec05000000",), None), (("668955ec",), None),
    ],
    ids=["kept", "another", "immediate", "register", "overlap", "one byte", "overlap below", "lea of another", "lea",
         "lea, stored through", "other stored through", "other frame", "indexed", "two bytes"],
)  # fmt: skip
def test_slots_of_the_frame(after: tuple[str, ...], expected: Value | bool | None) -> None:
    """The lower half of a 32 bit argument that went through the stack; size 4 is what message numbers have."""
    asm_value = frame_value(after)
    assert asm_value == (Value(0, "rdi") if expected is True else expected)


def frame_value(after: tuple[str, ...]) -> Value | None:
    asm = Assembler(TEXT)
    for data in ("554889e54883ec20", "897dec", *after, "8b75ec"):
        asm.raw(data)
    call = asm.call("callee")
    asm.ret()
    asm.label("callee")
    asm.ret()
    with code_of(asm) as code:
        return register_before(code, code.function(TEXT), call, "rsi", 4)


def test_a_call_may_write_to_what_it_was_given() -> None:
    for lea, expected in (("488d7dec", None), ("488d7df8", Value(0, "rdi"))):
        asm = Assembler(TEXT)
        for data in ("554889e54883ec20", "897dec", lea):
            asm.raw(data)
        asm.call("callee")
        asm.raw("8b75ec")
        call = asm.call("callee")
        asm.ret()
        asm.label("callee")
        asm.ret()
        with code_of(asm) as code:
            assert register_before(code, code.function(TEXT), call, "rsi", 4) == expected


def test_results_of_calls_and_contents_of_variables() -> None:
    call = TEXT
    assert value(lambda a: a.call("callee"), lambda a: a.mov("rsi", "rax")) == result_of(call)
    assert value(lambda a: a.call("callee"), lambda a: a.mov("rsi", "rax", wide=False)) is None
    assert value(lambda a: a.raw("488b3500010000")) == contents_of(TEXT + 7 + 0x100)


def test_a_long_straight_line_is_no_obstacle() -> None:
    assert value(lambda a: a.mov_imm("rsi", 6), *[lambda a: a.nop(9)] * 1500) == Value(6)


@pytest.mark.parametrize("count", [100, 5000])
def test_a_long_chain_of_moves_ends(count: int) -> None:
    """Python's stack is not endless; an answer that would need it is open."""
    chain = [lambda a: a.mov("rsi", "rdi"), lambda a: a.mov("rdi", "rsi")] * (count // 2)
    with deadline(2):
        assert value(lambda a: a.mov_imm("rdi", 6), *chain) == (Value(6) if count == 100 else None)


def test_a_loop_of_its_own_ends() -> None:
    with deadline(1):
        assert value(lambda a: a.label("top"), lambda a: a.test("rax"), lambda a: a.jcc8("e", "top")) is None


@pytest.mark.parametrize(
    ("makes", "expected"),
    [("4889e5", Value(5)), ("488d6c2410", Value(5)), ("4889fd", None), ("488b2f", None), ("90", None)],
    ids=["mov rbp, rsp", "lea rbp, [rsp + 16]", "an argument", "loaded", "the caller's"],
)
def test_what_rbp_points_to_survives_a_call_only_in_a_frame(makes: str, expected: Value | None) -> None:
    store, load = raw("c745f805000000"), raw("8b75f8")  # mov dword [rbp - 8], 5; mov esi, [rbp - 8]
    assert value(raw("55"), raw(makes), store, lambda a: a.call("callee"), load, raw("90")) == expected
