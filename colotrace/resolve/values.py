"""What a register holds before an instruction, where the code says so.

Answers are constants, arguments passed through, results of calls, and contents of global variables. Values are
followed backwards through moves between registers and through the frame's own slots (where unoptimised code keeps its
variables), on every way to the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import capstone
from capstone import x86_const

from colotrace.binary.code import Code, Function, Kind
from colotrace.resolve.spine import Spine

_DEEPEST = 120
"""How many instructions that matter, or places where ways meet, an answer may depend on: each costs some calls."""
_LONGEST = 2000
"""How many instructions in straight line may leave a place alone."""

_FAMILIES = {
    "rax": "eax ax al ah", "rbx": "ebx bx bl bh", "rcx": "ecx cx cl ch", "rdx": "edx dx dl dh",
    "rsi": "esi si sil", "rdi": "edi di dil", "rbp": "ebp bp bpl", "rsp": "esp sp spl",
    **{f"r{n}": f"r{n}d r{n}w r{n}b" for n in range(8, 16)},
}  # fmt: skip
_FAMILY = {name: whole for whole, parts in _FAMILIES.items() for name in (whole, *parts.split())}
_CALL_CLOBBERS = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
_FRAME = ("rbp", "rsp")
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""The integer argument registers of the System V ABI, in order."""
_MOVES = (x86_const.X86_INS_MOV, x86_const.X86_INS_MOVABS)


@dataclass(frozen=True)
class Value:
    """`offset` alone (`base` None: a number, or an address), or added to what `base` names.

    A base is an argument register ("rsi"), the result of the call at an address ("result 0x1234"), or the contents of
    the variable at an address ("contents 0x1234").
    """

    offset: int
    base: str | None = None


@dataclass(frozen=True)
class _Slot:
    """A place in the frame: `displacement` from a register that the function does not change meanwhile."""

    register: str
    displacement: int


_Place = str | _Slot


def result_of(call: int) -> Value:
    """The value that the call at an address returns."""
    return Value(0, f"result {call:#x}")


def contents_of(address: int) -> Value:
    """The value of the variable at an address."""
    return Value(0, f"contents {address:#x}")


def register_before(code: Code, function: Function, address: int, register: str, size: int = 8) -> Value | None:
    """What the lower `size` (4 or 8) bytes of `register` (a 64-bit name) hold just before the instruction at `address`.

    Follows every way to the instruction, and answers only if all agree; None if the code leaves it open, or if a loop
    is on the way.
    """
    return Values(code, function).before(address, register, size)


