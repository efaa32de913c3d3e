"""Following values backwards through a function: what is the same on every processor.

Answers are constants, arguments passed through, results of calls, and contents of global variables. Values are
followed backwards through moves between registers and through the frame's own slots (where unoptimised code keeps its
variables), on every way to the instruction. What an instruction does is told by values_x86 and values_aarch64.
"""

from __future__ import annotations

import abc
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

import capstone

from colotrace.binary.code import Code, Function, Instruction, Kind
from colotrace.resolve.spine import Spine

_DEEPEST = 120
"""How many instructions that matter, or places where ways meet, an answer may depend on: each costs some calls."""
_LONGEST = 2000
"""How many instructions in straight line may leave a place alone."""
_NEAR = 12
"""How many instructions may stand between a comparison and the branch that it serves."""


@dataclass(frozen=True)
class Value:
    """`offset` alone (`base` None: a number, or an address), or added to what `base` names.

    A base is an argument register ("rsi", "x1"), the result of the call at an address ("result 0x1234"), or the
    contents of the variable at an address ("contents 0x1234").
    """

    offset: int
    base: str | None = None


@dataclass(frozen=True)
class Slot:
    """A place in the frame: `displacement` from a register that the function does not change meanwhile."""

    register: str
    displacement: int


Place = str | Slot
"""A 64-bit register by name, or a slot."""
Compared = tuple[Value | None, Value | None]


def result_of(call: int) -> Value:
    """The value that the call at an address returns."""
    return Value(0, f"result {call:#x}")


def contents_of(address: int) -> Value:
    """The value of the variable at an address."""
    return Value(0, f"contents {address:#x}")


def overlap(slot: Slot, size: int, other: Slot, width: int) -> bool:
    """Whether a write of `width` bytes to `other` may touch some of the `size` bytes of a slot."""
    if other.register != slot.register:
        return True
    return other.displacement < slot.displacement + size and slot.displacement < other.displacement + width


