"""Which instructions the kernel emulates under a uprobe: arch/x86/kernel/uprobes.c, told byte by byte."""

from __future__ import annotations

import pytest

from colotrace.binary.isa import Kind
from colotrace.binary.isa_x86 import is_emulated

from .asm import CONDITIONS, NOPS, REGISTERS, Assembler
from .decoding import TEXT, code_of

NEAR = {
    "call": "e812345678", "addr32 call": "67e812345678", "jmp": "e912345678", "jmp8": "eb12",
    **{f"j{name}": f"0f{0x80 | n:02x}12345678" for n, name in enumerate(CONDITIONS)},
    **{f"j{name}8": f"{0x70 | n:02x}12" for n, name in enumerate(CONDITIONS)},
    **{f"push {name}": f"{'41' if n > 7 else ''}{0x50 | n & 7:02x}" for n, name in enumerate(REGISTERS)},
}  # fmt: skip
OTHERS = {
    "nothing": "",
    "call with an operand prefix": "66e812345678", "bnd call": "f2e812345678", "rex call": "48e812345678",
    "notrack call": "3ee812345678",
    "bnd jmp": "f2e912345678", "bnd jmp8": "f2eb12", "notrack jmp8": "3eeb12", "operand prefix jmp8": "66eb12",
    "bnd jcc": "f20f8412345678", "hinted jcc": "2e0f8412345678", "hinted jcc8": "2e7412", "bnd jcc8": "f27412",
    "rex push": "4050", "rex.w push": "4850", "rex.wb push": "4950", "push16": "6650", "push16 r8": "664150",
    "push imm8": "6a01", "push imm32": "6801000000", "push mem": "ff30", "push fs": "0fa0",
    "pop": "58", "pop r8": "4158", "ret": "c3", "ret imm": "c20800", "bnd ret": "f2c3", "int3": "cc", "ud2": "0f0b",
    "call *%rax": "ffd0", "call *slot": "ff1512345678", "jmp *%rax": "ffe0", "jmp *slot": "ff2512345678",
    "loop": "e212", "loope": "e112", "loopne": "e012", "jrcxz": "e312", "jecxz": "67e312",
    "xbegin": "c7f812345678", "setcc": "0f94c0", "cmov": "0f44c1", "mov": "4889df", "mov imm": "be01000000",
    "test": "85c0", "lea": "488d3512345678", "endbr64": "f30f1efa", "sub": "4883ec08", "xchg": "87c0",
    **{f"nop {size}": data for size, data in NOPS.items()},
}  # fmt: skip


@pytest.mark.parametrize("data", NEAR.values(), ids=NEAR.keys())
def test_emulated(data: str) -> None:
    assert is_emulated(bytes.fromhex(data))


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS.keys())
def test_not_emulated(data: str) -> None:
    assert not is_emulated(bytes.fromhex(data))


@pytest.mark.parametrize("name", sorted(NEAR))
def test_an_instruction_cut_short_or_too_long_is_not_emulated(name: str) -> None:
    data = bytes.fromhex(NEAR[name])
    shorter = data[:-1]
    assert not is_emulated(data + b"\0")
    assert not shorter or not is_emulated(shorter)


@pytest.mark.parametrize(("text", "data"), [*NEAR.items(), *OTHERS.items()], ids=lambda x: x.replace(" ", "_"))
def test_the_decoder_agrees_about_lengths(text: str, data: str) -> None:
    """What stands in these tables is one instruction: a typing error in them would prove nothing."""
    if not data:
        return
    asm = Assembler(TEXT)
    asm.raw(data)
    asm.raw("c3" * 16)
    with code_of(asm) as code:
        raw = code.raw(TEXT)
        assert raw is not None and bytes(raw.bytes).hex() == data, text


@pytest.mark.parametrize("name", sorted(NEAR))
def test_the_kinds_of_what_is_emulated(name: str) -> None:
    wanted = {"call": Kind.CALL, "addr32 call": Kind.CALL, "jmp": Kind.JUMP, "jmp8": Kind.JUMP}
    asm = Assembler(TEXT)
    asm.raw(NEAR[name])
    asm.raw("c3" * 64)
    with code_of(asm) as code:
        instruction = code.function(TEXT).instructions[TEXT]
    assert instruction.emulated
    assert instruction.kind is wanted.get(name, Kind.PLAIN if name.startswith("push") else Kind.BRANCH)
