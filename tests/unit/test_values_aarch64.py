"""What a register holds, on AArch64: constants, arguments, results and slots of the frame, and where that ends.

A snippet is a list of instructions in words of GNU as, each checked against capstone's reading of it; asked is what a
register holds before the last one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from colotrace.binary.code import Code
from colotrace.binary.elf import EM_AARCH64
from colotrace.resolve.values import register_before, values_of
from colotrace.resolve.walk import Value, contents_of, result_of

from .decoding import TEXT, code_of_file
from .elfwriter import ElfWriter

WORDS = {
    "mov w1, #2": 0x52800041, "mov w1, #3": 0x52800061, "mov w1, wzr": 0x2A1F03E1, "mov w1, #-1": 0x12800001,
    "movk w1, #1, lsl #16": 0x72A00021, "mov x1, x20": 0xAA1403E1, "mov w1, w20": 0x2A1403E1,
    "mov w20, #5": 0x528000B4, "mov x20, x1": 0xAA0103F4, "mov x29, x3": 0xAA0303FD, "sxtw x1, w0": 0x93407C01,
    "add x2, x2, #0x128": 0x9104A042, "ldr x2, [x2, #0x10]": 0xF9400842, "ldr w1, [x2, #0x10]": 0xB9401041,
    "stp x29, x30, [sp, #-0x30]!": 0xA9BD7BFD, "mov x29, sp": 0x910003FD, "sub sp, sp, #0x10": 0xD10043FF,
    "str w1, [sp, #0x1c]": 0xB9001FE1, "stur w1, [x29, #0x1c]": 0xB801C3A1, "ldr w1, [sp, #0x1c]": 0xB9401FE1,
    "ldr w1, [x29, #0x1c]": 0xB9401FA1, "ldr w1, [sp, #0x2c]": 0xB9402FE1, "ldur x1, [sp, #0x1c]": 0xF841C3E1,
    "ldrb w1, [sp, #0x1c]": 0x394073E1, "ldr w1, [sp, x2]": 0xB8626BE1, "str w3, [sp, #0x1c]": 0xB9001FE3,
    "str x3, [sp, #0x18]": 0xF9000FE3, "str w3, [sp, #0x18]": 0xB9001BE3, "str w3, [x4]": 0xB9000083,
    "stp w1, w2, [sp, #0x18]": 0x29030BE1, "str q0, [sp]": 0x3D8003E0, "add x0, sp, #0x1c": 0x910073E0,
    "add x0, x29, #0x1c": 0x910073A0, "add x0, sp, #8": 0x910023E0, "nop": 0xD503201F, "ret": 0xD65F03C0,
    "mov w1, #0x55555555": 0x3200F3E1,
    "cmp w0, #1": 0x7100041F, "cmp x0, #1": 0xF100041F, "cmp w0, w1": 0x6B01001F, "subs w8, w0, #5": 0x71001408,
}  # fmt: skip
PLACED = {"adrp x2, page": 0x90000002, "bl +8": 0x94000002, "b +8": 0x14000002, "cbz w0, +8": 0x34000040,
          "cbnz w0, +8": 0x35000040, "cbnz x0, +8": 0xB5000040, "b.eq +8": 0x54000040, "b.ne +8": 0x54000041,
          "b.hi +8": 0x54000048, "b -12": 0x17FFFFFD}  # fmt: skip
"""Those whose text depends on where they stand."""
FRAME = ("stp x29, x30, [sp, #-0x30]!", "mov x29, sp")


@pytest.mark.parametrize("text", WORDS)
def test_the_table_holds_what_it_says(text: str) -> None:
    with code_of((text,)) as code:
        raw = code.raw(TEXT)
        assert raw is not None and f"{raw.mnemonic} {raw.op_str}".strip() == text


@contextlib.contextmanager
def code_of(texts: tuple[str, ...]) -> Iterator[Code]:
    """A Code of a snippet at TEXT, with some returns behind it."""
    words = [(WORDS | PLACED)[text] for text in texts] + [WORDS["ret"]] * 3
    elf = ElfWriter(machine=EM_AARCH64)
    elf.text(TEXT, b"".join(word.to_bytes(4, "little") for word in words))
    with code_of_file(elf.build()) as code:
        yield code


def value(texts: tuple[str, ...], register: str = "x1", size: int = 4) -> Value | None:
    """What a register holds behind a snippet."""
    with code_of(texts) as code:
        return register_before(code, code.function(TEXT), TEXT + 4 * len(texts), register, size)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), Value(0, "x1")),
        (("mov w1, #2",), Value(2)),
        (("mov w1, wzr",), Value(0)),
        (("mov w1, #-1",), Value(0xFFFFFFFF)),
        (("mov w1, #2", "movk w1, #1, lsl #16"), Value(0x10002)),
        (("movk w1, #1, lsl #16",), None),
        (("mov w1, #0x55555555",), Value(0x55555555)),
        (("mov w20, #5", "nop", "mov w1, w20"), Value(5)),
        (("mov x20, x1", "bl +8", "mov w1, w20"), Value(0, "x1")),
        (("mov w1, #2", "bl +8", "nop"), None),  # a call may change it
        (("bl +8", "sxtw x1, w0"), result_of(TEXT)),
        (("mov w1, #2", "cbz w0, +8", "nop"), Value(2)),
        (("mov w1, #2", "cbz w0, +8", "mov w1, #3"), None),  # two ways that do not agree
        (("mov w1, #3", "cbz w0, +8", "mov w1, #3"), Value(3)),
        ((*FRAME, "str w1, [sp, #0x1c]", "ldr w1, [sp, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "bl +8", "ldr w1, [sp, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "stur w1, [x29, #0x1c]", "mov w1, #2", "ldr w1, [sp, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "mov w1, #2", "ldr w1, [x29, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "sub sp, sp, #0x10", "ldr w1, [sp, #0x2c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "sub sp, sp, #0x10", "ldr w1, [sp, #0x1c]"), None),
        ((*FRAME, "str w1, [sp, #0x1c]", "str w3, [sp, #0x1c]", "ldr w1, [sp, #0x1c]"), Value(0, "x3")),
        ((*FRAME, "str w1, [sp, #0x1c]", "str w3, [sp, #0x18]", "ldr w1, [sp, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "str x3, [sp, #0x18]", "ldr w1, [sp, #0x1c]"), None),
        ((*FRAME, "stp w1, w2, [sp, #0x18]", "ldr w1, [sp, #0x1c]"), Value(0, "x2")),
        ((*FRAME, "str w1, [sp, #0x1c]", "str q0, [sp]", "ldr w1, [sp, #0x1c]"), None),
        ((*FRAME, "str w1, [sp, #0x1c]", "str w3, [x4]", "ldr w1, [sp, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "add x0, sp, #0x1c", "bl +8", "ldr w1, [sp, #0x1c]"), None),  # it escapes
        ((*FRAME, "str w1, [sp, #0x1c]", "add x0, x29, #0x1c", "bl +8", "ldr w1, [sp, #0x1c]"), None),
        ((*FRAME, "str w1, [sp, #0x1c]", "add x0, sp, #8", "bl +8", "ldr w1, [sp, #0x1c]"), Value(0, "x1")),
        ((*FRAME, "str w1, [sp, #0x1c]", "ldrb w1, [sp, #0x1c]"), None),
        ((*FRAME, "str w1, [sp, #0x1c]", "ldur x1, [sp, #0x1c]"), Value(0, "x1")),  # its lower half
        ((*FRAME, "str w1, [sp, #0x1c]", "ldr w1, [sp, x2]"), None),
        (("mov x29, x3", "stur w1, [x29, #0x1c]", "bl +8", "ldr w1, [x29, #0x1c]"), None),  # x29 is no frame pointer
        (("ldr w1, [x2, #0x10]",), None),
    ],
    ids=lambda x: "; ".join(x) if isinstance(x, tuple) else str(x),
)
def test_the_second_argument(texts: tuple[str, ...], expected: Value | None) -> None:
    assert value(texts) == expected


def test_eight_bytes_of_which_four_are_known() -> None:
    assert value((*FRAME, "str w1, [sp, #0x1c]", "ldur x1, [sp, #0x1c]"), size=8) is None
    assert value(("mov w1, w20",), size=8) is None
    assert value(("mov w1, #-1",), size=8) == Value(0xFFFFFFFF)


def test_a_loop_on_the_way_leaves_it_open() -> None:
    with code_of(("mov w20, #5", "nop", "nop", "cbz w0, +8", "b -12", "ret")) as code:
        assert register_before(code, code.function(TEXT), TEXT + 12, "x20", 4) is None


def test_addresses() -> None:
    assert value(("adrp x2, page", "add x2, x2, #0x128"), "x2", 8) == Value(TEXT + 0x128)
    assert value(("adrp x2, page", "ldr w1, [x2, #0x10]")) == contents_of(TEXT + 0x10)
    assert value(("add x2, x2, #0x128",), "x2", 8) == Value(0x128, "x2")
    assert value(("add x2, x2, #0x128",), "x2", 4) is None


def test_what_the_got_holds() -> None:
    elf = ElfWriter(machine=EM_AARCH64)
    words = [PLACED["adrp x2, page"], WORDS["ldr x2, [x2, #0x10]"], WORDS["ret"]]
    elf.text(TEXT, b"".join(word.to_bytes(4, "little") for word in words))
    data = elf.build()
    with code_of_file(data) as code:
        function = code.function(TEXT)
        assert register_before(code, function, TEXT + 8, "x2") == contents_of(TEXT + 0x10)
        code.pointer_in_got = {TEXT + 0x10: 0x77000}.get  # type: ignore[method-assign, assignment]
        assert register_before(code, function, TEXT + 8, "x2") == Value(0x77000)
        assert register_before(code, function, TEXT + 8, "x2", 4) == contents_of(TEXT + 0x10)


@pytest.mark.parametrize(
    ("texts", "number"),
    [
        (("cmp w0, #1", "b.eq +8"), 1),
        (("cmp w0, #1", "b.ne +8"), 1),
        (("cmp w0, #1", "mov w1, #2", "b.ne +8"), 1),
        (("subs w8, w0, #5", "b.ne +8"), 5),
        (("cbz w0, +8",), 0),
        (("cbnz w0, +8",), 0),
        (("cbnz x0, +8",), None),  # a pointer
        (("cmp x0, #1", "b.eq +8"), None),
        (("cmp w0, #1", "b.hi +8"), None),  # a bounds check
        (("cmp w0, #1", "cbnz w0, +8"), None),
        (("cmp w0, #1", "bl +8"), None),
        (("nop",), None),
    ],
    ids=str,
)
def test_comparisons(texts: tuple[str, ...], number: int | None) -> None:
    with code_of(("bl +8", *texts)) as code:
        function = code.function(TEXT)
        found = values_of(code, function).compared(function.instructions[TEXT + 4])
    assert found == ((result_of(TEXT), Value(number)) if number is not None else None)
