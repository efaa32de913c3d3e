"""Small programs for the tests of decoding: an Assembler's code as a Code, and a deadline for what might not end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from types import FrameType

from colotrace.binary.code import Code
from colotrace.binary.functions import FunctionBounds
from colotrace.binary.image import Image
from colotrace.binary.relocations import Relocations
from colotrace.binary.symbols import Symbols

from .asm import Assembler
from .elfwriter import ElfWriter, Symbol, file_of

TEXT = 0x41000


@contextlib.contextmanager
def image_of(data: bytes) -> Iterator[Image]:
    """An open Image of a file of these bytes."""
    with file_of(data) as path, Image(path) as image:
        yield image


@contextlib.contextmanager
def code_of_file(data: bytes) -> Iterator[Code]:
    """A Code of a file of these bytes."""
    with image_of(data) as image:
        yield Code(image, Symbols(image), FunctionBounds(image), Relocations(image))


@contextlib.contextmanager
def code_of(asm: Assembler, named: Iterable[str] = (), elf: ElfWriter | None = None) -> Iterator[Code]:
    """A Code of assembled code; the labels in `named` are exported functions."""
    elf = elf or ElfWriter()
    elf.text(asm.base, asm.assemble())
    elf.dynsym += [Symbol(name, asm.labels[name]) for name in named]
    with code_of_file(elf.build()) as code:
        yield code


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Fails what takes longer."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