class Values:
    """Answers questions about one function; what one question has found out serves the next.

    A walk backwards is bounded in depth. An answer that was open only because of where the question began stays open.
    """

    def __init__(self, code: Code, function: Function) -> None:
        self._code, self._function = code, function
        self._spine = function if isinstance(function, Spine) else None
        self._walking: set[tuple[int, _Place]] = set()
        self._known: dict[tuple[int, _Place, int], Value | None] = {}
        self._taken: list[_Slot] | None = None

    def before(self, address: int, place: _Place, size: int = 8) -> Value | None:
        """What a place holds just before the instruction at an address; see register_before()."""
        if (address, place, size) in self._known:
            return self._known[address, place, size]
        asked, address = address, self._back(address, place)
        key = (address, place)
        if key in self._walking or len(self._walking) > _DEEPEST:
            return None
        self._walking.add(key)
        answers = {self._after(source, address, place, size) for source in self._sources(address)}
        if address == self._function.entry:
            answers.add(Value(0, place) if place in ARGUMENTS and isinstance(place, str) else None)
        self._walking.discard(key)
        answer = answers.pop() if len(answers) == 1 else None
        self._known[asked, place, size] = answer
        return answer

    def _back(self, address: int, place: _Place) -> int:
        """From where on nothing changes a place, in straight line up to an address."""
        for _ in range(_LONGEST):
            sources = self._function.predecessors.get(address, [])
            joined = self._spine is not None and address in self._spine.returns
            if len(sources) != 1 or address == self._function.entry or joined or not self._leaves(sources[0], place):
                break
            address = sources[0]
        return address

    def _leaves(self, address: int, place: _Place) -> bool:
        """Whether the instruction at an address certainly leaves a place alone."""
        raw = self._code.raw(address) if self._function.instructions[address].kind is not Kind.CALL else None
        if raw is None:
            return False
        if isinstance(place, _Slot) and any(
            operand.type == x86_const.X86_OP_MEM and operand.access & capstone.CS_AC_WRITE for operand in raw.operands
        ):
            return False
        written = {_FAMILY.get(raw.reg_name(reg), "") for reg in raw.regs_access()[1]}
        return (place.register if isinstance(place, _Slot) else place) not in written

    def operand(self, address: int, operand: capstone.x86.X86Op, size: int) -> Value | None:
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

    def _sources(self, address: int) -> list[int]:
        """The instructions before one; a call stands for the helper that is entered by it and comes back here."""
        sources = self._function.predecessors.get(address, [])
        if self._spine is None or address not in self._spine.returns:
            return sources
        call, ends = self._spine.returns[address]
        return [*(source for source in sources if source not in ends), call]

    def _after(self, address: int, following: int, place: _Place, size: int) -> Value | None:
        """What a place holds after the instruction at `address`, when `following` comes next."""
        if self._function.instructions[address].kind is Kind.CALL:
            if self._spine is not None and self._spine.entered.get(address) == following:
                return self.before(address, place, size) if isinstance(place, str) else None  # into a helper
            if place == "rax":
                return result_of(address)
            if isinstance(place, _Slot):
                return None if self._escapes(place) else self.before(address, place, size)
            return None if place in _CALL_CLOBBERS else self.before(address, place, size)
        raw = self._code.raw(address)
        if raw is None:
            return None
        written = {_FAMILY.get(raw.reg_name(reg), "") for reg in raw.regs_access()[1]}
        if isinstance(place, _Slot):
            if place.register in written:
                return None
            return self._stored(raw, place, size)
        return self._written(raw, place, size) if place in written else self.before(address, place, size)

    def _stored(self, raw: capstone.CsInsn, slot: _Slot, size: int) -> Value | None:
        """What a slot holds after an instruction that leaves its base register alone."""
        for operand in raw.operands:
            if operand.type != x86_const.X86_OP_MEM or not operand.access & capstone.CS_AC_WRITE:
                continue
            other = self._slot(raw, operand)
            if other is None:
                if operand.mem.base and raw.reg_name(operand.mem.base) in _FRAME and operand.mem.index:
                    return None  # somewhere in the frame
                if self._escapes(slot):
                    return None
                continue
            if other.register != slot.register:
                return None
            if other == slot:
                if raw.id not in _MOVES or operand.size < size:
                    return None
                return self.operand(raw.address, raw.operands[1], size)
            if other.displacement < slot.displacement + size and slot.displacement < other.displacement + operand.size:
                return None
        return self.before(raw.address, slot, size)

    def _slot(self, raw: capstone.CsInsn, operand: capstone.x86.X86Op) -> _Slot | None:
        memory = operand.mem
        if memory.index or memory.segment or not memory.base or raw.reg_name(memory.base) not in _FRAME:
            return None
        return _Slot(raw.reg_name(memory.base), memory.disp)

    def _escapes(self, slot: _Slot) -> bool:
        """Whether the function takes the address of a slot, so that others may write to it."""
        if self._taken is None:
            taken = []
            for instruction in self._function.instructions.values():
                if instruction.text.startswith("lea "):
                    raw = self._code.raw(instruction.address)
                    taken.append(self._slot(raw, raw.operands[1]) if raw is not None else None)
            self._taken = [one for one in taken if one is not None]
        return any(
            one.register == slot.register and -8 < slot.displacement - one.displacement < 8 for one in self._taken
        )

    def _written(self, raw: capstone.CsInsn, register: str, size: int) -> Value | None:
        operands = raw.operands
        if len(operands) != 2 or operands[0].type != x86_const.X86_OP_REG or operands[0].size < 4:
            return None
        if _FAMILY.get(raw.reg_name(operands[0].reg)) != register:
            return None
        source = operands[1]
        if raw.id in _MOVES:
            if source.type == x86_const.X86_OP_IMM:
                return Value(source.imm & ((1 << 64) - 1))
            value = self.operand(raw.address, source, min(size, operands[0].size))
            if operands[0].size < size:  # the upper half becomes zero
                return Value(value.offset & 0xFFFFFFFF) if value is not None and value.base is None else None
            return value
        if raw.id == x86_const.X86_INS_ADD and source.type == x86_const.X86_OP_IMM and operands[0].size == size == 8:
            old = self.before(raw.address, register, size)
            return Value((old.offset + source.imm) & ((1 << 64) - 1), old.base) if old else None
        if raw.id == x86_const.X86_INS_MOVSXD and size == 4:
            return self.operand(raw.address, source, 4)
        if raw.id == x86_const.X86_INS_XOR and source.type == x86_const.X86_OP_REG and source.reg == operands[0].reg:
            return Value(0)
        if raw.id == x86_const.X86_INS_LEA and source.mem.index == 0:
            if source.mem.base == x86_const.X86_REG_RIP:
                return Value(raw.address + raw.size + source.mem.disp)
            whole = _FAMILY.get(raw.reg_name(source.mem.base)) if source.mem.base else None
            base = self.before(raw.address, whole, size) if whole else None
            return Value(base.offset + source.mem.disp, base.base) if base else None
        return None
