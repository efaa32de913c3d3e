"""The rules of x86-64 for following values backwards."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from collections.abc import Set as AbstractSet

import capstone
from capstone import x86_const

from colotrace.binary.code import Instruction, Kind
from colotrace.resolve.walk import Compared, Slot, Value, Walk, contents_of, overlap

_FAMILIES = {
    "rax": "eax ax al ah", "rbx": "ebx bx bl bh", "rcx": "ecx cx cl ch", "rdx": "edx dx dl dh",
    "rsi": "esi si sil", "rdi": "edi di dil", "rbp": "ebp bp bpl", "rsp": "esp sp spl",
    **{f"r{n}": f"r{n}d r{n}w r{n}b" for n in range(8, 16)},
}  # fmt: skip
_FAMILY = {name: whole for whole, parts in _FAMILIES.items() for name in (whole, *parts.split())}
_MAKES_RBP = re.compile(r"(?!cmp|test|push)\w+ (?:[re]?bp|bpl)\b|xchg .*bp")
_RBP_OF_A_FRAME = re.compile(r"(?:mov rbp, rsp|lea rbp, \[rsp( \+ \w+)?\]|pop rbp)$")
_MOVES = (x86_const.X86_INS_MOV, x86_const.X86_INS_MOVABS)
_CONDITIONAL = ("sete", "setne", "cmove", "cmovne")


class X86Values(Walk):
    """Values in x86-64 code."""

    result = "rax"
    clobbered = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))

    def compared(self, instruction: Instruction) -> Compared | None:
        """By cmp, or by test of a register with itself."""
        if not instruction.text.startswith(("cmp ", "test ")) or not self._for_equality(instruction):
            return None
        raw = self._code.raw(instruction.address)
        if raw is None or raw.id not in (x86_const.X86_INS_CMP, x86_const.X86_INS_TEST):
            return None
        one, other = (self._operand(instruction.address, operand, 4) for operand in raw.operands)
        if raw.id == x86_const.X86_INS_TEST:
            other = Value(0) if raw.operands[0].reg == raw.operands[1].reg != 0 else None
        return one, other

    def stored(self, instruction: Instruction) -> Collection[tuple[int, Value]]:
        """By mov of a register."""
        if not instruction.text.startswith("mov qword ptr ["):
            return ()
        raw = self._code.raw(instruction.address)
        if raw is None or len(raw.operands) != 2 or raw.operands[1].type != x86_const.X86_OP_REG:
            return ()
        memory = raw.operands[0].mem
        if memory.index or memory.base in (0, x86_const.X86_REG_RIP, x86_const.X86_REG_RSP, x86_const.X86_REG_RBP):
            return ()
        value = self._operand(instruction.address, raw.operands[1], 8)
        return ((memory.disp, value),) if value is not None else ()

    def addresses(self) -> set[int]:
        """Relative to rip, or absolute where the program is not relocated."""
        taken = set()
        for instruction in self._function.instructions.values():
            raw = self._code.raw(instruction.address)
            for operand in raw.operands if raw is not None else ():
                if operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
                    taken.add(instruction.end + operand.mem.disp)
                elif operand.type == x86_const.X86_OP_MEM and not operand.mem.base and not operand.mem.index:
                    taken.add(operand.mem.disp)
                elif operand.type == x86_const.X86_OP_IMM:
                    taken.add(operand.imm)
        return taken

    def _asks_for_equality(self, following: Instruction) -> bool | None:
        mnemonic = following.text.split()[0]
        if following.kind is Kind.BRANCH or mnemonic in _CONDITIONAL:
            return mnemonic in ("je", "jne", *_CONDITIONAL)
        return None if mnemonic.startswith(("mov", "lea", "nop")) else False

    def _written_by(self, raw: capstone.CsInsn) -> AbstractSet[str]:
        return {_FAMILY.get(raw.reg_name(reg), "") for reg in raw.regs_access()[1]}

    def _writes_memory(self, raw: capstone.CsInsn) -> bool:
        return any(
            operand.type == x86_const.X86_OP_MEM and operand.access & capstone.CS_AC_WRITE for operand in raw.operands
        )

    def _operand(self, address: int, operand: capstone.x86.X86Op, size: int) -> Value | None:
        """The value of an operand that the instruction at an address reads; of `size` bytes."""
        if operand.type == x86_const.X86_OP_IMM:
            return Value(operand.imm & ((1 << 8 * size) - 1))
        if operand.type == x86_const.X86_OP_REG:
            whole = _FAMILY.get(self._code.raw(address).reg_name(operand.reg))  # type: ignore[union-attr]
            return self.before(address, whole, size) if whole and operand.size >= size else None
        raw = self._code.raw(address)
        if raw is None or operand.type != x86_const.X86_OP_MEM or operand.size < size or operand.mem.index:
            return None
        if operand.mem.base in (0, x86_const.X86_REG_RIP):  # 0: an absolute address
            start = raw.address + raw.size if operand.mem.base else 0
            return contents_of(start + operand.mem.disp) if not operand.mem.segment else None
        slot = self._slot(raw, operand)
        return self.before(address, slot, size) if slot else None

    def _kept(self, raw: capstone.CsInsn, slot: Slot, size: int) -> Value | None:
        for operand in raw.operands:
            if operand.type != x86_const.X86_OP_MEM or not operand.access & capstone.CS_AC_WRITE:
                continue
            other = self._slot(raw, operand)
            if other is None:
                if operand.mem.base and raw.reg_name(operand.mem.base) in self._frame and operand.mem.index:
                    return None  # somewhere in the frame
                if self._escapes(slot):
                    return None
                continue
            if other == slot:
                if raw.id not in _MOVES or operand.size < size:
                    return None
                return self._operand(raw.address, raw.operands[1], size)
            if overlap(slot, size, other, operand.size):
                return None
        return self.before(raw.address, slot, size)

    @functools.cached_property
    def _frame(self) -> frozenset[str]:
        """The registers that point into the frame: the stack pointer, and rbp where it is only ever made from that.

        With -fomit-frame-pointer rbp is a register like any other, and what it points to may change in a call.
        """
        made = {i.text for i in self._function.instructions.values() if _MAKES_RBP.match(i.text)}
        is_frame = any("rsp" in text for text in made) and all(map(_RBP_OF_A_FRAME.match, made))
        return frozenset(("rsp", "rbp") if is_frame else ("rsp",))

    def _slot(self, raw: capstone.CsInsn, operand: capstone.x86.X86Op) -> Slot | None:
        memory = operand.mem
        if memory.index or memory.segment or not memory.base or raw.reg_name(memory.base) not in self._frame:
            return None
        return Slot(raw.reg_name(memory.base), memory.disp)

    def _slots_taken(self) -> list[Slot]:
        taken = []
        for instruction in self._function.instructions.values():
            if instruction.text.startswith("lea "):
                raw = self._code.raw(instruction.address)
                taken.append(self._slot(raw, raw.operands[1]) if raw is not None else None)
        return [one for one in taken if one is not None]

    def _set(self, raw: capstone.CsInsn, register: str, size: int) -> Value | None:
        operands = raw.operands
        if len(operands) != 2 or operands[0].type != x86_const.X86_OP_REG or operands[0].size < 4:
            return None
        if _FAMILY.get(raw.reg_name(operands[0].reg)) != register:
            return None
        source = operands[1]
        if raw.id in _MOVES:
            if source.type == x86_const.X86_OP_IMM:
                return Value(source.imm & ((1 << 64) - 1))
            value = self._operand(raw.address, source, min(size, operands[0].size))
            if operands[0].size < size:  # the upper half becomes zero
                return Value(value.offset & 0xFFFFFFFF) if value is not None and value.base is None else None
            return value
        if raw.id == x86_const.X86_INS_ADD and source.type == x86_const.X86_OP_IMM and operands[0].size == size == 8:
            old = self.before(raw.address, register, size)
            return Value((old.offset + source.imm) & ((1 << 64) - 1), old.base) if old else None
        if raw.id == x86_const.X86_INS_MOVSXD and size == 4:
            return self._operand(raw.address, source, 4)
        if raw.id == x86_const.X86_INS_XOR and source.type == x86_const.X86_OP_REG and source.reg == operands[0].reg:
            return Value(0)
        if raw.id == x86_const.X86_INS_LEA and source.mem.index == 0:
            if source.mem.base == x86_const.X86_REG_RIP:
                return Value(raw.address + raw.size + source.mem.disp)
            whole = _FAMILY.get(raw.reg_name(source.mem.base)) if source.mem.base else None
            base = self.before(raw.address, whole, size) if whole else None
            return Value(base.offset + source.mem.disp, base.base) if base else None
        return None
