"""Instructions, and a function as the graph of its instructions, found by following control flow from its start.

Following control flow is what makes every address in the graph the first byte of an instruction that really runs.
capstone decodes; the rules for which instructions the kernel emulates are the kernel's
(arch/x86/kernel/uprobes.c, branch_setup_xol_ops() and push_setup_xol_ops(), 3.16 to 6.18).
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field

import capstone
from capstone import x86_const

from colotrace.binary.functions import FunctionBounds
from colotrace.binary.image import Image
from colotrace.binary.relocations import Relocations
from colotrace.binary.symbols import Symbols

_LONGEST = 15
_MOST_INSTRUCTIONS = 20_000
"""QEMU's COLO functions have about 600; a bound for hostile files."""

_NEVER_RETURN = frozenset(
    [
        "abort",
        "exit",
        "_exit",
        "__stack_chk_fail",
        "__assert_fail",
        "g_assertion_message",
        "g_assertion_message_expr",
        "g_assertion_message_cmpnum",
        "g_abort",
        "error_exit",
    ]
)

_LOOPS = frozenset((x86_const.X86_INS_LOOP, x86_const.X86_INS_LOOPE, x86_const.X86_INS_LOOPNE))
"""Conditional jumps that capstone does not group with the others."""
_STOPS = frozenset(
    (x86_const.X86_INS_UD0, x86_const.X86_INS_UD1, x86_const.X86_INS_UD2, x86_const.X86_INS_HLT, x86_const.X86_INS_INT3)
)


class Kind(enum.Enum):
    """What an instruction does to control flow."""

    CALL = "call"
    JUMP = "jump"
    BRANCH = "branch"
    """A conditional jump."""
    RETURN = "return"
    STOP = "stop"
    """ud0, ud1, ud2, hlt, int3."""
    PLAIN = "plain"


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction. `target` is where a direct call or jump goes, `slot` the address whose contents an
    indirect one takes; `names` are the function names known for where a call or jump leads."""

    address: int
    data: bytes
    text: str
    kind: Kind
    target: int | None = None
    slot: int | None = None
    names: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The address of the instruction that follows it."""
        return self.address + len(self.data)

    @property
    def emulated(self) -> bool:
        """Whether the kernel emulates it under a uprobe, rather than single-stepping a copy."""
        return is_emulated(self.data)


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


@dataclass
class Function:
    """The instructions reached from `entry`, and the edges between them.

    `indirect` lists jumps whose destinations are not known: where there are any, the graph may lack paths.
    `undecoded` lists addresses that control flow reaches and that do not decode.
    """

    entry: int
    instructions: dict[int, Instruction] = field(default_factory=dict)
    successors: dict[int, tuple[int, ...]] = field(default_factory=dict)
    predecessors: dict[int, list[int]] = field(default_factory=dict)
    indirect: list[int] = field(default_factory=list)
    undecoded: list[int] = field(default_factory=list)

    @functools.cached_property
    def calls(self) -> list[Instruction]:
        """Its calls, and its jumps into other named functions, by address."""
        return sorted(
            (i for i in self.instructions.values() if i.kind is Kind.CALL or (i.kind is Kind.JUMP and i.names)),
            key=lambda i: i.address,
        )