class Walk(abc.ABC):
    """Answers questions about one function; what one question has found out serves the next.

    A walk backwards is bounded in depth. An answer that was open only because of where the question began stays open.
    """

    result: ClassVar[str]
    """The register in which a call's result is returned."""
    clobbered: ClassVar[frozenset[str]]
    """The registers that a call may change."""
    stack_pointer: ClassVar[str | None] = None
    """The register whose value at a function's entry is what places in its frame are reckoned from; None if they go by
    themselves."""

    def __init__(self, code: Code, function: Function) -> None:
        self._code, self._function = code, function
        self._spine = function if isinstance(function, Spine) else None
        self._walking: set[tuple[int, Place]] = set()
        self._known: dict[tuple[int, Place, int], Value | None] = {}
        self._taken: list[Slot] | None = None

    def before(self, address: int, place: Place, size: int = 8) -> Value | None:
        """What the lower `size` (4 or 8) bytes of a place hold just before the instruction at an address.

        Follows every way to the instruction, and answers only if all agree; None if the code leaves it open, or if a
        loop is on the way.
        """
        if (address, place, size) in self._known:
            return self._known[address, place, size]
        asked, address = address, self._back(address, place)
        if place == self.stack_pointer and self._is_entry(address):
            return Value(0, f"{place} {address:#x}")
        key = (address, place)
        if key in self._walking or len(self._walking) > _DEEPEST:
            return None
        self._walking.add(key)
        answers = {self._after(source, address, place, size) for source in self._sources(address)}
        if address == self._function.entry:
            is_argument = isinstance(place, str) and place in self._code.isa.arguments
            answers.add(Value(0, place) if isinstance(place, str) and is_argument else None)
        self._walking.discard(key)
        answer = answers.pop() if len(answers) == 1 else None
        self._known[asked, place, size] = answer
        return answer

    @abc.abstractmethod
    def compared(self, instruction: Instruction) -> Compared | None:
        """The two 4-byte values that an instruction compares for equality; None if it does nothing of the kind."""

    @abc.abstractmethod
    def stored(self, instruction: Instruction) -> Collection[tuple[int, Value]]:
        """What an instruction writes to memory by a pointer, 8 bytes each: (offset from the pointer, value)."""

    @abc.abstractmethod
    def addresses(self) -> set[int]:
        """The addresses, and other constants, that the function's instructions have as operands."""

    @abc.abstractmethod
    def _written_by(self, raw: capstone.CsInsn) -> AbstractSet[str] | None:
        """The registers that an instruction may change, by 64-bit name; None: it may be any."""

    @abc.abstractmethod
    def _writes_memory(self, raw: capstone.CsInsn) -> bool:
        """Whether an instruction may write to memory."""

    @abc.abstractmethod
    def _set(self, raw: capstone.CsInsn, register: str, size: int) -> Value | None:
        """What a register holds after an instruction that changes it."""

    @abc.abstractmethod
    def _kept(self, raw: capstone.CsInsn, slot: Slot, size: int) -> Value | None:
        """What a slot holds after an instruction that leaves its base register alone."""

    @abc.abstractmethod
    def _slots_taken(self) -> list[Slot]:
        """The slots whose addresses the function takes."""

    @abc.abstractmethod
    def _asks_for_equality(self, following: Instruction) -> bool | None:
        """Whether an instruction behind a comparison asks for equality; None if it leaves the comparison alone."""

    def _for_equality(self, comparison: Instruction) -> bool:
        """Whether the branch that a comparison serves asks for equality, and not for an order (a bounds check)."""
        node = comparison.address
        for _ in range(_NEAR):
            successors = self._function.successors.get(node, ())
            if len(successors) != 1:
                return False
            node = successors[0]
            following = self._function.instructions.get(node)
            if following is None:  # it does not decode
                return False
            answer = self._asks_for_equality(following)
            if answer is not None:
                return answer
        return False

    def _is_entry(self, address: int) -> bool:
        """Whether a function begins at an address, this one or a helper laid out in it, and nothing jumps there."""
        sources = self._function.predecessors.get(address, [])
        if address == self._function.entry:
            return not sources
        if self._spine is None or not sources:
            return False
        return all(self._spine.entered.get(source) == address for source in sources)

    def _back(self, address: int, place: Place) -> int:
        """From where on nothing changes a place, in straight line up to an address."""
        for _ in range(_LONGEST):
            sources = self._function.predecessors.get(address, [])
            joined = self._spine is not None and address in self._spine.returns
            if len(sources) != 1 or address == self._function.entry or joined or not self._leaves(sources[0], place):
                break
            address = sources[0]
        return address

    def _leaves(self, address: int, place: Place) -> bool:
        """Whether the instruction at an address certainly leaves a place alone."""
        raw = self._code.raw(address) if self._function.instructions[address].kind is not Kind.CALL else None
        if raw is None or (isinstance(place, Slot) and self._writes_memory(raw)):
            return False
        written = self._written_by(raw)
        return written is not None and (place.register if isinstance(place, Slot) else place) not in written

    def _sources(self, address: int) -> list[int]:
        """The instructions before one; a call stands for the helper that is entered by it and comes back here."""
        sources = self._function.predecessors.get(address, [])
        if self._spine is None or address not in self._spine.returns:
            return sources
        call, ends = self._spine.returns[address]
        return [*(source for source in sources if source not in ends), call]

    def _after(self, address: int, following: int, place: Place, size: int) -> Value | None:
        """What a place holds after the instruction at `address`, when `following` comes next."""
        if self._function.instructions[address].kind is Kind.CALL:
            if self._spine is not None and self._spine.entered.get(address) == following:
                return self.before(address, place, size) if isinstance(place, str) else None  # into a helper
            if place == self.result:
                return result_of(address)
            if isinstance(place, Slot):
                return None if self._escapes(place) else self.before(address, place, size)
            return None if place in self.clobbered else self.before(address, place, size)
        raw = self._code.raw(address)
        written = self._written_by(raw) if raw is not None else None
        if raw is None or written is None:
            return None
        if isinstance(place, Slot):
            return None if place.register in written else self._kept(raw, place, size)
        return self._set(raw, place, size) if place in written else self.before(address, place, size)

    def _escapes(self, slot: Slot) -> bool:
        """Whether the function takes the address of a slot, so that others may write to it."""
        if self._taken is None:
            self._taken = self._slots_taken()
        return any(
            one.register == slot.register and -8 < slot.displacement - one.displacement < 8 for one in self._taken
        )
