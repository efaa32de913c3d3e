"""The rules of AArch64 for following values backwards."""

from __future__ import annotations

import functools
from collections.abc import Collection
from collections.abc import Set as AbstractSet

import capstone

from colotrace.binary.code import Instruction, Kind
from colotrace.binary.isa_aarch64 import ADR, ADRP, CBZ, matches, page_of, signed
from colotrace.binary.words_aarch64 import (
    ADD,
    ADD_EXTENDED,
    ADD_SHIFTED,
    ALL_32,
    ALL_64,
    CMP,
    CMP_REGISTER,
    MOV_BITMASK,
    MOV_REGISTER,
    MOVK,
    MOVN,
    MOVZ,
    SUB,
    SXTW,
    ZERO,
    Access,
    access_of,
    bitmask,
    is_access,
    name_of,
    step_of,
    written_by,
)
from colotrace.resolve.walk import Compared, Slot, Value, Walk, contents_of, overlap

_FP = 29
_SOMEWHERE = Slot("somewhere", 0)
_FLAGS_KEPT = ("mov", "movz", "movn", "movk", "adr", "adrp", "add", "sub", "ldr", "str", "ldp", "stp", "ldur", "stur",
               "nop", "orr", "sxtw", "uxtw")  # fmt: skip
_EQUAL = ("eq", "ne")
_CONDITIONAL = ("cset", "csetm", "csel", "csinc", "csinv", "csneg", "cinc", "cinv", "cneg")


def _word(raw: capstone.CsInsn) -> int:
    return int.from_bytes(raw.bytes, "little")


