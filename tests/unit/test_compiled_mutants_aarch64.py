"""AArch64 code of real compilers with one call, number or move changed: the plan stays true, or says less."""

from __future__ import annotations

import random
import re

import pytest

from colotrace.binary.image import Image
from colotrace.binary.isa_aarch64 import signed

from .compiled import ON_ARM, build, instructions, missing_tools, symbols
from .decoding import cpu_bound
from .elffuzz import SECONDS
from .test_compiled_mutants import EQUAL, NO_TARGETS, SAME, changed, judge
from .truth import plan_or_error

pytestmark = pytest.mark.skipif(bool(missing_tools(arm=True)), reason=f"not installed: {missing_tools(arm=True)}")
CHOSEN = tuple(one for one in ON_ARM if not one.shared and one.link == "pie" and one.level in ("-O0", "-O2"))
SHARE, SHARE_OF_NUMBERS, SHARE_OF_MOVES = 8, 3, 24
"""Of each build's calls every eighth is changed, and so on; others in each build."""
NUMBERED = re.compile(r"^(?:mov\tw\d+, |cmp\tw\d+, |subs\tw\d+, w\d+, )#0x([0-6])(?:\s|$)")
MOVE = re.compile(r"^(mov|movk|add|ldr|ldur|str|stur|stp|ldp|adrp)\t")
NOP = (0xD503201F).to_bytes(4, "little")


def word_of(data: bytes) -> int:
    return int.from_bytes(data, "little")


@pytest.mark.parametrize("n", range(len(CHOSEN)), ids=[str(one) for one in CHOSEN])
def test_another_target(n: int) -> None:
    program = build(CHOSEN[n])
    names = symbols(program.twin)
    targets = sorted(name for name in names if name not in NO_TARGETS)
    by_address = {address: name for name, address in names.items()}
    calls = [(at, data) for at, data, text in instructions(program.twin, arm=True) if text.startswith("bl\t")]
    assert len(calls) > 60
    for address, data in calls[n % SHARE :: SHARE]:
        old = by_address.get(address + 4 * signed(word_of(data), 26), "")
        same = next((names for names in SAME if old in names), {old}) | {new for known, new in EQUAL if known == old}
        target = random.Random(address).choice([name for name in targets if name not in same])
        new = 0x94000000 | (names[target] - address) // 4 & 0x3FFFFFF
        at_start = address in program.truth["secondary"]["init-begin"]  # the first instruction, whatever it calls
        judge(program, changed(program, address, 0, new.to_bytes(4, "little")), address, not at_start)


@pytest.mark.parametrize("n", range(len(CHOSEN)), ids=[str(one) for one in CHOSEN])
def test_another_number(n: int) -> None:
    """Every immediate that may be a message's number, be it an argument or what is compared with."""
    program = build(CHOSEN[n])
    found = 0
    for address, data, text in instructions(program.twin, arm=True):
        match = NUMBERED.match(text)
        if match is None:
            continue
        word, at = word_of(data), 5 if text.startswith("mov") else 10
        assert word >> at & 0xFFF == int(match[1], 16)
        found += 1
        if found % SHARE_OF_NUMBERS != n % SHARE_OF_NUMBERS:
            continue
        other = random.Random(address).choice([number for number in range(9) if number != int(match[1], 16)])
        new = (word & ~(0xFFF << at) | other << at).to_bytes(4, "little")
        judge(program, changed(program, address, 0, new), address, False)
    assert found >= 12


@pytest.mark.parametrize("n", range(len(CHOSEN)), ids=[str(one) for one in CHOSEN])
def test_a_move_less(n: int) -> None:
    """A nop instead of what moves a value, to or from memory or between registers; an adrp may be a boundary itself."""
    program = build(CHOSEN[n])
    bounds = {at for role in program.truth.values() for places in role.values() for at in places}
    moves = [at for at, _, text in instructions(program.twin, arm=True) if MOVE.match(text) and at not in bounds]
    assert len(moves) > 100
    for address in moves[n % SHARE_OF_MOVES :: SHARE_OF_MOVES]:
        judge(program, changed(program, address, 0, NOP), address, False)


@pytest.mark.parametrize("seed", range(20))
def test_random_words(seed: int) -> None:
    """Code that no compiler would make: an answer in bounded time, or one of our errors."""
    draw = random.Random(seed)
    program = build(CHOSEN[seed % len(CHOSEN)])
    places = [address for address, _, _ in instructions(program.twin, arm=True)]
    with Image(program.path) as image:
        offsets = [image.offset_of(address) for address in draw.sample(places, 1 << seed % 8)]
    data = bytearray(program.path.read_bytes())
    for offset in offsets:
        assert offset is not None
        data[offset : offset + 4] = draw.choice((draw.randbytes(4), data[offset + 4 : offset + 8]))
    with cpu_bound(SECONDS):
        plan_or_error(bytes(data))
