"""Which calls of a role's function send and receive COLO messages, and with which number.

The functions that do it have no names in a stripped binary. They are known by what they call (sending is qemu_put_be32,
receiving is qemu_get_be32, checking is receiving and comparing), by their error texts, and by which of their arguments
is the message's number. Where the compiler has dissolved them, the number stands in a comparison behind the call that
receives. What the numbers mean is read from the binary's own COLOMessage_lookup.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from colotrace.binary.code import Code, Function, Instruction, Kind
from colotrace.binary.relocations import Relocations
from colotrace.phases import MESSAGES, Mark
from colotrace.resolve.naming import calls_any
from colotrace.resolve.skeleton import GET_NUMBER, MESSAGE_TABLE, OWN_NAMES, PUT_NUMBER
from colotrace.resolve.spine import Spine
from colotrace.resolve.texts import Texts
from colotrace.resolve.values import values_of
from colotrace.resolve.walk import Value, Walk, result_of

_DEEPEST = 3
"""How many helpers deep a message may be, counted from a helper of the role's function."""


class Messenger(enum.Enum):
    """What a function does with messages; the value is its name in colo.c."""

    SEND = "colo_send_message"
    RECEIVE = "colo_receive_message"
    RECEIVE_CHECK = "colo_receive_check_message"


TEXTS = {
    Messenger.SEND: b"Can't send COLO message",
    Messenger.RECEIVE: b"Can't receive COLO message",
    Messenger.RECEIVE_CHECK: b"Unexpected COLO message %d, expected %d",
}
"""The error texts of colo.c that belong to each, in all versions from 5.0 to 11.1."""


@dataclass(frozen=True)
class Talker:
    """A function that sends or receives one message: `number` is fixed, or in the argument `register`, or unknown."""

    messenger: Messenger
    evidence: str
    register: str | None = None
    number: int | None = None


@dataclass(frozen=True)
class MessageCall:
    """A call that sends or receives a message. `number` is None where the code does not tell."""

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


