"""What the decoder must know of a processor: how its instructions, its calls and its dynamic linking look."""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import capstone


class Kind(enum.Enum):
    """What an instruction does to control flow."""

    CALL = "call"
    JUMP = "jump"
    BRANCH = "branch"
    """A conditional jump."""
    RETURN = "return"
    STOP = "stop"
    """ud0, ud1, ud2, hlt, int3; udf, brk, hlt, eret."""
    PLAIN = "plain"


class Destination(NamedTuple):
    """Where a call or jump leads: to `target`, or to where the contents of `slot` point; neither if it does not say."""

    target: int | None = None
    slot: int | None = None


class Isa(abc.ABC):
    """One instruction set, with a decoder of its own."""

    arguments: ClassVar[tuple[str, ...]]
    """The integer argument registers of its ABI, in order."""
    glob_dat: ClassVar[int]
    jump_slot: ClassVar[int]
    relative: ClassVar[int]
    """The types of the relocations that fill the GOT and pointers in data."""
    alignment: ClassVar[int]
    """Instructions begin at multiples of it."""
    longest: ClassVar[int]
    """The bytes of the longest instruction."""

    def __init__(self) -> None:
        self._decoder = self._make_decoder()
        self._decoder.detail = True

    def decode(self, data: bytes, address: int) -> capstone.CsInsn | None:
        """capstone's view of the instruction that `data` begins with; None if it is none."""
        return next(self._decoder.disasm(data[: self.longest], address, 1), None)

    @abc.abstractmethod
    def _make_decoder(self) -> capstone.Cs: ...

    @abc.abstractmethod
    def kind(self, raw: capstone.CsInsn) -> Kind:
        """What an instruction does to control flow."""

    @abc.abstractmethod
    def is_emulated(self, data: bytes) -> bool:
        """Whether the kernel emulates the instruction under a uprobe, rather than single-stepping a copy."""

    @abc.abstractmethod
    def destination(self, raw: capstone.CsInsn) -> Destination:
        """Where a call, jump or branch leads, as far as the instruction itself says."""

    @abc.abstractmethod
    def stub_slot(self, code: bytes, address: int) -> int | None:
        """The GOT slot through which a PLT stub jumps, if `code`, which stands at `address`, begins with one."""

    @abc.abstractmethod
    def calls_in(self, code: bytes, address: int) -> Iterator[int]:
        """The destinations of all that looks like a direct call in `code`, which begins at `address`."""
