"""Which local functions send and receive COLO messages, and with which number each call of them does it.

The functions have no names in a stripped binary. They are known by what they call: sending is qemu_put_be32, receiving
is qemu_get_be32, and receiving with a check is a call of the receiving function. The numbers come from the call's
second argument, their meaning from the binary's own COLOMessage_lookup.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from colotrace.binary.code import Code, Function, Instruction, Kind
from colotrace.binary.relocations import Relocations
from colotrace.phases import MESSAGES, Mark
from colotrace.resolve.skeleton import GET_NUMBER, GET_VALUE, MESSAGE_TABLE, PUT_NUMBER, PUT_VALUE
from colotrace.resolve.values import register_before


class Messenger(enum.Enum):
    """What a local function does with messages; the value is its name in colo.c."""

    SEND = "colo_send_message"
    RECEIVE = "colo_receive_message"
    RECEIVE_CHECK = "colo_receive_check_message"


@dataclass(frozen=True)
class MessageCall:
    """A call that sends or receives a message. `number` is None where the call does not tell (RECEIVE)."""

    call: Instruction
    messenger: Messenger
    number: int | None
    evidence: str


def message_numbers(code: Code, relocations: Relocations) -> tuple[dict[Mark, int], str]:
    """Each message's number on the wire, and where that was read."""
    table = code.symbols.one(MESSAGE_TABLE)
    array = relocations.pointer_at(table.address) if table else None
    if array is not None:
        by_name = {}
        for number in range(len(MESSAGES)):
            pointer = relocations.pointer_at(array + 8 * number)
            name = code.image.read_string(pointer) if pointer else None
            by_name[name] = number
        if by_name.keys() == {message.value for message in MESSAGES}:
            return {message: by_name[message.value] for message in MESSAGES}, f"read from {MESSAGE_TABLE}"
    return {message: n for n, message in enumerate(MESSAGES)}, f"assumed: there is no readable {MESSAGE_TABLE}"


def message_calls(code: Code, function: Function) -> list[MessageCall]:
    """The calls in `function` that send or receive messages, by address."""
    found = []
    for call in function.calls:
        if call.target is None:
            continue
        known = _messenger(code, call.target)
        if known is None:
            continue
        messenger, evidence = known
        number = None
        if messenger is not Messenger.RECEIVE:
            value = register_before(code, function, call.address, "rsi")
            number = value.offset & 0xFFFFFFFF if value is not None and value.base is None else None
        found.append(MessageCall(call, messenger, number, evidence))
    return found


def _messenger(code: Code, target: int) -> tuple[Messenger, str] | None:
    """Whether the function at `target` is one of colo.c's three, by name or by what it calls."""
    names = code.names_of(target)
    for messenger in Messenger:
        if any(name == messenger.value or name.startswith(messenger.value + ".") for name in names):
            return messenger, f"{names[0]} by name"
    if names:
        return None  # any other function with a name is what its name says
    called = {name for call in code.function(target).calls for name in call.names}
    if PUT_NUMBER in called and not called & {PUT_VALUE, GET_NUMBER}:
        return Messenger.SEND, f"unnamed at {target:#x}, it calls {PUT_NUMBER}"
    if GET_NUMBER in called and not called & {GET_VALUE, PUT_NUMBER}:
        return Messenger.RECEIVE, f"unnamed at {target:#x}, it calls {GET_NUMBER}"
    if called & {GET_VALUE, PUT_VALUE, PUT_NUMBER}:
        return None
    for call in code.function(target).calls:
        if call.kind is Kind.CALL and call.target not in (None, target) and not call.names:
            callee = code.function(call.target)
            if any(GET_NUMBER in inner.names for inner in callee.calls):
                return Messenger.RECEIVE_CHECK, f"unnamed at {target:#x}, it calls the receiver at {call.target:#x}"
    return None
