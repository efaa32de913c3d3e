"""The ring buffer's callback, which C calls: what a signal's handler raises in it comes out, and no message is lost."""

from __future__ import annotations

import ctypes as ct

import pytest

from colotrace.kernel.program import BATCH, Program
from colotrace.kernel.ring import RingBuffer


class Interrupted(Exception):
    """What a signal's handler raises."""


def reader(program: Program) -> RingBuffer:
    """A reader without a map behind it."""
    ring = object.__new__(RingBuffer)
    ring._take, ring._raised = program._take, None
    return ring


def bare() -> Program:
    program = object.__new__(Program)
    program._messages = []
    return program


def called(ring: RingBuffer, message: bytes) -> int:
    data = ct.create_string_buffer(message, len(message))
    return ring._called(None, ct.addressof(data), len(message))


def test_messages_are_kept_until_a_batch_is_full() -> None:
    program = bare()
    ring = reader(program)
    assert [called(ring, b"%d" % number) for number in range(BATCH)] == [0] * (BATCH - 1) + [-1]
    assert program._messages == [b"%d" % number for number in range(BATCH)]


@pytest.mark.parametrize("after", [False, True], ids=["before it is kept", "after"])
def test_an_exception_comes_out_and_the_message_is_kept_once(after: bool) -> None:
    program = bare()
    ring = reader(program)
    tried: list[bytes] = []

    def take(message: bytes) -> bool:
        tried.append(message)
        if len(tried) == 1 and not after:
            raise Interrupted
        more = program._take(message)
        if len(tried) == 1:
            raise Interrupted
        return more

    ring._take = take
    assert called(ring, b"one") == -1
    with pytest.raises(Interrupted):
        ring._raise()
    ring._raise()  # once
    assert called(ring, b"one") == 0, "an equal message is another one"
    assert program._messages == [b"one", b"one"]
