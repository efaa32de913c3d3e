"""AArch64 word by word: kinds, emulation, destinations, PLT stubs, what registers an instruction changes.

The words are GNU as's; capstone, which knows nothing of our tables, must read each as the text that stands beside it.
"""

from __future__ import annotations

import pytest

from colotrace.binary.isa import Destination, Kind
from colotrace.binary.isa_aarch64 import Aarch64
from colotrace.binary.words_aarch64 import access_of, bitmask, step_of, written_by

AT = 0x41000
CONTROL = {
    "b #0x41008": (0x14000002, Kind.JUMP, True, 0x41008),
    "b #0x40ffc": (0x17FFFFFF, Kind.JUMP, True, 0x40FFC),
    "bl #0x41008": (0x94000002, Kind.CALL, True, 0x41008),
    "br x16": (0xD61F0200, Kind.JUMP, True, None),
    "blr x8": (0xD63F0100, Kind.CALL, True, None),
    "ret": (0xD65F03C0, Kind.RETURN, True, None),
    "b.eq #0x41008": (0x54000040, Kind.BRANCH, True, 0x41008),
    "cbz w0, #0x41008": (0x34000040, Kind.BRANCH, True, 0x41008),
    "cbnz x3, #0x41008": (0xB5000043, Kind.BRANCH, True, 0x41008),
    "tbz w0, #7, #0x41008": (0x36380040, Kind.BRANCH, True, 0x41008),
    "tbnz w27, #0x1f, #0x41008": (0x37F8005B, Kind.BRANCH, True, 0x41008),
    "tbnz w27, #0x1f, #0x40ffc": (0x37FFFFFB, Kind.BRANCH, True, 0x40FFC),
    "adr x1, #0x41004": (0x10000021, Kind.PLAIN, True, None),
    "adrp x1, #0x41000": (0x90000001, Kind.PLAIN, True, None),
    "retaa": (0xD65F0BFF, Kind.RETURN, False, None),
    "braa x1, x2": (0xD71F0822, Kind.JUMP, False, None),
    "blraaz x3": (0xD63F087F, Kind.CALL, False, None),
    "ldr x0, #0x41008": (0x58000040, Kind.PLAIN, False, None),
    "nop": (0xD503201F, Kind.PLAIN, False, None),
    "bti c": (0xD503245F, Kind.PLAIN, False, None),
    "paciasp": (0xD503233F, Kind.PLAIN, False, None),
    "udf #0": (0x00000000, Kind.STOP, False, None),
    "brk #0": (0xD4200000, Kind.STOP, False, None),
    "brk #0x3e8": (0xD4207D00, Kind.STOP, False, None),
    "hlt #0": (0xD4400000, Kind.STOP, False, None),
    "eret": (0xD69F03E0, Kind.STOP, False, None),
    "svc #0": (0xD4000001, Kind.PLAIN, False, None),
    "mov w1, #2": (0x52800041, Kind.PLAIN, False, None),
    "stp x29, x30, [sp, #-0x20]!": (0xA9BE7BFD, Kind.PLAIN, False, None),
}
CHANGED = {
    "mov w1, #2": (0x52800041, "x1"),
    "movk x0, #0xd7b6, lsl #16": (0xF2BAF6C0, "x0"),
    "cmp w0, #1": (0x7100041F, ""),
    "add x29, sp, #0x20": (0x910083FD, "x29"),
    "sub sp, sp, #0x30": (0xD100C3FF, "sp"),
    "and sp, x9, #0xfffffffffffffff0": (0x927CED3F, "sp"),
    "ldr x0, [sp, #0x48]": (0xF94027E0, "x0"),
    "str x1, [sp, #8]": (0xF90007E1, ""),
    "str xzr, [sp, #0x30]": (0xF9001BFF, ""),
    "stp x29, x30, [sp, #-0x20]!": (0xA9BE7BFD, "sp"),
    "ldp x29, x30, [sp], #0x20": (0xA8C27BFD, "sp x29 x30"),
    "stp x19, x20, [sp, #0x10]": (0xA90153F3, ""),
    "ldp x19, x20, [sp, #0x10]": (0xA94153F3, "x19 x20"),
    "ldp q0, q1, [x1], #0x20": (0xACC10420, "x1"),
    "str x1, [x0], #8": (0xF8008401, "x0"),
    "ldrsw x1, [x0, #4]": (0xB9800401, "x1"),
    "nop": (0xD503201F, "x17 x30"),
    "bl #0x41008": (0x94000002, "x30"),
    "cbnz x3, #0x41008": (0xB5000043, ""),
    "mrs x3, tpidr_el0": (0xD53BD043, "x3 x17 x30"),
    "fmov w2, s0": (0x1E260002, "x2"),
}
AT_LEAST = {
    "ldr x1, [x0, x2, lsl #3]": (0xF8627801, "x1"),
    "ldadd x1, x2, [x0]": (0xF8210002, "x2"),
    "stxr w5, x1, [x0]": (0xC8057C01, "x5"),
    "casal x4, x5, [x0]": (0xC8E4FC05, "x4"),
}
"""Of classes that are not told apart: more registers are said to change than do."""


