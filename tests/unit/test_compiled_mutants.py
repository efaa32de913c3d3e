"""Real compilers' code with one call or one number changed: the plan stays true, or says less; it never lies."""

from __future__ import annotations

import random
import re

import pytest

from colotrace.binary.image import Image
from colotrace.errors import ColotraceError

from .compiled import BUILDS, Compiled, build, instructions, symbols
from .truth import ending_at, exact, lies, plan_or_error

CHOSEN = tuple(
    one
    for one in BUILDS
    if (one.compiler, one.level, one.shape, one.shared, one.link) in {
        ("gcc", "-O0", 72, False, "pie"), ("gcc", "-O3", 111, False, "pie"), ("gcc", "-O2", 50, False, "pie"),
        ("clang", "-O0", 111, False, "pie"), ("clang", "-O2", 72, False, "pie"), ("clang", "-O1", 100, False, "pie"),
    }
)  # fmt: skip
NO_TARGETS = ("begin", "colo_incoming_co", "ram_counters", "mig_stats", "seen", "trace_events")
SHARE, SHARE_OF_NUMBERS = 8, 4
"""Of each build's calls every eighth is changed, and of its numbers every fourth; others in each build."""
FLOATING = {"ready", "reply", "vm-stopped", "put-end", "transaction-end"}
"""Boundaries that are the next call or branch, whatever it leads to."""
EQUAL = {
    ("colo_receive_message_value", "colo_receive_check_message"), ("colo_wait_handle_message", "colo_receive_message"),
    ("colo_receive_message", "qemu_get_be32"),
}  # fmt: skip
"""A call of the first changed to the second receives the same message, and is then its place."""
NUMBERED = re.compile(r"^(mov|movl|cmp|cmpl) +\$0x([0-6]),")
SAME = (
    {"qemu_event_wait", "qemu_sem_wait"}, {"qemu_put_buffer", "qemu_put_buffer_async"},
    {"qemu_mutex_lock_iothread_impl", "bql_lock_impl"}, {"qemu_mutex_unlock_iothread", "bql_unlock"},
)  # fmt: skip
"""The same call in different versions of QEMU."""


def changed(program: Compiled, address: int, skip: int, new: bytes) -> bytes:
    """The program's file with other bytes inside the instruction at an address."""
    with Image(program.path) as image:
        offset = image.offset_of(address)
    assert offset is not None
    data = bytearray(program.path.read_bytes())
    data[offset + skip : offset + skip + len(new)] = new
    return bytes(data)


def judge(program: Compiled, data: bytes, address: int, renamed: bool) -> None:
    """With `renamed`, the call at the address calls another function: what it bounds cannot be exact any more."""
    plan = plan_or_error(data)
    if isinstance(plan, ColotraceError):
        assert plan.remedy
        return
    assert lies(plan, program.truth) == []
    for role, truth in program.truth.items():
        marks = {name for name, places in truth.items() if address in places} - FLOATING
        assert not (renamed and ending_at(role, marks) & exact(plan)), (role, marks, hex(address))


@pytest.mark.parametrize("n", range(len(CHOSEN)), ids=[str(one) for one in CHOSEN])
def test_another_target(n: int) -> None:
    program = build(CHOSEN[n])
    names = symbols(program.twin)
    targets = sorted(name for name in names if name not in NO_TARGETS)
    by_address = {address: name for name, address in names.items()}
    calls = [(at, data) for at, data, text in instructions(program.twin) if data[0] == 0xE8 and text.startswith("call")]
    assert len(calls) > 60
    for address, data in calls[n % SHARE :: SHARE]:
        old = by_address.get(address + 5 + int.from_bytes(data[1:], "little", signed=True), "")
        same = next((names for names in SAME if old in names), {old}) | {new for known, new in EQUAL if known == old}
        target = random.Random(address).choice([name for name in targets if name not in same])
        new = (names[target] - (address + 5)).to_bytes(4, "little", signed=True)
        judge(program, changed(program, address, 1, new), address, True)


@pytest.mark.parametrize("n", range(len(CHOSEN)), ids=[str(one) for one in CHOSEN])
def test_another_number(n: int) -> None:
    """Every immediate that may be a message's number, be it an argument or what is compared with."""
    program = build(CHOSEN[n])
    found = 0
    for address, data, text in instructions(program.twin):
        match = NUMBERED.match(text)
        if match is None:
            continue
        size = 4 if data[-4:] == int(match[2], 16).to_bytes(4, "little") else 1
        assert data[-size:] == int(match[2], 16).to_bytes(size, "little")
        found += 1
        if found % SHARE_OF_NUMBERS != n % SHARE_OF_NUMBERS:
            continue
        other = random.Random(address).choice([number for number in range(9) if number != int(match[2], 16)])
        judge(program, changed(program, address, len(data) - size, other.to_bytes(size, "little")), address, False)
    assert found >= 12
