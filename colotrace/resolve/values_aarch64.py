"""The rules of AArch64 for following values backwards, by the instructions' words.

The masks are those of the Arm Architecture Reference Manual's encoding index (C4.1). What an instruction may change is
told by its class, and for a class that is not known in detail every register that its fields could name counts.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import capstone

from colotrace.binary.code import Instruction, Kind
from colotrace.binary.isa_aarch64 import ADR, ADRP, CBZ, matches, page_of, signed
from colotrace.resolve.walk import Compared, Slot, Value, Walk, contents_of, overlap

_ZERO = 31
"""The register number that means xzr, or the stack pointer where an instruction takes that."""
_FRAME = (29, 31)
_ALL_64, _ALL_32 = (1 << 64) - 1, (1 << 32) - 1
_MOVN, _MOVZ, _MOVK = (((0x7F800000, value),) for value in (0x12800000, 0x52800000, 0x72800000))
_MOV_BITMASK = ((0x7F8003E0, 0x320003E0),)
_MOV_REGISTER = ((0x7FE0FFE0, 0x2A0003E0),)
_ADD, _SUB = ((0x7F800000, 0x11000000),), ((0x7F800000, 0x51000000),)
_CMP = ((0x7F800000, 0x71000000),)
"""Also subs into another register."""
_CMP_REGISTER = ((0x7FE0FC00, 0x6B000000),)
_SXTW = ((0xFFFFFC00, 0x93407C00),)
_ADD_EXTENDED = ((0x1FE00000, 0x0B200000),)
_LOGICAL_IMMEDIATE = ((0x1F800000, 0x12000000),)
_PAIR = ((0x3A000000, 0x28000000),)
_SINGLE = ((0x3B000000, 0x39000000), (0x3B200000, 0x38000000))
"""By an offset in units of the size; and by one in bytes, which also goes to or comes from the base register."""
_FLAGS_KEPT = ("mov", "movz", "movn", "movk", "adr", "adrp", "add", "sub", "ldr", "str", "ldp", "stp", "ldur", "stur",
               "nop", "orr", "sxtw", "uxtw")  # fmt: skip
_EQUAL = ("eq", "ne")
_CONDITIONAL = ("cset", "csetm", "csel", "csinc", "csinv", "csneg", "cinc", "cinv", "cneg")


@dataclass(frozen=True)
class _Access:
    """A load or store of one or two integer registers: `width` bytes each, at `displacement` from register `base`.

    `exact` tells whether a load fills its register with just these bytes, zeroes above.
    """

    registers: tuple[int, ...]
    base: int
    displacement: int
    width: int
    loads: bool
    exact: bool


def _word(raw: capstone.CsInsn) -> int:
    return int.from_bytes(raw.bytes, "little")


def _name(number: int) -> str:
    return "sp" if number == _ZERO else f"x{number}"


def _is_access(word: int) -> bool:
    """Whether an instruction is one of the loads and stores (op0 = x1x0)."""
    return word >> 25 & 0b101 == 0b100


def access_of(word: int) -> _Access | None:
    """The load or store that a word is, if it is one of the plain ones; with its base register left as it was."""
    base, first, vector = word >> 5 & 31, word & 31, word >> 26 & 1
    if vector:
        return None
    if matches(word, _PAIR):
        opc, mode = word >> 30, word >> 23 & 3
        if opc & 1 or mode != 2:  # ldpsw and stgp; written back
            return None
        width = 4 << (opc >> 1)
        offset = signed(word >> 15, 7) * width
        return _Access((first, word >> 10 & 31), base, offset, width, bool(word >> 22 & 1), True)
    if not matches(word, _SINGLE):
        return None
    size, opc = word >> 30, word >> 22 & 3
    width = 1 << size
    if opc == 2 and size == 3:  # a prefetch
        return None
    if word >> 24 & 1:
        offset = (word >> 10 & 0xFFF) * width
    elif word >> 10 & 3 == 0:
        offset = signed(word >> 12, 9)
    else:
        return None
    return _Access((first,), base, offset, width, opc != 0, opc < 2)


def step_of(word: int) -> int | None:
    """What a load or store adds to its base register; None if it leaves that alone, or also loads it."""
    base, vector = word >> 5 & 31, word >> 26 & 1
    registers = (word & 31, word >> 10 & 31) if matches(word, _PAIR) else (word & 31,)
    if not vector and base != _ZERO and base in registers:
        return None
    if matches(word, _PAIR) and word >> 23 & 1:
        opc = word >> 30
        width = 4 << opc if vector else 4 if opc == 1 else 4 << (opc >> 1)
        return signed(word >> 15, 7) * width
    if matches(word, _SINGLE) and not word >> 24 & 1 and word >> 10 & 1:
        return signed(word >> 12, 9)
    return None


def _bitmask(word: int) -> int | None:
    """The immediate of a logical instruction (DecodeBitMasks() of the manual)."""
    n, r, s = word >> 22 & 1, word >> 16 & 63, word >> 10 & 63
    length = (n << 6 | ~s & 63).bit_length() - 1
    if length < 1 or (n and not word >> 31):
        return None
    size = 1 << length
    ones, turn = (s & (size - 1)) + 1, r & (size - 1)
    if ones == size:
        return None
    element = (1 << ones) - 1
    element = (element >> turn | element << (size - turn)) & ((1 << size) - 1)
    width = 64 if word >> 31 else 32
    return sum(element << at for at in range(0, width, size))


def written_by(word: int) -> frozenset[str] | None:
    """The integer registers that an instruction may change; None: it is of no class whose fields are known."""
    group = word >> 25 & 15
    rd, rn, rt2, rs = word & 31, word >> 5 & 31, word >> 10 & 31, word >> 16 & 31
    fields: tuple[int, ...]
    if group in (0b1000, 0b1001):  # immediates
        takes_sp = (word >> 29 & 1 == 0 and word >> 23 & 7 == 0b010) or matches(word, _LOGICAL_IMMEDIATE)
        return frozenset((_name(rd),)) if rd != _ZERO or takes_sp else frozenset()
    if group in (0b0101, 0b1101):  # registers
        takes_sp = matches(word, _ADD_EXTENDED)
        return frozenset((_name(rd),)) if rd != _ZERO or takes_sp else frozenset()
    if group in (0b1010, 0b1011):  # branches and system
        if word >> 26 & 31 == 0b00101 or word >> 25 & 63 in (0b011010, 0b011011) or word >> 24 == 0x54:
            return frozenset(("x30",)) if word >> 31 else frozenset()
        return frozenset((_name(rd), "x17", "x30"))  # hints may sign or authenticate these
    if group in (0b0111, 0b1111):  # vectors and floating point, whose results may go to an integer register
        return frozenset((_name(rd),)) if rd != _ZERO else frozenset()
    if not _is_access(word):
        return None
    vector = word >> 26 & 1
    access = access_of(word)
    if access is not None:
        fields = access.registers if access.loads else ()
    elif matches(word, _PAIR):
        fields = (rd, rt2) if word >> 22 & 1 and not vector else ()
        fields += (rn,) if word >> 23 & 1 else ()
        return frozenset(_name(n) for n in fields if n != _ZERO or (word >> 23 & 1 and n == rn))
    elif matches(word, _SINGLE):
        fields = (rd,) if word >> 22 & 3 and not vector else ()
        written_back = not word >> 24 & 1 and word >> 10 & 1
        return frozenset([_name(n) for n in fields if n != _ZERO] + ([_name(rn)] if written_back else []))
    else:
        return frozenset(_name(n) for n in (rd, rn, rt2, rs, (rs + 1) & 31))
    return frozenset(_name(n) for n in fields if n != _ZERO)


class Aarch64Values(Walk):
    """Values in AArch64 code."""

    result = "x0"
    clobbered = frozenset((*(f"x{n}" for n in range(19)), "x30"))
    stack_pointer = "sp"

    def compared(self, instruction: Instruction) -> Compared | None:
        """By cmp or subs with a number or a register, or by cbz and cbnz, which compare with 0."""
        word, at = int.from_bytes(instruction.data, "little"), instruction.address
        if matches(word, CBZ):
            return self._register(at, word & 31, 4), Value(0)
        if matches(word, _CMP) and self._for_equality(instruction):
            number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
            return (self._register(at, word >> 5 & 31, 4) if word >> 5 & 31 != _ZERO else None), Value(number)
        if matches(word, _CMP_REGISTER) and self._for_equality(instruction):
            return self._register(at, word >> 5 & 31, 4), self._register(at, word >> 16 & 31, 4)
        return None

    def stored(self, instruction: Instruction) -> Collection[tuple[int, Value]]:
        """By str or stp of 64-bit registers."""
        access = access_of(int.from_bytes(instruction.data, "little"))
        if access is None or access.loads or access.width != 8 or access.base in _FRAME:
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
            if access is not None and access.base != _ZERO:
                value = self._register(at, access.base, 8)
                value = Value(value.offset + access.displacement, value.base) if value else None
            elif matches(word, ADR + _ADD + _SUB + _MOVZ + _MOVN + _MOVK):
                raw = self._code.raw(at)
                value = self._set(raw, _name(word & 31), 8) if raw is not None else None
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
        return _is_access(word) or group in (0b0000, 0b0001, 0b0010, 0b0011)  # reserved, SME and SVE: not known

    def _register(self, address: int, number: int, size: int) -> Value | None:
        """What an instruction reads from a register, where number 31 means zero."""
        return Value(0) if number == _ZERO else self.before(address, _name(number), size)

    def _set(self, raw: capstone.CsInsn, register: str, size: int) -> Value | None:
        word, at = _word(raw), int(raw.address)
        access = access_of(word)
        if access is not None:
            return self._loaded(at, access, register, size) if access.loads else None
        step = step_of(word)
        if step is not None and register == _name(word >> 5 & 31):
            old = self.before(at, register, 8)
            return _narrow(Value((old.offset + step) & _ALL_64, old.base), size) if old is not None else None
        if register != _name(word & 31) or _is_access(word):
            return None
        if matches(word, ADR + ADRP):
            return _narrow(Value(page_of(word, at)), size)
        if matches(word, _ADD + _SUB):
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
        if matches(word, _MOVZ):
            return _narrow(Value(number), size)
        if matches(word, _MOVN):
            return _narrow(Value(~number & (_ALL_64 if word >> 31 else _ALL_32)), size)
        if matches(word, _MOVK):
            old = self._register(at, word & 31, size)
            if old is None or old.base is not None:
                return None
            return _narrow(Value(old.offset & ~(0xFFFF << shift) | number), size)
        if matches(word, _MOV_BITMASK):
            mask = _bitmask(word)
            return _narrow(Value(mask), size) if mask is not None else None
        if matches(word, _MOV_REGISTER):
            return self._register(at, word >> 16 & 31, size)
        if matches(word, _SXTW) and size == 4:
            return self._register(at, word >> 5 & 31, 4)
        return None

    def _sum(self, at: int, word: int, size: int) -> Value | None:
        """What an addition or subtraction of an immediate comes to; here, number 31 is the stack pointer."""
        wide = bool(word >> 31)
        number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
        old = self.before(at, _name(word >> 5 & 31), 8 if wide else 4)
        if old is None or (old.base is not None and not (wide and size == 8)):
            return None
        total = old.offset + number if matches(word, _ADD) else old.offset - number
        return _narrow(Value(total & (_ALL_64 if wide else _ALL_32), old.base), size)

    def _loaded(self, at: int, access: _Access, register: str, size: int) -> Value | None:
        names = [_name(number) for number in access.registers]
        if names.count(register) != 1 or not access.exact:
            return None
        displacement = access.displacement + access.width * names.index(register)
        if access.width < size:
            value = self._memory(at, access.base, displacement, access.width) if access.width == 4 else None
            return value if value is not None and value.base is None else None
        return self._memory(at, access.base, displacement, size)

    def _memory(self, at: int, base: int, displacement: int, size: int) -> Value | None:
        if base in _FRAME:
            return self.before(at, self._slot(at, base, displacement), size)
        pointer = self.before(at, _name(base), 8)
        if pointer is None or pointer.base is not None:
            return None
        address = (pointer.offset + displacement) & _ALL_64
        held = self._code.pointer_in_got(address) if size == 8 else None  # position-independent code goes by it
        return Value(held) if held is not None else contents_of(address)

    def _slot(self, at: int, base: int, displacement: int) -> Slot:
        """A place by one of the two registers that point into the frame: by how far it is from the stack pointer at the
        function's entry, so that both give the same place the same name; in a loop, where that is open, by itself."""
        pointer = self.before(at, _name(base), 8)
        if pointer is None or pointer.base is None or not pointer.base.startswith("sp "):
            return Slot(_name(base), displacement)
        return Slot(pointer.base, signed(pointer.offset + displacement, 64))

    def _kept(self, raw: capstone.CsInsn, slot: Slot, size: int) -> Value | None:
        if not self._writes_memory(raw):
            return self.before(raw.address, slot, size)
        word = _word(raw)
        access = access_of(word)
        if access is None or access.base not in _FRAME:
            may_be_in_frame = word >> 5 & 31 in _FRAME or not _is_access(word)
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
        return super()._escapes(slot) or any(one.register != slot.register for one in self._taken or ())

    def _slots_taken(self) -> list[Slot]:
        taken = []
        for instruction in self._function.instructions.values():
            word = int.from_bytes(instruction.data, "little")
            base, to = word >> 5 & 31, word & 31
            if matches(word, _ADD + _SUB) and base in _FRAME and to not in _FRAME:
                number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
                taken.append(self._slot(instruction.address, base, number if matches(word, _ADD) else -number))
            elif matches(word, _ADD_EXTENDED) and base in _FRAME and to not in _FRAME:
                taken.append(Slot("somewhere", 0))
            elif matches(word, _MOV_REGISTER) and word >> 16 & 31 == 29:
                taken.append(self._slot(instruction.address, 29, 0))
        return taken


def _narrow(value: Value, size: int) -> Value:
    return Value(value.offset & ((1 << 8 * size) - 1), value.base)
