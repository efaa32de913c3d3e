"""Instructions, and a function as the graph of its instructions, found by following control flow from its start.

Following control flow is what makes every address in the graph the first byte of an instruction that really runs.
capstone decodes; what is special to a processor is asked of its colotrace.binary.isa.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import capstone

from colotrace.binary.functions import FunctionBounds
from colotrace.binary.image import Image
from colotrace.binary.isa import Kind as Kind
from colotrace.binary.machines import ISAS
from colotrace.binary.relocations import Relocations
from colotrace.binary.symbols import Symbols

_LONGEST_STUB = 32
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


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction. `target` is where a direct call or jump goes, `slot` the address whose contents an
    indirect one takes; `names` are the function names known for where a call or jump leads. `emulated` tells whether
    the kernel emulates it under a uprobe, rather than single-stepping a copy."""

    address: int
    data: bytes
    text: str
    kind: Kind
    target: int | None = None
    slot: int | None = None
    names: tuple[str, ...] = ()
    emulated: bool = False

    @property
    def end(self) -> int:
        """The address of the instruction that follows it."""
        return self.address + len(self.data)


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
        self.isa = ISAS[image.machine]()
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
        return self.isa.decode(self.image.read(address, self.isa.longest), address)

    def pointer_in_got(self, address: int) -> int | None:
        """What the GOT's slot at an address holds from start to end, less the load bias; None if it is no such slot."""
        got = self.image.section(".got")
        if got is None or not got.address <= address < got.address + got.size:
            return None
        return self._relocations.pointer_at(address)

    def _explore(self, entry: int) -> Function:
        function = Function(entry)
        todo = [entry]
        while todo and len(function.instructions) < _MOST_INSTRUCTIONS:
            address = todo.pop()
            if address in function.instructions:
                continue
            aligned = address % self.isa.alignment == 0
            instruction = self._decode(address) if aligned and self.image.is_code(address) else None
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
        kind = self.isa.kind(raw)
        target = slot = None
        names: tuple[str, ...] = ()
        if kind in (Kind.CALL, Kind.JUMP, Kind.BRANCH):
            target, slot = self.isa.destination(raw)
            if target is not None:
                names = self.names_of(target) if kind is Kind.CALL else ()
                if kind is Kind.JUMP:  # into a named piece of the same function (foo.cold) is no tail call
                    names = tuple(name for name in self.names_of(target) if ".cold" not in name)
            elif slot is not None:
                name = self._relocations.slot_name(slot)
                names = (name,) if name else ()
        data, text = bytes(raw.bytes), f"{raw.mnemonic} {raw.op_str}".strip()
        return Instruction(address, data, text, kind, target, slot, names, self.isa.is_emulated(data))

    def _behind_stub(self, address: int) -> tuple[str, ...]:
        """The name that a PLT stub at `address` leads to."""
        slot = self.isa.stub_slot(self.image.read(address, _LONGEST_STUB), address)
        name = self._relocations.slot_name(slot) if slot is not None else None
        return (name,) if name else ()