def data_of(word: int) -> bytes:
    return word.to_bytes(4, "little")


@pytest.mark.parametrize("text", [*CONTROL, *CHANGED, *AT_LEAST])
def test_the_tables_hold_what_they_say(text: str) -> None:
    word = next(table[text][0] for table in (CONTROL, CHANGED, AT_LEAST) if text in table)  # type: ignore[index]
    raw = Aarch64().decode(data_of(word), AT)
    assert raw is not None and f"{raw.mnemonic} {raw.op_str}".strip() == text


@pytest.mark.parametrize("text", CONTROL)
def test_kinds_emulation_and_destinations(text: str) -> None:
    word, kind, emulated, target = CONTROL[text]
    isa = Aarch64()
    raw = isa.decode(data_of(word), AT)
    assert raw is not None
    assert (isa.kind(raw), isa.is_emulated(data_of(word))) == (kind, emulated)
    assert isa.destination(raw) == Destination(target)


def test_consistent_branches_are_branches_that_the_kernel_does_not_know() -> None:
    """bc.eq (armv8.8): newer than this capstone; arch/arm64's mask for b.cond leaves it out."""
    assert not Aarch64().is_emulated(data_of(0x54000050))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 8])
def test_only_four_bytes_are_an_instruction(size: int) -> None:
    assert not Aarch64().is_emulated((data_of(0x94000002) * 2)[:size])


@pytest.mark.parametrize("text", CHANGED)
def test_what_an_instruction_changes(text: str) -> None:
    word, registers = CHANGED[text]
    assert written_by(word) == frozenset(registers.split())


@pytest.mark.parametrize("text", AT_LEAST)
def test_what_an_instruction_changes_at_least(text: str) -> None:
    word, registers = AT_LEAST[text]
    written = written_by(word)
    assert written is not None and written >= set(registers.split())
    assert access_of(word) is None


def test_what_is_not_known_changes_anything() -> None:
    assert written_by(0x04E0E3E0) is None  # cntd x0, of SVE
    assert written_by(0x00000000) is None


def test_loads_and_stores() -> None:
    load = access_of(0xA94153F3)
    assert load is not None
    assert (load.registers, load.base, load.displacement, load.width, load.loads) == ((19, 20), 31, 16, 8, True)
    store = access_of(0xB81F43A1)  # stur w1, [x29, #-12]
    assert store is not None
    assert (store.registers, store.base, store.displacement, store.width, store.loads) == ((1,), 29, -12, 4, False)
    sign_extending = access_of(0xB9800401)
    assert sign_extending is not None and not sign_extending.exact
    assert access_of(0xF9800020) is None  # prfm
    assert [step_of(word) for word in (0xA9BE7BFD, 0xA8C27BFD, 0xACC10420, 0xF8008401)] == [-32, 32, 32, 8]
    assert [step_of(word) for word in (0xA94153F3, 0xF94027E0, 0x52800041)] == [None] * 3


@pytest.mark.parametrize(
    ("word", "number"),
    [
        (0x3200F3E0, 0x55555555),
        (0xB200F3E0, 0x5555555555555555),
        (0x320003E0, 1),
        (0x321F03E0, 2),
        (0x320007E0, 3),
        (0x321E03E0, 4),
        (0xB2407FE0, 0xFFFFFFFF),
        (0x320083E0, 0x10001),
    ],
)
def test_bitmasks(word: int, number: int) -> None:
    assert bitmask(word) == number


BTI, ADRP, LDR, ADD, BR = 0xD503245F, 0x90000010, 0xF9400A11, 0x91004210, 0xD61F0220
"""bti c; adrp x16, page; ldr x17, [x16, #16]; add x16, x16, #16; br x17"""


@pytest.mark.parametrize("words", [(ADRP, LDR, ADD, BR), (BTI, ADRP, LDR, ADD, BR), (ADRP, LDR, ADD, BR, 0xD503201F)])
def test_stubs(words: tuple[int, ...]) -> None:
    assert Aarch64().stub_slot(b"".join(map(data_of, words)), 0x20008) == 0x20010


@pytest.mark.parametrize(
    "words",
    [
        (),
        (ADRP,),
        (ADRP, LDR, ADD),
        (0x90000011, LDR, ADD, BR),  # the page is in another register
        (ADRP, LDR, ADD, 0xD61F0200),  # and so is what it jumps to
        (ADRP, LDR, ADD, 0xD63F0220),  # it is called
        (ADRP, 0xB9400A11, ADD, BR),  # 32 bits
        (BTI, BTI, ADRP, LDR, ADD, BR),
    ],
)
def test_what_is_no_stub(words: tuple[int, ...]) -> None:
    assert Aarch64().stub_slot(b"".join(map(data_of, words)), 0x20008) is None


def test_calls_in_a_piece_of_code() -> None:
    code = b"".join(map(data_of, (0xD503201F, 0x94000002, 0x14000002, 0x97FFFFFF)))
    assert list(Aarch64().calls_in(code, AT)) == [AT + 12, AT + 8]
