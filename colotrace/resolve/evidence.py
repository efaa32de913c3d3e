"""What the code of a function shows of it: the texts it uses, what it calls, the data it reads and writes.

A function here is what belongs to it by the unwinder's index: a jump to where another function begins is a call of that
one, but a branch there leads to a cold piece of the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import capstone
from capstone import x86_const

from colotrace.binary.code import Code, Function, Instruction, Kind
from colotrace.resolve.values import register_before

_ASSERTIONS = ("__assert_fail", "g_assertion_message_expr")
"""Both take the name of the function that the assertion stands in as their fourth argument."""
_EXCHANGES = (x86_const.X86_INS_CMPXCHG, x86_const.X86_INS_XCHG, x86_const.X86_INS_XADD)
"""They read and write, whatever a disassembler says of their operands."""
_MOST_CALLEES = 64
_NEAR = 8


class FunctionCode(Code):
    """Code in which a function ends where it jumps to the beginning of another one, named or not."""

    def _successors(self, instruction: Instruction, function: Function) -> tuple[int, ...]:
        target = instruction.target
        if instruction.kind is Kind.JUMP and target not in (None, function.entry) and self.bounds.is_start(target or 0):
            return ()
        return super()._successors(instruction, function)


class Body:
    """One function of a binary without names."""

    def __init__(self, code: FunctionCode, entry: int) -> None:
        self._code, self.entry = code, entry
        self.graph = code.function(entry)
        self.instructions = self.graph.instructions

    @functools.cached_property
    def tail_calls(self) -> list[int]:
        """The functions of the binary that it ends in by a jump."""
        leaving = (
            i for i in self.instructions.values() if i.kind is Kind.JUMP and not self.graph.successors[i.address]
        )
        return list(dict.fromkeys(i.target for i in leaving if i.target is not None and not i.names))

    @functools.cached_property
    def ends(self) -> frozenset[int]:
        """Where its instructions end."""
        return frozenset(instruction.end for instruction in self.instructions.values())

    @functools.cached_property
    def calls(self) -> list[Instruction]:
        """Its calls, by address; tail calls are not among them."""
        found = (i for i in self.instructions.values() if i.kind is Kind.CALL)
        return sorted(found, key=lambda call: call.address)

    @functools.cached_property
    def callees(self) -> list[int]:
        """The functions of the binary that it calls or ends in, each once."""
        targets = [call.target for call in self.calls if call.target is not None and not call.names]
        return list(dict.fromkeys([*targets, *self.tail_calls]))[:_MOST_CALLEES]

    @functools.cached_property
    def imports(self) -> frozenset[str]:
        """The names of the imported functions that it calls."""
        return frozenset(name for call in self.calls for name in call.names)

    @functools.cached_property
    def own_names(self) -> frozenset[str]:
        """The names of functions that its assertions say they stand in: its own, and those inlined into it."""
        found = set()
        for call in self.calls:
            if set(_ASSERTIONS).intersection(call.names):
                value = register_before(self._code, self.graph, call.address, "rcx")
                text = self._code.image.read_string(value.offset) if value and value.base is None else None
                found.add(text or "")
        return frozenset(found)

    @functools.cached_property
    def _operands(self) -> tuple[frozenset[str], frozenset[int], frozenset[int], frozenset[int], frozenset[int]]:
        texts, reads, writes, immediates, slots = set(), set(), set(), set(), set()
        for instruction in self.instructions.values():
            raw = self._code.raw(instruction.address)
            for operand in raw.operands if raw is not None else ():
                if operand.type == x86_const.X86_OP_IMM:
                    immediates.add(operand.imm)
                    texts.add(self._code.image.read_string(operand.imm))
                elif operand.type == x86_const.X86_OP_MEM and raw is not None:
                    if operand.mem.base != x86_const.X86_REG_RIP:
                        if instruction.kind is Kind.CALL and operand.mem.index == 0:
                            slots.add(operand.mem.disp)
                    elif raw.id == x86_const.X86_INS_LEA:
                        texts.add(self._code.image.read_string(instruction.end + operand.mem.disp))
                    else:
                        address = instruction.end + operand.mem.disp
                        exchanges = raw.id in _EXCHANGES
                        if exchanges or operand.access & capstone.CS_AC_READ:
                            reads.add(address)
                        if exchanges or operand.access & capstone.CS_AC_WRITE:
                            writes.add(address)
                elif operand.type == x86_const.X86_OP_REG and instruction.kind is Kind.CALL and raw is not None:
                    slots.add(self._loaded_from(instruction.address, operand.reg))
        return (frozenset(t for t in texts if t), frozenset(reads), frozenset(writes), frozenset(immediates),
                frozenset(slot for slot in slots if slot is not None))  # fmt: skip

    def _loaded_from(self, address: int, register: int) -> int | None:
        """The offset from another register at which `register` was loaded before a call; None if that is not clear."""
        for _ in range(_NEAR):
            before = self.graph.predecessors.get(address, [])
            raw = self._code.raw(before[0]) if len(before) == 1 else None
            if raw is None:
                return None
            if register in raw.regs_access()[1]:
                source = raw.operands[1] if raw.id == x86_const.X86_INS_MOV else None
                if source is None or source.type != x86_const.X86_OP_MEM or source.mem.index != 0:
                    return None
                return None if source.mem.base == x86_const.X86_REG_RIP else int(source.mem.disp)
            address = before[0]
        return None

    @property
    def texts(self) -> frozenset[str]:
        """The texts whose addresses it takes."""
        return self._operands[0]

    @property
    def reads(self) -> frozenset[int]:
        """The addresses of the global data that it reads by name, so to speak: rip-relative."""
        return self._operands[1]

    @property
    def writes(self) -> frozenset[int]:
        """The addresses of the global data that it writes."""
        return self._operands[2]

    @property
    def immediates(self) -> frozenset[int]:
        """The constants in its instructions."""
        return self._operands[3]

    @property
    def indirect_at(self) -> frozenset[int]:
        """The offsets from a register at which it finds the functions that it calls by pointer."""
        return self._operands[4]


class Bodies:
    """The functions of a binary, each looked at once."""

    def __init__(self, code: FunctionCode) -> None:
        self._code = code
        self._known: dict[int, Body] = {}

    def at(self, entry: int) -> Body:
        """The function that begins at an address."""
        if entry not in self._known:
            self._known[entry] = Body(self._code, entry)
        return self._known[entry]

    def below(self, body: Body) -> Iterable[Body]:
        """The functions that one calls."""
        return (self.at(callee) for callee in body.callees)