class Aarch64Values(Walk):
    """Values in AArch64 code."""

    result = "x0"
    clobbered = frozenset((*(f"x{n}" for n in range(19)), "x30"))
    stack_pointer = "sp"

    def compared(self, instruction: Instruction) -> Compared | None:
        """By cmp or subs with a number or a register, or by cbz and cbnz, which compare with 0; of 32 bits."""
        word, at = int.from_bytes(instruction.data, "little"), instruction.address
        if word >> 31:
            return None
        if matches(word, CBZ):
            return self._register(at, word & 31, 4), Value(0)
        if matches(word, CMP) and self._for_equality(instruction):
            number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
            return (self._register(at, word >> 5 & 31, 4) if word >> 5 & 31 != ZERO else None), Value(number)
        if matches(word, CMP_REGISTER) and self._for_equality(instruction):
            return self._register(at, word >> 5 & 31, 4), self._register(at, word >> 16 & 31, 4)
        return None

    def stored(self, instruction: Instruction) -> Collection[tuple[int, Value]]:
        """By str or stp of 64-bit registers."""
        access = access_of(int.from_bytes(instruction.data, "little"))
        if access is None or access.loads or access.width != 8 or access.base in self._frame:
            return ()
        found = (
            (access.displacement + 8 * n, self._register(instruction.address, register, 8))
            for n, register in enumerate(access.registers)
        )
        return [(offset, value) for offset, value in found if value is not None]

    def addresses(self) -> set[int]:
        """What adr, adrp with add, and loads and stores near such an address come to; and moved numbers."""
        taken = set()
        for instruction in self._function.instructions.values():
            word, at = int.from_bytes(instruction.data, "little"), instruction.address
            access, value = access_of(word), None
            if access is not None and access.base != ZERO:
                value = self._register(at, access.base, 8)
                value = Value(value.offset + access.displacement, value.base) if value else None
            elif matches(word, ADR + ADD + SUB + MOVZ + MOVN + MOVK):
                raw = self._code.raw(at)
                value = self._set(raw, name_of(word & 31), 8) if raw is not None else None
            if value is not None and value.base is None:
                taken.add(value.offset)
        return taken

    def _asks_for_equality(self, following: Instruction) -> bool | None:
        mnemonic, _, operands = following.text.partition(" ")
        if following.kind is Kind.BRANCH:
            if mnemonic.startswith(("cb", "tb")):  # it looks at a register, and not at the comparison
                return False
            return mnemonic.rpartition(".")[2] in _EQUAL
        if mnemonic in _CONDITIONAL:
            return operands.rpartition(",")[2].strip() in _EQUAL
        return None if mnemonic in _FLAGS_KEPT else False

    def _written_by(self, raw: capstone.CsInsn) -> AbstractSet[str] | None:
        return written_by(_word(raw))

    def _writes_memory(self, raw: capstone.CsInsn) -> bool:
        word = _word(raw)
        access = access_of(word)
        if access is not None:
            return not access.loads
        group = word >> 25 & 15
        return is_access(word) or group in (0b0000, 0b0001, 0b0010, 0b0011)  # reserved, SME and SVE: not known

    def _register(self, address: int, number: int, size: int) -> Value | None:
        """What an instruction reads from a register, where number 31 means zero."""
        return Value(0) if number == ZERO else self.before(address, name_of(number), size)

    def _set(self, raw: capstone.CsInsn, register: str, size: int) -> Value | None:
        word, at = _word(raw), int(raw.address)
        access = access_of(word)
        if access is not None:
            return self._loaded(at, access, register, size) if access.loads else None
        step = step_of(word)
        if step is not None and register == name_of(word >> 5 & 31):
            old = self.before(at, register, 8)
            return _narrow(Value((old.offset + step) & ALL_64, old.base), size) if old is not None else None
        if register != name_of(word & 31) or is_access(word):
            return None
        if matches(word, ADR + ADRP):
            return _narrow(Value(page_of(word, at)), size)
        if matches(word, ADD + SUB):
            return self._sum(at, word, size)
        wide = bool(word >> 31)
        if not wide and size == 8:  # the upper half becomes zero
            low = self._moved(at, word, 4)
            return low if low is not None and low.base is None else None
        return self._moved(at, word, size)

    def _moved(self, at: int, word: int, size: int) -> Value | None:
        """What a move puts into its register, of which `size` bytes are asked."""
        shift = 16 * (word >> 21 & 3)
        number = (word >> 5 & 0xFFFF) << shift
        if matches(word, MOVZ):
            return _narrow(Value(number), size)
        if matches(word, MOVN):
            return _narrow(Value(~number & (ALL_64 if word >> 31 else ALL_32)), size)
        if matches(word, MOVK):
            old = self._register(at, word & 31, size)
            if old is None or old.base is not None:
                return None
            return _narrow(Value(old.offset & ~(0xFFFF << shift) | number), size)
        if matches(word, MOV_BITMASK):
            mask = bitmask(word)
            return _narrow(Value(mask), size) if mask is not None else None
        if matches(word, MOV_REGISTER):
            return self._register(at, word >> 16 & 31, size)
        if matches(word, SXTW) and size == 4:
            return self._register(at, word >> 5 & 31, 4)
        return None

    def _sum(self, at: int, word: int, size: int) -> Value | None:
        """What an addition or subtraction of an immediate comes to; here, number 31 is the stack pointer."""
        wide = bool(word >> 31)
        number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
        old = self.before(at, name_of(word >> 5 & 31), 8 if wide else 4)
        if old is None or (old.base is not None and not (wide and size == 8)):
            return None
        total = old.offset + number if matches(word, ADD) else old.offset - number
        return _narrow(Value(total & (ALL_64 if wide else ALL_32), old.base), size)

    def _loaded(self, at: int, access: Access, register: str, size: int) -> Value | None:
        names = [name_of(number) for number in access.registers]
        if names.count(register) != 1 or not access.exact:
            return None
        displacement = access.displacement + access.width * names.index(register)
        if access.width < size:
            value = self._memory(at, access.base, displacement, access.width) if access.width == 4 else None
            return value if value is not None and value.base is None else None
        return self._memory(at, access.base, displacement, size)

    def _memory(self, at: int, base: int, displacement: int, size: int) -> Value | None:
        if base in self._frame:
            return self.before(at, self._slot(at, base, displacement), size)
        pointer = self.before(at, name_of(base), 8)
        if pointer is None or pointer.base is not None:
            return None
        address = (pointer.offset + displacement) & ALL_64
        held = self._code.pointer_in_got(address) if size == 8 else None  # position-independent code goes by it
        return Value(held) if held is not None else contents_of(address)

    @functools.cached_property
    def _frame(self) -> frozenset[int]:
        """The registers that point into the frame: the stack pointer, and x29 where it is only ever made from that."""
        for instruction in self._function.instructions.values():
            word = int.from_bytes(instruction.data, "little")
            written = written_by(word)
            from_sp = word >> 5 & 31 == ZERO and (matches(word, ADD + SUB) or is_access(word))
            if written is None or ("x29" in written and not from_sp):
                return frozenset((ZERO,))
        return frozenset((ZERO, _FP))

    def _slot(self, at: int, base: int, displacement: int) -> Slot:
        """A place by one of the two registers that point into the frame: by how far it is from the stack pointer at the
        function's entry, so that both give the same place the same name; in a loop, where that is open, by itself."""
        pointer = self.before(at, name_of(base), 8)
        if pointer is None or pointer.base is None or not pointer.base.startswith("sp "):
            return Slot(name_of(base), displacement)
        return Slot(pointer.base, signed(pointer.offset + displacement, 64))

    def _kept(self, raw: capstone.CsInsn, slot: Slot, size: int) -> Value | None:
        if not self._writes_memory(raw):
            return self.before(raw.address, slot, size)
        word = _word(raw)
        access = access_of(word)
        if access is None or access.base not in self._frame:
            may_be_in_frame = word >> 5 & 31 in self._frame or not is_access(word)
            return None if may_be_in_frame or self._escapes(slot) else self.before(raw.address, slot, size)
        for n, number in enumerate(access.registers):
            other = self._slot(raw.address, access.base, access.displacement + access.width * n)
            if other == slot and access.width >= size:
                return self._register(raw.address, number, size)
            if overlap(slot, size, other, access.width):
                return None
        return self.before(raw.address, slot, size)

    def _escapes(self, slot: Slot) -> bool:
        """Also if anything's address is taken and it is not known how far from the slot that is."""
        if self._taken is None:
            self._taken = [_SOMEWHERE]  # for who asks meanwhile
            self._taken = self._slots_taken()
        return super()._escapes(slot) or any(one.register != slot.register for one in self._taken)

    def _slots_taken(self) -> list[Slot]:
        taken = []
        for instruction in self._function.instructions.values():
            word = int.from_bytes(instruction.data, "little")
            base, other, to = word >> 5 & 31, word >> 16 & 31, word & 31
            if matches(word, ADD + SUB) and base in self._frame and to not in self._frame:
                number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
                taken.append(self._slot(instruction.address, base, number if matches(word, ADD) else -number))
            elif matches(word, MOV_REGISTER) and other == _FP in self._frame:
                taken.append(self._slot(instruction.address, _FP, 0))
            elif (matches(word, ADD_EXTENDED) and base in self._frame and to not in self._frame) or (
                matches(word, ADD_SHIFTED) and _FP in self._frame.intersection((base, other))
            ):
                taken.append(_SOMEWHERE)
        return taken


def _narrow(value: Value, size: int) -> Value:
    return Value(value.offset & ((1 << 8 * size) - 1), value.base)
