"""A tiny x86-64 assembler with labels: just the instructions that the synthetic programs need."""

from __future__ import annotations

import struct
from collections.abc import Mapping

REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
CONDITIONS = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
NOPS = {
    1: "90", 2: "6690", 3: "0f1f00", 4: "0f1f4000", 5: "0f1f440000", 6: "660f1f440000", 7: "0f1f8000000000",
    8: "0f1f840000000000", 9: "660f1f840000000000",
}  # fmt: skip


class Assembler:
    """Collects code from `base` on; `assemble` fills in what refers to labels, its own or given ones."""

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self.labels: dict[str, int] = {}
        self._code = bytearray()
        self._fixups: list[tuple[int, int, str, int]] = []

    @property
    def here(self) -> int:
        """The address of what is emitted next."""
        return self.base + len(self._code)

    def label(self, name: str) -> int:
        """Names the address of what is emitted next."""
        assert name not in self.labels, name
        self.labels[name] = self.here
        return self.here

    def assemble(self, others: Mapping[str, int] | None = None) -> bytes:
        """The code; `others` are labels defined elsewhere."""
        labels = {**(others or {}), **self.labels}
        code = bytearray(self._code)
        for at, size, name, addend in self._fixups:
            distance = labels[name] + addend - (self.base + at + size)
            struct.pack_into("<b" if size == 1 else "<i", code, at, distance)
        return bytes(code)

    def raw(self, data: bytes | str) -> int:
        """Emits bytes, or their hexadecimal text."""
        at = self.here
        self._code += bytes.fromhex(data) if isinstance(data, str) else data
        return at

    def align(self, boundary: int = 16) -> None:
        """Pads with int3, as linkers do between functions."""
        self._code += b"\xcc" * (-self.here % boundary)

    def _relative(self, opcode: bytes, name: str, size: int = 4, addend: int = 0) -> int:
        at = self.raw(opcode)
        self._fixups.append((len(self._code), size, name, addend))
        self._code += bytes(size)
        return at

    def call(self, name: str, prefix: bytes = b"") -> int:
        """call rel32; answers the instruction's address, as all that follow do."""
        return self._relative(prefix + b"\xe8", name)

    def call_slot(self, name: str) -> int:
        """call *slot(%rip)."""
        return self._relative(b"\xff\x15", name)

    def jmp(self, name: str, prefix: bytes = b"") -> int:
        """jmp rel32."""
        return self._relative(prefix + b"\xe9", name)

    def jmp8(self, name: str, prefix: bytes = b"") -> int:
        """jmp rel8."""
        return self._relative(prefix + b"\xeb", name, 1)

    def jmp_slot(self, name: str, prefix: bytes = b"") -> int:
        """jmp *slot(%rip)."""
        return self._relative(prefix + b"\xff\x25", name)

    def jmp_register(self, register: str) -> int:
        """jmp *%register (one of the first eight)."""
        return self.raw(bytes((0xFF, 0xE0 | REGISTERS.index(register))))

    def jcc(self, condition: str, name: str) -> int:
        """A conditional jump with a 32 bit distance."""
        return self._relative(bytes((0x0F, 0x80 | CONDITIONS.index(condition))), name)

    def jcc8(self, condition: str, name: str) -> int:
        """A conditional jump with an 8 bit distance."""
        return self._relative(bytes((0x70 | CONDITIONS.index(condition),)), name, 1)

    def mov_imm(self, register: str, number: int) -> int:
        """mov $number, %e.. (clears the upper half)."""
        n = REGISTERS.index(register)
        return self.raw((b"\x41" if n > 7 else b"") + bytes((0xB8 | n & 7,)) + struct.pack("<I", number))

    def mov_imm64(self, register: str, number: int) -> int:
        """movabs $number, %r.."""
        n = REGISTERS.index(register)
        return self.raw(bytes((0x48 | n >> 3, 0xB8 | n & 7)) + struct.pack("<Q", number))

    def _registers(self, opcode: int, to: str, source: str, wide: bool) -> int:
        n, m = REGISTERS.index(to), REGISTERS.index(source)
        rex = (0x48 if wide else 0x40) | (m >> 3) << 2 | n >> 3
        return self.raw((bytes((rex,)) if rex != 0x40 else b"") + bytes((opcode, 0xC0 | (m & 7) << 3 | n & 7)))

    def mov(self, to: str, source: str, wide: bool = True) -> int:
        """mov between registers, of 64 or 32 bits."""
        return self._registers(0x89, to, source, wide)

    def xor(self, register: str) -> int:
        """xor of a 32 bit register with itself."""
        return self._registers(0x31, register, register, False)

    def test(self, register: str) -> int:
        """test of a 64 bit register with itself."""
        return self._registers(0x85, register, register, True)

    def cmp(self, one: str, other: str) -> int:
        """cmp of two 64 bit registers."""
        return self._registers(0x39, one, other, True)

    def lea(self, register: str, name: str, addend: int = 0) -> int:
        """lea label+addend(%rip), %register."""
        n = REGISTERS.index(register)
        return self._relative(bytes((0x48 | n >> 3 << 2, 0x8D, 0x05 | (n & 7) << 3)), name, 4, addend)

    def lea_base(self, register: str, base: str, displacement: int) -> int:
        """lea displacement(%base), %register; the base is one of the first eight, and not rsp."""
        n, m = REGISTERS.index(register), REGISTERS.index(base)
        code = bytes((0x48 | n >> 3 << 2, 0x8D, 0x80 | (n & 7) << 3 | m))
        return self.raw(code + struct.pack("<i", displacement))

    def add_memory(self, name: str, addend: int = 0) -> int:
        """add %rax, label+addend(%rip)."""
        return self._relative(b"\x48\x01\x05", name, 4, addend)

    def load(self, name: str) -> int:
        """mov label(%rip), %eax."""
        return self._relative(b"\x8b\x05", name)

    def load_stack(self) -> int:
        """mov 8(%rsp), %rax."""
        return self.raw("488b442408")

    def load_stack_top(self) -> int:
        """mov (%rsp), %rsi: an argument whose value the code does not tell."""
        return self.raw("488b3424")

    def push(self, register: str) -> int:
        """push of a 64 bit register."""
        n = REGISTERS.index(register)
        return self.raw((b"\x41" if n > 7 else b"") + bytes((0x50 | n & 7,)))

    def pop(self, register: str) -> int:
        """pop of a 64 bit register."""
        n = REGISTERS.index(register)
        return self.raw((b"\x41" if n > 7 else b"") + bytes((0x58 | n & 7,)))

    def nop(self, size: int = 1) -> int:
        """A nop of up to nine bytes."""
        return self.raw(NOPS[size])

    def endbr64(self) -> int:
        """The landing pad of indirect calls."""
        return self.raw("f30f1efa")

    def sub_rsp(self, size: int) -> int:
        """sub $size, %rsp."""
        return self.raw(b"\x48\x83\xec" + bytes((size,)))

    def add_rsp(self, size: int) -> int:
        """add $size, %rsp."""
        return self.raw(b"\x48\x83\xc4" + bytes((size,)))

    def ret(self) -> int:
        """ret."""
        return self.raw("c3")