class Messages:
    """Finds messages in the functions of one binary."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._second = code.isa.arguments[1]
        self._texts = Texts(code)
        self._has_texts = any([self._texts.has(text) for text in TEXTS.values()])
        self._known: dict[int, Talker | None] = {}

    def is_helper(self, target: int) -> bool:
        """Whether the function there is a helper of colo.c that exchanges messages itself, rather than one message."""
        return self._is_own(target) and self.talker(target) is None and self._talks(target, _DEEPEST)

    def calls(self, spine: Spine) -> list[MessageCall]:
        """The calls in a role's function, and in the helpers laid out in it, that send or receive messages."""
        found, values = [], values_of(self._code, spine)
        for call in spine.calls:
            talker = self._called(call)
            if talker is None or call.address in spine.entered:
                continue
            number, evidence = talker.number, talker.evidence
            if talker.register is not None:
                value = values.before(call.address, talker.register, 4)
                number = value.offset & 0xFFFFFFFF if value is not None and value.base is None else None
            elif talker.messenger is Messenger.RECEIVE:
                compared = self._compared(spine, values, call, (None,))
                if len(compared) == 1 and call.kind is Kind.CALL:
                    number = compared.pop().offset
                    evidence += f"; what it receives is compared with {number}"
            found.append(MessageCall(call, talker.messenger, number, evidence))
        return found

    def talker(self, target: int) -> Talker | None:
        """What the function at an address is, if it sends or receives one message; by name, or by what it does."""
        if target not in self._known:
            self._known[target] = None  # a recursive question is answered with no
            self._known[target] = self._recognise(target)
        return self._known[target]

    def _called(self, call: Instruction) -> Talker | None:
        """What a call calls: one of colo.c's own, or the one of qemu-file.c that they would call."""
        if calls_any(call, (PUT_NUMBER,)):
            return Talker(Messenger.SEND, f"call of {PUT_NUMBER} itself", self._second)
        if calls_any(call, (GET_NUMBER,)):
            return Talker(Messenger.RECEIVE, f"call of {GET_NUMBER} itself")
        return self.talker(call.target) if call.target is not None else None

    def _is_own(self, target: int) -> bool:
        names, of_colo = self._code.names_of(target), self._code.symbols.of_colo
        if not names and of_colo is not None and target not in of_colo:
            return False
        return self._code.image.is_code(target) and (not names or names[0].startswith(OWN_NAMES))

    def _talks(self, target: int, depth: int) -> bool:
        for call in self._code.function(target).calls:
            if calls_any(call, (PUT_NUMBER, GET_NUMBER)):
                if not self._has_texts or self._texts.referenced(self._code.function(target)):
                    return True
            elif call.target is not None and call.target != target and self._is_own(call.target):
                talker = self.talker(call.target)
                if talker is not None or (depth > 0 and self._talks(call.target, depth - 1)):
                    return True
        return False

    def _recognise(self, target: int) -> Talker | None:
        code = self._code
        names = code.names_of(target)
        function = code.function(target)
        for messenger in Messenger:
            if any(name == messenger.value or name.startswith(messenger.value + ".") for name in names):
                told = self._told(function, messenger)
                if told is None:  # its own code does not tell where the number is: where the source has it
                    told = Talker(messenger, "", None if messenger is Messenger.RECEIVE else self._second)
                return Talker(messenger, f"{names[0]} by name", told.register, told.number)
        if names or not self._is_own(target):
            return None  # any other function with a name is what its name says
        for messenger in (Messenger.SEND, Messenger.RECEIVE_CHECK, Messenger.RECEIVE):
            told = self._told(function, messenger)
            if told is not None and self._speaks(function, messenger):
                return told
        return None

    def _speaks(self, function: Function, messenger: Messenger) -> bool:
        """Whether a function has the error text of what it is taken for; where no text is left, it need not."""
        text = TEXTS[messenger]
        return not self._texts.has(text) or text in self._texts.referenced(function)

    def _told(self, function: Function, messenger: Messenger) -> Talker | None:
        """A function as `messenger`, if that is what it does and all it does with messages."""
        where, values = f"unnamed at {function.entry:#x}", values_of(self._code, function)
        sends = [call for call in function.calls if calls_any(call, (PUT_NUMBER,))]
        receives, inner = [], None
        for call in function.calls:
            if calls_any(call, (GET_NUMBER,)):
                receives.append(call)
            elif call.target not in (None, function.entry) and call.kind is Kind.CALL:
                talker = self.talker(call.target) if self._is_own(call.target or 0) else None
                if talker is not None and talker.messenger is Messenger.RECEIVE:
                    receives.append(call)
                    inner = call.target
                elif talker is not None:
                    return None
        if messenger is Messenger.SEND:
            numbers = {values.before(call.address, self._second, 4) for call in sends}
            if len(numbers) != 1 or receives:
                return None
            return self._numbered(messenger, f"{where}, it calls {PUT_NUMBER}", numbers.pop())
        if len(receives) != 1 or sends:
            return None
        compared = self._compared(function, values, receives[0], (None, *self._code.isa.arguments))
        by = f"it calls {GET_NUMBER}" if inner is None else f"it calls the receiver at {inner:#x}"
        if messenger is Messenger.RECEIVE:
            return Talker(messenger, f"{where}, {by}") if inner is None and not compared else None
        return self._numbered(messenger, f"{where}, {by}", compared.pop()) if len(compared) == 1 else None

    def _compared(
        self, function: Function, values: Walk, call: Instruction, bases: tuple[str | None, ...]
    ) -> set[Value]:
        """What the result of `call` is compared with for equality, of the values that have one of these bases."""
        result, found = result_of(call.address), set()
        for instruction in function.instructions.values():
            one, other = values.compared(instruction) or (None, None)
            for mine, theirs in ((one, other), (other, one)):
                if mine == result and theirs is not None and theirs.base in bases:
                    found.add(Value(theirs.offset & 0xFFFFFFFF, theirs.base))
        return found

    def _numbered(self, messenger: Messenger, evidence: str, value: Value | None) -> Talker | None:
        """A talker whose number is `value`: a constant, or one of its arguments as it is."""
        if value is None:
            return None
        if value.base is None:
            return Talker(messenger, f"{evidence} with {value.offset}", number=value.offset & 0xFFFFFFFF)
        if value.base in self._code.isa.arguments and value.offset == 0:
            return Talker(messenger, evidence, register=value.base)
        return None
