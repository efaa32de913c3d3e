"""What an AArch64 instruction does to registers and memory, told by its word.

The masks are those of the Arm Architecture Reference Manual's encoding index (C4.1). What an instruction may change is
told by its class, and for a class that is not known in detail every register that its fields could name counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from colotrace.binary.isa_aarch64 import B_COND, BL, CBZ, TBZ, B, matches, signed

ZERO = 31
"""The register number that means xzr, or the stack pointer where an instruction takes that."""
ALL_64, ALL_32 = (1 << 64) - 1, (1 << 32) - 1
MOVN, MOVZ, MOVK = (((0x7F800000, value),) for value in (0x12800000, 0x52800000, 0x72800000))
MOV_BITMASK = ((0x7F8003E0, 0x320003E0),)
MOV_REGISTER = ((0x7FE0FFE0, 0x2A0003E0),)
ADD, SUB = ((0x7F800000, 0x11000000),), ((0x7F800000, 0x51000000),)
CMP = ((0x7F800000, 0x71000000),)
"""Also subs into another register."""
CMP_REGISTER = ((0x7FE0FC00, 0x6B000000),)
SXTW = ((0xFFFFFC00, 0x93407C00),)
ADD_EXTENDED, ADD_SHIFTED = ((0x1FE00000, 0x0B200000),), ((0x1F200000, 0x0B000000),)
"""Also subtractions; the first may read and write the stack pointer."""
_LOGICAL_IMMEDIATE = ((0x1F800000, 0x12000000),)
_PAIR = ((0x3A000000, 0x28000000),)
_SINGLE = ((0x3B000000, 0x39000000), (0x3B200000, 0x38000000))
"""By an offset in units of the size; and by one in bytes, which also goes to or comes from the base register."""


@dataclass(frozen=True)
class Access:
    """A load or store of one or two integer registers: `width` bytes each, at `displacement` from register `base`.

    `exact` tells whether a load fills its register with just these bytes, zeroes above.
    """

    registers: tuple[int, ...]
    base: int
    displacement: int
    width: int
    loads: bool
    exact: bool


def name_of(number: int) -> str:
    """A register by its 64-bit name, where number 31 is the stack pointer."""
    return "sp" if number == ZERO else f"x{number}"


def is_access(word: int) -> bool:
    """Whether an instruction is one of the loads and stores (op0 = x1x0)."""
    return word >> 25 & 0b101 == 0b100


def access_of(word: int) -> Access | None:
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
        return Access((first, word >> 10 & 31), base, offset, width, bool(word >> 22 & 1), True)
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
    return Access((first,), base, offset, width, opc != 0, opc < 2)


def step_of(word: int) -> int | None:
    """What a load or store adds to its base register; None if it leaves that alone."""
    vector = word >> 26 & 1
    if matches(word, _PAIR) and word >> 23 & 1:
        opc = word >> 30
        width = 4 << opc if vector else 4 if opc == 1 else 4 << (opc >> 1)
        return signed(word >> 15, 7) * width
    if matches(word, _SINGLE) and not word >> 24 & 1 and word >> 10 & 1:
        return signed(word >> 12, 9)
    return None


def bitmask(word: int) -> int | None:
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
    """The integer registers that an instruction may change; None: it is of no class whose fields are known.

    Of calls it is only said that they change the link register.
    """
    group = word >> 25 & 15
    rd, rn, rt2, rs = word & 31, word >> 5 & 31, word >> 10 & 31, word >> 16 & 31
    if group in (0b1000, 0b1001):  # immediates
        takes_sp = (word >> 29 & 1 == 0 and word >> 23 & 7 == 0b010) or matches(word, _LOGICAL_IMMEDIATE)
        return _names((rd,), sp=takes_sp)
    if group in (0b0101, 0b1101):  # registers
        return _names((rd,), sp=matches(word, ADD_EXTENDED))
    if group in (0b0111, 0b1111):  # vectors and floating point, whose results may go to an integer register
        return _names((rd,))
    if group in (0b1010, 0b1011):  # branches and system; hints may sign or authenticate x17 and x30
        if matches(word, BL):
            return _names((30,))
        return frozenset() if matches(word, B + B_COND + CBZ + TBZ) else _names((rd, 17, 30))
    if not is_access(word):
        return None
    base = _names((rn,), sp=True) if step_of(word) is not None else frozenset()
    loads = word >> 26 & 1 == 0 and bool(word >> 22 & (1 if matches(word, _PAIR) else 3))
    if matches(word, _PAIR):
        return _names((rd, rt2) if loads else ()) | base
    if matches(word, _SINGLE):
        return _names((rd,) if loads else ()) | base
    return _names((rd, rt2, rs, (rs + 1) & 31)) | _names((rn,), sp=True)


def _names(numbers: tuple[int, ...], *, sp: bool = False) -> frozenset[str]:
    """Registers by name; with `sp`, number 31 is the stack pointer, and else it is none."""
    return frozenset(name_of(number) for number in numbers if sp or number != ZERO)
