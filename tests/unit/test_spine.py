"""A role's function with its helpers laid out in it: one graph, in which every address stands for one moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from colotrace.binary.code import Code
from colotrace.resolve.spine import Spine, lay_out
from colotrace.resolve.values import register_before
from colotrace.resolve.walk import Value, result_of

from .asm import Assembler
from .decoding import TEXT, code_of

Emit = Callable[[Assembler], object]


def program(**functions: Emit) -> Assembler:
    """Functions one behind the other; the first is the root."""
    asm = Assembler(TEXT)
    for name, emit in functions.items():
        asm.align()
        asm.label(name)
        emit(asm)
    return asm


def spine_of(asm: Assembler, code: Code, *helpers: str, shared: tuple[str, ...] = ()) -> Spine:
    wanted = {asm.labels[name] for name in helpers if name in asm.labels}
    return lay_out(code, TEXT, wanted.__contains__, {asm.labels[name] for name in shared})


def calls(*names: str) -> Emit:
    """A function that calls these and returns."""

    def emit(asm: Assembler) -> None:
        for name in names:
            asm.call(name)
        asm.ret()

    return emit


def order(spine: Spine, asm: Assembler) -> list[str]:
    """The labels of the functions that are called on the way, where the way does not branch."""
    names = {at: name for name, at in asm.labels.items()}
    at, passed = spine.entry, []
    while True:
        instruction = spine.instructions[at]
        if instruction.target is not None and at not in spine.entered:
            passed.append(names[instruction.target])
        if not spine.successors[at]:
            return passed
        (at,) = spine.successors[at]


def leaf(asm: Assembler) -> None:
    asm.ret()


LEAVES = {"one": leaf, "two": leaf, "three": leaf}


def test_a_helper_is_entered_where_it_is_called() -> None:
    asm = program(root=calls("one", "helper", "three"), helper=calls("two"), **LEAVES)
    with code_of(asm) as code:
        spine = spine_of(asm, code, "helper")
        assert order(spine, asm) == ["one", "two", "three"]
        assert spine.entered == {TEXT + 5: asm.labels["helper"]} and spine.repeated == []
        call, ends = spine.returns[TEXT + 10]
        assert call == TEXT + 5 and ends == {asm.labels["helper"] + 5}


def test_helpers_of_helpers() -> None:
    asm = program(root=calls("outer", "three"), outer=calls("one", "inner"), inner=calls("two"), **LEAVES)
    with code_of(asm) as code:
        assert order(spine_of(asm, code, "outer", "inner"), asm) == ["one", "two", "three"]
        assert order(spine_of(asm, code, "outer"), asm) == ["one", "inner", "three"]


@pytest.mark.parametrize("helpers", [("outer", "inner"), ("inner", "outer")])
def test_tail_calls_return_to_the_callers_caller(helpers: tuple[str, ...]) -> None:
    def outer(asm: Assembler) -> None:
        asm.call("one")
        asm.jmp("inner")

    asm = program(root=calls("outer", "three"), outer=outer, inner=calls("two"), **LEAVES)
    named = [*helpers, "one", "two", "three"]  # a jump to what has a name is a tail call, and no loop
    with code_of(asm, named) as code:
        assert order(spine_of(asm, code, *helpers), asm) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "functions",
    [
        {"root": calls("helper", "helper"), "helper": calls("one")},
        {"root": calls("other", "helper"), "other": calls("helper"), "helper": calls("one")},
        {"root": calls("helper"), "helper": calls("helper")},
    ],
    ids=["twice", "from two functions", "itself"],
)
def test_a_helper_called_from_several_places_is_not_laid_out(functions: dict[str, Emit]) -> None:
    asm = program(**functions, **LEAVES)
    with code_of(asm) as code:
        spine = spine_of(asm, code, "helper", "other")
        assert asm.labels["helper"] not in spine.entered.values()
        assert [call.target for call in spine.repeated] == [asm.labels["helper"]] * len(spine.repeated)
        assert spine.repeated


def test_a_helper_that_others_call_too_is_not_laid_out() -> None:
    asm = program(root=calls("helper"), helper=calls("one"), **LEAVES)
    with code_of(asm) as code:
        spine = spine_of(asm, code, "helper", shared=("helper",))
        assert not spine.entered and [call.address for call in spine.repeated] == [TEXT]


def test_the_root_is_no_helper_of_itself() -> None:
    asm = program(root=calls("root"))
    with code_of(asm) as code:
        spine = spine_of(asm, code, "root")
        assert not spine.entered and spine.repeated


def test_values_are_followed_into_and_past_helpers() -> None:
    """An argument goes in; a register that a function must leave as it was comes out; what it returns is its own."""

    def root(asm: Assembler) -> None:
        asm.mov_imm("rsi", 4)
        asm.mov_imm("rbx", 5)
        asm.call("helper")
        asm.label("behind")
        asm.call("two")
        asm.ret()

    def helper(asm: Assembler) -> None:
        asm.push("rbx")
        asm.label("inside")
        asm.call("one")
        asm.mov_imm("rbx", 9)
        asm.pop("rbx")
        asm.ret()

    asm = program(root=root, helper=helper, **LEAVES)
    with code_of(asm) as code:
        spine = spine_of(asm, code, "helper")
        behind, inside = asm.labels["behind"], asm.labels["inside"]
        assert register_before(code, spine, inside, "rsi") == Value(4)
        assert register_before(code, spine, behind, "rbx") == Value(5)
        assert register_before(code, spine, behind, "rsi") is None
        assert register_before(code, spine, behind, "rax") == result_of(behind - 5)
