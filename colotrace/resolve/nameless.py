"""Names for a binary that has none: the two COLO functions by their error texts, and what they call by evidence.

Each rule says what the code of one function must show, in words that hold from QEMU 5.2 to 10.0 (the sources:
migration/colo.c, colo-failover.c, savevm.c, qemu-file.c, ram.c, replication.c, softmmu/runstate.c or system/runstate.c,
util/qemu-thread-posix.c). Only what the COLO functions call is asked, and only an answer that fits exactly one function
is taken; a text must not be used anywhere else in the binary. What is found here is still held against the skeleton
like any other name: wrong names would not stand in the protocol's order.
"""

from __future__ import annotations

from collections.abc import Iterator

from colotrace.binary.functions import FunctionBounds
from colotrace.binary.image import Image
from colotrace.binary.references import code_references, path_addresses, text_addresses
from colotrace.binary.relocations import Relocations
from colotrace.binary.symbols import Symbols
from colotrace.binary.usdt import usdt_probes
from colotrace.phases import MESSAGES, Role
from colotrace.resolve.evidence import Bodies, Body, FunctionCode
from colotrace.resolve.findings import Findings
from colotrace.resolve.skeleton import GET_NUMBER, GET_VALUE, MESSAGE_TABLE, SKELETONS
from colotrace.resolve.values import register_before

PATH = "migration/colo.c"
"""Taking the big lock hands over the file's name (qemu_mutex_lock_iothread() and bql_lock() are macros)."""
ROOT_TEXTS = {
    Role.PRIMARY: "COLO mode must be COLO_MODE_PRIMARY",
    Role.SECONDARY: "COLO mode must be COLO_MODE_SECONDARY",
}
_RECEIVES = "Can't receive COLO message"
TEXTS: dict[str, tuple[str, ...]] = {
    "colo_send_message": ("Can't send COLO message",),
    "colo_receive_message": (_RECEIVES,),
    "colo_receive_check_message": ("Unexpected COLO message %d, expected %d",),
    "qapi_event_send_colo_exit": ("COLO_EXIT",),
    "qemu_loadvm_state_main": ("Unknown savevm section type %d", "Unknown section type %d"),
    "qemu_load_device_state": ("Failed to load device state: %d",),
    "colo_flush_ram_cache": (
        "colo_flush_ram_cache_end \n", "%d@%zu.%06zu:colo_flush_ram_cache_end \n", "colo_bitmap_find_dirty",
    ),
}  # fmt: skip
"""Function -> texts, of which it uses one or more, and nothing else in the binary does."""
_NAMES_IN_ASSERTIONS = frozenset[str]().union(*(skeleton.names() for skeleton in SKELETONS))
_COLO_TEXTS = (
    "Can't send COLO message", _RECEIVES, "Unexpected COLO message %d, expected %d",
    "Failed to send value for message:%s", "Failed to get value for COLO message: %s", "Got unknown COLO message: %d",
    *ROOT_TEXTS.values(),
)  # fmt: skip
"""Every function of colo.c that exchanges messages has one of these, or takes the big lock."""
_MACHINE = "x86_64"
_VM_FILE_MAGIC = 0x5145564D
"""QEMU_VM_FILE_MAGIC (migration/savevm.h)."""
_RUNSTATE_TEXT = "invalid runstate transition: '%s' -> '%s'"
_RESUME = "RESUME"
_ADD = "add_to_iovec"
_COMPARE_PATH = "net/colo-compare.c"
_FEW, _SMALL = 8, 32
"""Instructions."""


def identify(image: Image, symbols: Symbols) -> Findings:
    """The names that the code of a binary gives away, in which `symbols` knows neither of the COLO functions."""
    if image.machine != _MACHINE:
        findings = Findings()
        findings.reasons.append(f"names are read from the code of {_MACHINE} alone, and this is {image.machine}")
        return findings
    relocations = Relocations(image)
    return _Search(FunctionCode(image, symbols, FunctionBounds(image), relocations), relocations).run()


