"""Decoding: a function as a graph, names through PLT stubs and GOT slots, ends of control flow."""

from __future__ import annotations

import pytest

from colotrace.binary.code import Kind

from .asm import Assembler
from .decoding import TEXT, code_of, code_of_file
from .elfwriter import ElfWriter, Symbol

PLT, SLOTS = 0x20000, 0x90000


def assembler() -> Assembler:
    return Assembler(TEXT)


def test_a_straight_function() -> None:
    asm = assembler()
    asm.endbr64()
    push = asm.push("r12")
    call = asm.call("callee")
    pop = asm.pop("r12")
    ret = asm.ret()
    asm.raw("ffff")  # never reached
    asm.label("callee")
    asm.ret()
    with code_of(asm, ["callee"]) as code:
        function = code.function(TEXT)
    assert sorted(function.instructions) == [TEXT, push, call, pop, ret]
    assert [function.instructions[at].kind for at in (TEXT, push, call, pop, ret)] == [
        Kind.PLAIN, Kind.PLAIN, Kind.CALL, Kind.PLAIN, Kind.RETURN,
    ]  # fmt: skip
    assert [i.address for i in function.calls] == [call]
    found = function.instructions[call]
    assert (found.target, found.names, found.end) == (asm.labels["callee"], ("callee",), pop)
    assert found.data == asm.assemble()[call - TEXT : pop - TEXT]
    assert function.successors[call] == (pop,) and function.predecessors[pop] == [call]
    assert not function.undecoded and not function.indirect


@pytest.mark.parametrize("short", [True, False])
def test_branches_and_jumps(short: bool) -> None:
    asm = assembler()
    branch = (asm.jcc8 if short else asm.jcc)("ne", "there")
    jump = (asm.jmp8 if short else asm.jmp)("back")
    there = asm.label("there")
    asm.nop(9)
    asm.label("back")
    asm.ret()
    back = asm.labels["back"]
    with code_of(asm) as code:
        function = code.function(TEXT)
    assert function.successors == {branch: (jump, there), jump: (back,), there: (back,), back: ()}
    assert sorted(function.predecessors[back]) == [jump, there]
    assert [function.instructions[at].target for at in (branch, jump)] == [there, back]


@pytest.mark.parametrize("opcode", ["e3", "e2", "e1", "e0"], ids=["jrcxz", "loop", "loope", "loopne"])
def test_the_old_branches_have_two_ways(opcode: str) -> None:
    asm = assembler()
    asm.raw(opcode + "01")
    asm.nop()
    asm.ret()
    with code_of(asm) as code:
        assert code.function(TEXT).successors[TEXT] == (TEXT + 2, TEXT + 3)


@pytest.mark.parametrize("data", ["0f0b", "f4", "cc", "c3", "c20800", "f2c3", "f3c3"])
def test_where_control_flow_ends(data: str) -> None:
    asm = assembler()
    asm.raw(data)
    asm.raw("ffff")
    with code_of(asm) as code:
        function = code.function(TEXT)
    assert function.successors == {TEXT: ()} and not function.undecoded


@pytest.mark.parametrize("name", ["abort", "exit", "__stack_chk_fail", "__assert_fail", "g_assertion_message_expr"])
@pytest.mark.parametrize("way", ["plt", "slot", "own"])
def test_functions_that_never_return(name: str, way: str) -> None:
    asm, elf = assembler(), ElfWriter()
    labels = {name: elf.plt(PLT, SLOTS, [name])[name], "slot": SLOTS} if way != "own" else {}
    if way == "own":
        asm.jmp("start")
        asm.label(name)
        asm.ret()
        asm.label("start")
        elf.dynsym.append(Symbol(name, asm.labels[name]))
    call = asm.call_slot("slot") if way == "slot" else asm.call(name)
    asm.raw("ffff")
    elf.text(TEXT, asm.assemble(labels))
    with code_of_file(elf.build()) as code:
        function = code.function(TEXT)
    assert function.instructions[call].names == (name,)
    assert function.successors[call] == () and not function.undecoded


@pytest.mark.parametrize("endbr", [True, False])
@pytest.mark.parametrize("bnd", [True, False])
def test_names_behind_plt_stubs(endbr: bool, bnd: bool) -> None:
    elf = ElfWriter()
    stubs = elf.plt(PLT, SLOTS, ["one", "two", "three"], endbr=endbr, bnd=bnd)
    elf.text(TEXT, b"\xc3")
    with code_of_file(elf.build()) as code:
        assert {name: code.names_of(at) for name, at in stubs.items()} == {name: (name,) for name in stubs}
        assert code.names_of(TEXT) == ()
        assert code.names_of(PLT + 8) == (), "no stub begins there"


def test_a_call_through_a_slot_has_the_slots_name() -> None:
    asm, elf = assembler(), ElfWriter()
    call = asm.call_slot("slot")
    unknown = asm.call_slot("other")
    asm.ret()
    elf.dynsym.append(Symbol("imported", defined=False))
    elf.glob_dat(SLOTS, "imported")
    elf.text(TEXT, asm.assemble({"slot": SLOTS, "other": SLOTS + 8}))
    with code_of_file(elf.build()) as code:
        calls = code.function(TEXT).calls
    assert [(c.address, c.target, c.slot, c.names) for c in calls] == [
        (call, None, SLOTS, ("imported",)),
        (unknown, None, SLOTS + 8, ()),
    ]


def test_a_tail_call_ends_the_function_and_counts_as_a_call() -> None:
    asm = assembler()
    jump = asm.jmp("other")
    asm.label("other")
    asm.nop()
    asm.ret()
    with code_of(asm, ["other"]) as code:
        function = code.function(TEXT)
    assert list(function.instructions) == [jump]
    assert [call.names for call in function.calls] == [("other",)]


@pytest.mark.parametrize("names", [[], ["root.cold"], ["root.cold.3"]])
def test_a_jump_into_an_unnamed_or_cold_piece_stays_inside(names: list[str]) -> None:
    asm = assembler()
    asm.jmp("piece")
    asm.label("piece")
    for name in names:
        asm.label(name)
    asm.ret()
    with code_of(asm, names) as code:
        function = code.function(TEXT)
    assert len(function.instructions) == 2 and not function.calls


def test_a_loop_to_its_own_named_start_is_no_tail_call() -> None:
    asm = assembler()
    asm.label("root")
    asm.nop()
    jump = asm.jmp("root")
    with code_of(asm, ["root"]) as code:
        assert code.function(TEXT).successors[jump] == (TEXT,)


def test_a_jump_through_a_register_is_noted() -> None:
    asm = assembler()
    jump = asm.jmp_register("rax")
    with code_of(asm) as code:
        function = code.function(TEXT)
    assert function.indirect == [jump] and function.successors[jump] == ()


@pytest.mark.parametrize("data", ["06", "0f04", "e900100000", "c5"])
def test_what_does_not_decode_is_noted(data: str) -> None:
    asm = assembler()
    asm.nop()
    asm.raw(data)
    with code_of(asm) as code:
        function = code.function(TEXT)
        outside = code.function(0x1234)
    assert len(function.undecoded) == 1 and function.undecoded[0] > TEXT
    assert outside.undecoded == [0x1234] and not outside.instructions


def test_huge_functions_are_cut_and_that_is_noted() -> None:
    asm = assembler()
    asm.raw("90" * 20_001)
    asm.ret()
    with code_of(asm) as code:
        function = code.function(TEXT)
    assert len(function.instructions) == 20_000 and function.undecoded == [TEXT + 20_000]
