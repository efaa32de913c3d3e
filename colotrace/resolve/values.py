"""What a register holds before an instruction, where the code says so; see colotrace.resolve.walk."""

from __future__ import annotations

from colotrace.binary.code import Code, Function
from colotrace.binary.isa_aarch64 import Aarch64
from colotrace.resolve.values_aarch64 import Aarch64Values
from colotrace.resolve.values_x86 import X86Values
from colotrace.resolve.walk import Value, Walk


def values_of(code: Code, function: Function) -> Walk:
    """What answers questions about a function's values."""
    return (Aarch64Values if isinstance(code.isa, Aarch64) else X86Values)(code, function)


def register_before(code: Code, function: Function, address: int, register: str, size: int = 8) -> Value | None:
    """What the lower `size` (4 or 8) bytes of `register` (a 64-bit name) hold just before the instruction at `address`.

    Follows every way to the instruction, and answers only if all agree; None if the code leaves it open, or if a loop
    is on the way.
    """
    return values_of(code, function).before(address, register, size)