class _Search:
    """One search through one binary."""

    def __init__(self, code: FunctionCode, relocations: Relocations) -> None:
        self._code, self._relocations = code, relocations
        self._bodies = Bodies(code)
        self._found = Findings()
        texts = {_RESUME, *_COLO_TEXTS, *_NAMES_IN_ASSERTIONS}.union(*TEXTS.values())
        self._places = {text: text_addresses(code.image, text) for text in sorted(texts)}
        self._places[PATH] = path_addresses(code.image, PATH)
        self._users = code_references(code.image, {at for places in self._places.values() for at in places})

    def run(self) -> Findings:
        if not len(self._code.bounds):
            self._found.reasons.append("it has no .eh_frame_hdr to tell where functions begin")
            return self._found
        self._found.of_colo = frozenset().union(*(self._starts(text) for text in (PATH, *_COLO_TEXTS)))
        roots = {role: self._root(role) for role in Role}
        called = {role: list(self._called(root)) if root else [] for role, root in roots.items()}
        everything = list({body.entry: body for bodies in called.values() for body in bodies}.values())
        uses = set().union(*(self._uses(text) for text in (PATH, *_COLO_TEXTS)))  # in a cold piece, maybe
        self._found.of_colo |= {body.entry for body in everything if not uses.isdisjoint(body.ends)}
        for name, texts in TEXTS.items():
            self._by_text(name, texts, everything)
        self._by_usdt(everything)
        self._by_own_names(everything)
        self._failover(everything)
        self._replication(everything)
        self._running(called)
        self._device_state(called[Role.PRIMARY])
        self._loading(called[Role.SECONDARY])
        self._numbers(called[Role.SECONDARY])
        self._buffers(called)
        self._compare(called[Role.PRIMARY])
        self._message_table()
        return self._found

    def _uses(self, text: str) -> set[int]:
        """The ends of the instructions that take a text's address, anywhere in the binary."""
        return {end for place in self._places[text] for end in self._users[place]}

    def _starts(self, text: str) -> set[int]:
        """Where the functions (or pieces) begin that use a text."""
        pieces = (self._code.bounds.containing(end - 1) for end in self._uses(text))
        return {piece[0] for piece in pieces if piece}

    def _root(self, role: Role) -> Body | None:
        """The role's function: the one that uses the text, or the only one of colo.c that calls it."""
        text, name = ROOT_TEXTS[role], next(s.root for s in SKELETONS if s.role is role)
        uses = self._uses(text)
        if not uses:
            self._found.reasons.append(f"{name}: no code uses its text '{text}'")
            return None
        of_colo = [self._bodies.at(start) for start in sorted(self._starts(PATH) | self._starts(text))]
        fitting = [body for body in of_colo if uses <= body.ends]
        callers = [body for body in of_colo if len(fitting) == 1 and fitting[0].entry in body.callees]
        callers = [body for body in callers if body is not fitting[0]]
        because = f"it uses '{text}'"
        if len(callers) == 1:
            fitting, because = callers, f"it alone calls the function that uses '{text}'"
        address = self._found.take(name, {body.entry for body in fitting}, because)
        return self._bodies.at(address) if address is not None else None

    def _called(self, root: Body) -> Iterator[Body]:
        """What a root calls, and what its helpers in colo.c call: functions of the same file are part of its work."""
        of_colo, seen, todo = self._found.of_colo, {root.entry}, [root]
        while todo:
            for body in self._bodies.below(todo.pop()):
                if body.entry not in seen:
                    seen.add(body.entry)
                    yield body
                    if body.entry in of_colo:
                        todo.append(body)

    def _by_text(self, name: str, texts: tuple[str, ...], bodies: list[Body]) -> None:
        found: dict[int, str] = {}
        for text in texts:
            uses = self._uses(text)
            found.update((body.entry, text.strip()) for body in bodies if uses and uses <= body.ends)
        self._found.take(name, set(found), f"it alone uses '{next(iter(found.values()), texts[0].strip())}'")

    def _by_usdt(self, bodies: list[Body]) -> None:
        """Probes that QEMU has in these functions itself: another witness, or the only one.

        Where the compiler has not inlined QEMU's trace_*() functions they hold the probes, and then nothing is told.
        """
        called = {body.entry: body for body in bodies}
        probes = usdt_probes(self._code.image, "qemu")
        for name in TEXTS.keys() & {probe.name for probe in probes}:
            at = [probe.address for probe in probes if probe.name == name]
            holding = {b.entry for b in called.values() if any(address in b.instructions for address in at)}
            if len(holding) != 1 or not called[next(iter(holding))].calls:
                continue
            self._found.confirm(name, holding, "its USDT probe is in it")

    def _by_own_names(self, bodies: list[Body]) -> None:
        """Assertions carry the name of the function that they stand in, also where that was inlined into another one.

        So nobody else may use the name, or else the function must be small: it does what the name says, and not much
        more.
        """
        for name in sorted(_NAMES_IN_ASSERTIONS):
            uses = self._uses(name)
            if uses:
                fitting = [body for body in bodies if body.own_names == {name}]
                fitting = [b for b in fitting if uses <= b.ends or len(b.instructions) <= _SMALL]
                if fitting:
                    self._found.take(name, {body.entry for body in fitting}, "its assertions name it")

    def _failover(self, bodies: list[Body]) -> None:
        """failover_state: one function only reads it, one only clears it, and another one compares and exchanges it."""
        small = [body for body in bodies if not body.callees and not body.imports and len(body.instructions) <= _FEW]
        exchanged = {at for body in bodies for at in body.reads & body.writes}
        readers = {(at, b.entry) for b in small for at in b.reads & exchanged if b.reads == {at} and not b.writes}
        setters = {(at, b.entry) for b in small for at in b.writes & exchanged if b.writes == {at} and not b.reads}
        setters = {(at, entry) for at, entry in setters if self._bodies.at(entry).immediates == {0}}
        shared = {at for at, _ in readers} & {at for at, _ in setters}
        because = "it alone {} what failover_set_state() exchanges, and does nothing else"
        for name, pairs, what in (
            ("failover_get_state", readers, "reads"), ("failover_init_state", setters, "clears")
        ):  # fmt: skip
            self._found.take(name, {entry for at, entry in pairs if at in shared}, because.format(what))

    def _replication(self, bodies: list[Body]) -> None:
        """Functions that go through one list and call by a pointer at the same offset of ReplicationOps."""
        lists = [body for body in bodies if len(body.reads - body.writes) == 1 and len(body.indirect_at) == 1]
        heads = {head: [b for b in lists if head in b.reads] for b in lists for head in b.reads}
        for at, name in ((0, "replication_start_all"), (16, "replication_do_checkpoint_all")):
            fitting = {b.entry for group in heads.values() if len(group) > 1 for b in group if b.indirect_at == {at}}
            self._found.take(name, fitting, f"it calls ops[{at}] of each of the list that another such function walks")

    def _running(self, called: dict[Role, list[Body]]) -> None:
        """vm_start() leads to the event RESUME, vm_stop_force_state() sets the run state; both roles call them."""
        both = {body.entry for body in called[Role.PRIMARY]} & {body.entry for body in called[Role.SECONDARY]}
        bodies = [body for body in map(self._bodies.at, sorted(both)) if len(body.callees) <= _FEW]
        sending = self._starts(_RESUME)
        starting = {b.entry for b in bodies if any(sending & set(below.callees) for below in self._bodies.below(b))}
        vm_start = self._found.take("vm_start", starting, f"it alone leads to the event {_RESUME} within two calls")
        stopping = {
            b.entry
            for b in bodies
            if b.entry != vm_start and any(_RUNSTATE_TEXT in below.texts for below in self._bodies.below(b))
        }
        self._found.take("vm_stop_force_state", stopping, "it alone, but for vm_start, sets the run state")

    def _device_state(self, bodies: list[Body]) -> None:
        """Both save functions end with QEMU_VM_EOF, by the same call; one also writes QEMU_VM_FILE_MAGIC."""
        own = self._starts(PATH)  # colo.c's own functions call them, and are none of them
        bodies = [body for body in bodies if body.entry not in own]
        saving = {b.entry for b in bodies if any(_VM_FILE_MAGIC in one.immediates for one in [b, *self._near(b)])}
        address = self._found.take("qemu_save_device_state", saving, "it alone writes QEMU_VM_FILE_MAGIC")
        if address is None:
            return
        ends = set(self._calls_with_zero(self._bodies.at(address)))
        live = {b.entry for b in bodies if b.entry != address and len(b.callees) <= _FEW}
        live = {entry for entry in live if ends.intersection(self._calls_with_zero(self._bodies.at(entry)))}
        self._found.take("qemu_savevm_live_state", live, "it alone ends as qemu_save_device_state() does, with EOF")

    def _loading(self, bodies: list[Body]) -> None:
        """Where qemu_load_device_state() has no text any more (11.1), it is still what calls the main loop."""
        known = {symbol.name: symbol.address for symbol in self._found.symbols}
        main, own = known.get("qemu_loadvm_state_main"), self._starts(PATH)
        if main is not None and "qemu_load_device_state" not in known:
            fitting = {b.entry for b in bodies if main in b.callees and b.entry not in own}
            self._found.take("qemu_load_device_state", fitting, "it alone calls qemu_loadvm_state_main")

    def _near(self, body: Body) -> Iterator[Body]:
        """What a function calls, if that is not much."""
        return iter(self._bodies.below(body)) if len(body.callees) <= _FEW else iter(())

    def _calls_with_zero(self, body: Body) -> Iterator[int]:
        """What a function calls, or ends in, with 0 as the second argument."""
        for instruction in body.instructions.values():
            if instruction.target in body.callees and not instruction.names:
                value = register_before(self._code, body.graph, instruction.address, "rsi")
                if value is not None and value.base is None and value.offset & 0xFF == 0:
                    yield instruction.target or 0

    def _numbers(self, bodies: list[Body]) -> None:
        """qemu_get_be64() is two calls of qemu_get_be32(), which receives a message's number."""
        receiving = map(self._bodies.at, self._starts(_RECEIVES))  # not one function, where it is inlined into others
        numbers = {callee for body in receiving for callee in body.callees}
        values = {}
        for body in bodies:
            targets = [call.target for call in body.calls] + list(body.tail_calls)
            if len(targets) == 2 and targets[0] == targets[1] and targets[0] in numbers and 32 in body.immediates:
                values[body.entry] = targets[0]
        if self._found.take(GET_VALUE, set(values), f"it puts two numbers together that users of '{_RECEIVES}' get"):
            self._found.take(GET_NUMBER, {t for t in values.values() if t}, f"{GET_VALUE} is two calls of it")

    def _buffers(self, called: dict[Role, list[Body]]) -> None:
        """The functions that copy: into a QEMUFile on the primary, out of one on the secondary."""
        known = {symbol.address for symbol in self._found.symbols}
        for role, name in ((Role.PRIMARY, "qemu_put_buffer"), (Role.SECONDARY, "qemu_get_buffer")):
            copying = {b.entry for b in called[role] if self._copies(b) and b.entry not in known}
            if copying:
                self._found.take(name, copying, f"it alone of what the {role.value} calls copies memory")
        adding = {body.entry for body in called[Role.PRIMARY] if body.own_names == {_ADD} and not self._copies(body)}
        if adding:
            self._found.take("qemu_put_buffer_async", adding, f"of what the primary calls it alone inlines {_ADD}()")

    def _copies(self, body: Body) -> bool:
        """Whether a function copies memory itself, or in the piece that the compiler has split off its end."""
        return any("memcpy" in one.imports for one in [body, *map(self._bodies.at, body.tail_calls)])

    def _compare(self, bodies: list[Body]) -> None:
        fitting = {body.entry for body in bodies if any(text.endswith(_COMPARE_PATH) for text in body.texts)}
        self._found.take(
            "colo_notify_compares_event", fitting, f"it alone of what the primary calls is in {_COMPARE_PATH}"
        )

    def _message_table(self) -> None:
        """The table that points to an array of pointers to the messages' names, in the order of their numbers."""
        slots = [
            {at for place in text_addresses(self._code.image, m.value) for at in self._relocations.pointers_to(place)}
            for m in MESSAGES
        ]
        arrays = set()
        for base in {at - 8 * number for at in slots[0] for number in range(len(MESSAGES))}:
            numbers = {(at - base) // 8 for found in slots for at in found if at in range(base, base + 56, 8)}
            if len(numbers) == len(MESSAGES) and all(found & set(range(base, base + 56, 8)) for found in slots):
                arrays.add(base)
        tables = {table for array in arrays for table in self._relocations.pointers_to(array)}
        self._found.take(MESSAGE_TABLE, tables, "it points to the messages' names", is_function=False)