class Code:
    """Decodes the code of an image, with the names that its symbols and relocations give."""

    def __init__(self, image: Image, symbols: Symbols, bounds: FunctionBounds, relocations: Relocations) -> None:
        self.image = image
        self.symbols = symbols
        self.bounds = bounds
        self._relocations = relocations
        self._decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._decoder.detail = True
        self._functions: dict[int, Function] = {}
        self._names: dict[int, tuple[str, ...]] = {}

    def function(self, entry: int) -> Function:
        """The graph of the function that begins at `entry`; decoded once."""
        if entry not in self._functions:
            self._functions[entry] = self._explore(entry)
        return self._functions[entry]

    def names_of(self, address: int) -> tuple[str, ...]:
        """The names of the function at an address, through a PLT stub if there is one."""
        if address not in self._names:
            self._names[address] = tuple(self.symbols.names_at(address)) or self._behind_stub(address)
        return self._names[address]

    def is_function_start(self, address: int) -> bool:
        """Whether the unwinder's index has a function begin there; without an index nothing speaks against it."""
        return not len(self.bounds) or self.bounds.is_start(address)

    def raw(self, address: int) -> capstone.CsInsn | None:
        """capstone's own view of the instruction at an address, with operands and registers."""
        return next(self._decoder.disasm(self.image.read(address, _LONGEST), address, 1), None)

    def data_address(self, instruction: Instruction) -> int | None:
        """The address of the rip-relative memory operand of an instruction, if it has one."""
        raw = self.raw(instruction.address)
        for operand in raw.operands if raw is not None else ():
            if operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
                return int(instruction.end + operand.mem.disp)
        return None

    def _explore(self, entry: int) -> Function:
        function = Function(entry)
        todo = [entry]
        while todo and len(function.instructions) < _MOST_INSTRUCTIONS:
            address = todo.pop()
            if address in function.instructions:
                continue
            instruction = self._decode(address) if self.image.is_code(address) else None
            if instruction is None:
                function.undecoded.append(address)
                continue
            function.instructions[address] = instruction
            function.successors[address] = self._successors(instruction, function)
            todo.extend(function.successors[address])
        if todo:
            function.undecoded.extend(todo)
        for address, successors in function.successors.items():
            for successor in successors:
                function.predecessors.setdefault(successor, []).append(address)
        return function

    def _successors(self, instruction: Instruction, function: Function) -> tuple[int, ...]:
        kind = instruction.kind
        if kind in (Kind.RETURN, Kind.STOP):
            return ()
        if kind is Kind.CALL:
            return () if _NEVER_RETURN.intersection(instruction.names) else (instruction.end,)
        if kind is Kind.BRANCH:
            return (instruction.end,) if instruction.target is None else (instruction.end, instruction.target)
        if kind is Kind.JUMP:
            if instruction.names and instruction.target != function.entry:
                return ()  # a tail call of a named function
            if instruction.target is None:
                function.indirect.append(instruction.address)
                return ()
            return (instruction.target,)
        return (instruction.end,)

    def _decode(self, address: int) -> Instruction | None:
        raw = self.raw(address)
        if raw is None:
            return None
        kind = _kind(raw)
        target = slot = None
        names: tuple[str, ...] = ()
        if kind in (Kind.CALL, Kind.JUMP, Kind.BRANCH) and raw.operands:
            operand = raw.operands[0]
            if operand.type == x86_const.X86_OP_IMM:
                target = operand.imm
                names = self.names_of(target) if kind is Kind.CALL else ()
                if kind is Kind.JUMP:  # into a named piece of the same function (foo.cold) is no tail call
                    names = tuple(name for name in self.names_of(target) if ".cold" not in name)
            elif operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
                slot = raw.address + raw.size + operand.mem.disp
                name = self._relocations.slot_name(slot)
                names = (name,) if name else ()
        text = f"{raw.mnemonic} {raw.op_str}".strip()
        return Instruction(address, bytes(raw.bytes), text, kind, target, slot, names)

    def _behind_stub(self, address: int) -> tuple[str, ...]:
        """The name that a PLT stub at `address` leads to: [endbr64] [bnd] jmp *slot(%rip)."""
        for _ in range(2):
            raw = self.raw(address)
            if raw is None:
                return ()
            if raw.id == x86_const.X86_INS_JMP and raw.operands[0].type == x86_const.X86_OP_MEM:
                memory = raw.operands[0].mem
                if memory.base != x86_const.X86_REG_RIP:
                    return ()
                name = self._relocations.slot_name(raw.address + raw.size + memory.disp)
                return (name,) if name else ()
            if raw.id != x86_const.X86_INS_ENDBR64:
                return ()
            address += raw.size
        return ()


def _kind(raw: capstone.CsInsn) -> Kind:
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
