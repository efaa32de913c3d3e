"""x86-64. The rules for which instructions the kernel emulates are the kernel's (arch/x86/kernel/uprobes.c,
branch_setup_xol_ops() and push_setup_xol_ops(), 3.16 to 6.18)."""

from __future__ import annotations

from collections.abc import Iterator

import capstone
from capstone import x86_const

from colotrace.binary.isa import Destination, Isa, Kind

_LOOPS = frozenset((x86_const.X86_INS_LOOP, x86_const.X86_INS_LOOPE, x86_const.X86_INS_LOOPNE))
"""Conditional jumps that capstone does not group with the others."""
_STOPS = frozenset(
    (x86_const.X86_INS_UD0, x86_const.X86_INS_UD1, x86_const.X86_INS_UD2, x86_const.X86_INS_HLT, x86_const.X86_INS_INT3)
)


def is_emulated(data: bytes) -> bool:
    """Whether the kernel emulates the instruction in `data`: near call, jmp, jcc, and push of a register.

    Prefixed forms are left out, because the kernel refuses some of them (but it takes `addr32 call`, which linkers make
    of a call through the GOT); so are nops, which 6.18 may rewrite.
    """
    if not data:
        return False
    first = data[0]
    if first == 0x67:
        return len(data) == 6 and data[1] == 0xE8
    if first in (0xE8, 0xE9):
        return len(data) == 5
    if first == 0xEB or 0x70 <= first <= 0x7F:
        return len(data) == 2
    if first == 0x0F:
        return len(data) == 6 and 0x80 <= data[1] <= 0x8F
    if 0x50 <= first <= 0x57:
        return len(data) == 1
    return first == 0x41 and len(data) == 2 and 0x50 <= data[1] <= 0x57


class X86(Isa):
    """x86-64 with the System V ABI."""

    arguments = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
    glob_dat, jump_slot, relative = 6, 7, 8
    alignment, longest = 1, 15

    def _make_decoder(self) -> capstone.Cs:
        return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)

    def is_emulated(self, data: bytes) -> bool:
        """See is_emulated() of this module."""
        return is_emulated(data)

    def kind(self, raw: capstone.CsInsn) -> Kind:
        """By capstone's groups, which lack the loops."""
        if raw.group(capstone.CS_GRP_CALL):
            return Kind.CALL
        if raw.group(capstone.CS_GRP_RET):
            return Kind.RETURN
        if raw.id == x86_const.X86_INS_JMP:
            return Kind.JUMP
        if raw.group(capstone.CS_GRP_JUMP) or raw.id in _LOOPS:
            return Kind.BRANCH
        if raw.id in _STOPS:
            return Kind.STOP
        return Kind.PLAIN

    def destination(self, raw: capstone.CsInsn) -> Destination:
        """An immediate, or what a rip-relative operand holds."""
        operand = raw.operands[0] if raw.operands else None
        if operand is not None and operand.type == x86_const.X86_OP_IMM:
            return Destination(target=operand.imm)
        if operand is not None and operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
            return Destination(slot=raw.address + raw.size + operand.mem.disp)
        return Destination()

    def stub_slot(self, code: bytes, address: int) -> int | None:
        """[endbr64] [bnd] jmp *slot(%rip)."""
        for _ in range(2):
            raw = self.decode(code, address)
            if raw is None:
                return None
            if raw.id == x86_const.X86_INS_JMP and raw.operands[0].type == x86_const.X86_OP_MEM:
                return self.destination(raw).slot
            if raw.id != x86_const.X86_INS_ENDBR64:
                return None
            code, address = code[raw.size :], address + raw.size
        return None

    def calls_in(self, code: bytes, address: int) -> Iterator[int]:
        """Call rel32, at any byte."""
        at = code.find(b"\xe8")
        while 0 <= at <= len(code) - 5:
            yield address + at + 5 + int.from_bytes(code[at + 1 : at + 5], "little", signed=True)
            at = code.find(b"\xe8", at + 1)
