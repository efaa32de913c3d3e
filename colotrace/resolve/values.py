"""What a register holds before an instruction, where the code says so: constants, and arguments passed through."""

from __future__ import annotations

from dataclasses import dataclass

import capstone
from capstone import x86_const

from colotrace.binary.code import Code, Function, Kind

_DEEPEST = 200
_MOST_STEPS = 5000

_FAMILIES = {
    "rax": "eax ax al ah", "rbx": "ebx bx bl bh", "rcx": "ecx cx cl ch", "rdx": "edx dx dl dh",
    "rsi": "esi si sil", "rdi": "edi di dil", "rbp": "ebp bp bpl", "rsp": "esp sp spl",
    **{f"r{n}": f"r{n}d r{n}w r{n}b" for n in range(8, 16)},
}  # fmt: skip
_FAMILY = {name: whole for whole, parts in _FAMILIES.items() for name in (whole, *parts.split())}
_CALL_CLOBBERS = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""The integer argument registers of the System V ABI, in order."""


@dataclass(frozen=True)
class Value:
    """A constant (`base` None: a number, or an address from a rip-relative lea), or an argument plus a constant."""

    offset: int
    base: str | None = None


def register_before(code: Code, function: Function, address: int, register: str) -> Value | None:
    """What `register` (a 64-bit name) holds just before the instruction at `address`; None if the code leaves it open.

    Follows every way to the instruction, and answers only if all agree; a loop on the way is an open answer.
    """
    return _Walk(code, function).before(address, register)


class _Walk:
    """One question's walk backwards, bounded in depth and in steps."""

    def __init__(self, code: Code, function: Function) -> None:
        self._code, self._function = code, function
        self._walking: set[tuple[int, str]] = set()
        self._steps = 0

    def before(self, address: int, register: str) -> Value | None:
        self._steps += 1
        key = (address, register)
        if key in self._walking or len(self._walking) > _DEEPEST or self._steps > _MOST_STEPS:
            return None
        self._walking.add(key)
        answers = {self._after(source, register) for source in self._function.predecessors.get(address, [])}
        if address == self._function.entry:
            answers.add(Value(0, register) if register in ARGUMENTS else None)
        self._walking.discard(key)
        return answers.pop() if len(answers) == 1 else None

    def _after(self, address: int, register: str) -> Value | None:
        if self._function.instructions[address].kind is Kind.CALL:
            return None if register in _CALL_CLOBBERS else self.before(address, register)
        raw = self._code.raw(address)
        if raw is None:
            return None
        written = {_FAMILY.get(raw.reg_name(reg), "") for reg in raw.regs_access()[1]}
        return self._written(raw, register) if register in written else self.before(address, register)

    def _written(self, raw: capstone.CsInsn, register: str) -> Value | None:
        operands = raw.operands
        if len(operands) != 2 or operands[0].type != x86_const.X86_OP_REG or operands[0].size < 4:
            return None
        if _FAMILY.get(raw.reg_name(operands[0].reg)) != register:
            return None
        source = operands[1]
        if raw.id in (x86_const.X86_INS_MOV, x86_const.X86_INS_MOVABS):
            if source.type == x86_const.X86_OP_IMM:
                return Value(source.imm & ((1 << 64) - 1))
            if source.type == x86_const.X86_OP_REG and source.size == 8:
                whole = _FAMILY.get(raw.reg_name(source.reg))
                return self.before(raw.address, whole) if whole else None
        elif raw.id == x86_const.X86_INS_XOR and source.type == x86_const.X86_OP_REG and source.reg == operands[0].reg:
            return Value(0)
        elif raw.id == x86_const.X86_INS_LEA and source.mem.index == 0:
            if source.mem.base == x86_const.X86_REG_RIP:
                return Value(raw.address + raw.size + source.mem.disp)
            whole = _FAMILY.get(raw.reg_name(source.mem.base)) if source.mem.base else None
            base = self.before(raw.address, whole) if whole else None
            return Value(base.offset + source.mem.disp, base.base) if base else None
        return None
