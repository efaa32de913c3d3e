"""AArch64. Instructions are told apart by their words, as the kernel does it: the masks are those of
arch/arm64/include/asm/insn.h, and what is emulated under a uprobe is what arm_probe_decode_insn() simulates
(arch/arm64/kernel/probes/decode-insn.c and simulate-insn.c, 4.10 on).

Loads of literals are not counted: for uprobes they were simulated wrongly, and are refused since 6.12. Nor are nops,
which only newer kernels simulate, nor branches that authenticate their pointers, which are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import capstone

from colotrace.binary.isa import Destination, Isa, Kind

_Masks = tuple[tuple[int, int], ...]
B: _Masks = ((0xFC000000, 0x14000000),)
BL: _Masks = ((0xFC000000, 0x94000000),)
BR: _Masks = ((0xFFFFFC1F, 0xD61F0000),)
BLR: _Masks = ((0xFFFFFC1F, 0xD63F0000),)
RET: _Masks = ((0xFFFFFC1F, 0xD65F0000),)
B_COND: _Masks = ((0xFF000010, 0x54000000),)
CBZ: _Masks = ((0x7F000000, 0x34000000), (0x7F000000, 0x35000000))
TBZ: _Masks = ((0x7F000000, 0x36000000), (0x7F000000, 0x37000000))
ADR: _Masks = ((0x9F000000, 0x10000000),)
ADRP: _Masks = ((0x9F000000, 0x90000000),)
_BC_COND: _Masks = ((0xFF000010, 0x54000010),)
_BRA: _Masks = ((0xFEFFF800, 0xD61F0800),)
_BLRA: _Masks = ((0xFEFFF800, 0xD63F0800),)
_RETA: _Masks = ((0xFFFFFBFF, 0xD65F0BFF), (0xFFC0001F, 0x5500001F))
"""retaa and retab; and those of armv9.5, which carry an address to authenticate with."""
_STOPS: _Masks = (
    (0xFFFF0000, 0x00000000),  # udf
    (0xFFE0001F, 0xD4200000),  # brk
    (0xFFE0001F, 0xD4400000),  # hlt
    (0xFFFFF3FF, 0xD69F03E0),  # eret, eretaa, eretab
)
_KINDS = (
    (Kind.CALL, BL + BLR + _BLRA),
    (Kind.RETURN, RET + _RETA),
    (Kind.JUMP, B + BR + _BRA),
    (Kind.BRANCH, B_COND + CBZ + TBZ + _BC_COND),
    (Kind.STOP, _STOPS),
)
_EMULATED = B + BL + BR + BLR + RET + B_COND + CBZ + TBZ + ADR + ADRP
_LANDING_PADS = (0xD503241F, 0xD503245F, 0xD503249F, 0xD50324DF)
_LDR_X: _Masks = ((0xFFC00000, 0xF9400000),)


def matches(word: int, masks: _Masks) -> bool:
    """Whether an instruction's word is one of these."""
    return any(word & mask == value for mask, value in masks)


def signed(number: int, bits: int) -> int:
    """The lowest bits of a number as a signed one."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> bits - 1 else number


def page_of(word: int, address: int) -> int:
    """What an adr or adrp at an address makes."""
    immediate = signed(word >> 5 << 2 | word >> 29 & 3, 21)
    if matches(word, ADRP):
        return ((address & ~0xFFF) + (immediate << 12)) & ((1 << 64) - 1)
    return (address + immediate) & ((1 << 64) - 1)


class Aarch64(Isa):
    """AArch64, little-endian, with its procedure call standard (AAPCS64)."""

    arguments = tuple(f"x{n}" for n in range(8))
    glob_dat, jump_slot, relative = 1025, 1026, 1027
    alignment = longest = 4

    def _make_decoder(self) -> capstone.Cs:
        return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)

    def is_emulated(self, data: bytes) -> bool:
        """Whether the kernel simulates it: b, bl, br, blr, ret, b.cond, cbz, cbnz, tbz, tbnz, adr, adrp."""
        return len(data) == 4 and matches(int.from_bytes(data, "little"), _EMULATED)

    def kind(self, raw: capstone.CsInsn) -> Kind:
        """By the instruction's word; capstone's groups differ from version to version."""
        word = int.from_bytes(raw.bytes, "little")
        return next((kind for kind, masks in _KINDS if matches(word, masks)), Kind.PLAIN)

    def destination(self, raw: capstone.CsInsn) -> Destination:
        """The distance is in the instruction; where a register leads it does not say."""
        word = int.from_bytes(raw.bytes, "little")
        for masks, at, bits in ((B + BL, 0, 26), (B_COND + _BC_COND + CBZ, 5, 19), (TBZ, 5, 14)):
            if matches(word, masks):
                return Destination(target=(raw.address + 4 * signed(word >> at, bits)) & ((1 << 64) - 1))
        return Destination()

    def stub_slot(self, code: bytes, address: int) -> int | None:
        """[bti c], adrp x16, ldr x17 [x16], add x16, br x17; lld leaves the order, too."""
        words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, len(code) - 3, 4)]
        if words and words[0] in _LANDING_PADS:
            words, address = words[1:], address + 4
        if len(words) < 4 or not matches(words[0], ADRP) or not matches(words[1], _LDR_X):
            return None
        pointer, base = words[0] & 31, words[1] >> 5 & 31
        if base != pointer or words[3] != 0xD61F0000 | (words[1] & 31) << 5:
            return None
        return page_of(words[0], address) + 8 * (words[1] >> 10 & 0xFFF)

    def calls_in(self, code: bytes, address: int) -> Iterator[int]:
        """All bl."""
        for at in range(-address % 4, len(code) - 3, 4):
            word = int.from_bytes(code[at : at + 4], "little")
            if matches(word, BL):
                yield address + at + 4 * signed(word, 26)
