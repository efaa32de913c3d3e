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
def _limit(seconds: float, timer: int, number: signal.Signals, words: str) -> Iterator[None]:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(words)

    before = signal.signal(number, late)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)


def deadline(seconds: float) -> contextlib.AbstractContextManager[None]:
    """Fails what takes longer."""
    return _limit(seconds, signal.ITIMER_REAL, signal.SIGALRM, f"not done after {seconds} s")


def cpu_bound(seconds: float) -> contextlib.AbstractContextManager[None]:
    """Fails what computes longer; other load on the machine does not count."""
    return _limit(seconds, signal.ITIMER_PROF, signal.SIGPROF, f"not done after {seconds} s of computing")
