"""Who asks for a checkpoint, and where: each sets the event that the primary's loop waits for, at a place of its own.

colo_checkpoint_notify() does that, by name the only one; but a compiler puts it into its callers, and from 8.1 on it is
static. So the places are found from what cannot be optimised away: the timer's callback and colo-compare's notifier are
functions whose addresses migrate_start_colo_process() hands over, a parameter and a failover come through exported
functions; and each of them must lead to a qemu_event_set() of an event at the offset at which that function
initialises one. The place is the call that leads there, which is in nobody else's way.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from colotrace.binary.code import Code, Function, Instruction, Kind
from colotrace.phases import NOTIFIES, Trigger, through_timer
from colotrace.resolve.evidence import FunctionCode
from colotrace.resolve.naming import calls_any
from colotrace.resolve.plan import Probe, Triggers
from colotrace.resolve.roleplan import make_probe
from colotrace.resolve.values import values_of

EVENT_INIT, EVENT_SET = "qemu_event_init", "qemu_event_set"
TIMER_INIT, REGISTER = "timer_init_full", "colo_compare_register_notifier"
ENTRIES = {
    Trigger.PARAMETER: ("colo_checkpoint_delay_set", "qmp_migrate_set_parameters"),
    Trigger.FAILOVER: ("colo_do_failover",),
}
"""Exported functions through which a request comes; the first one that a binary has (8.1 on; before)."""
_DEEPEST = 2
_REL32 = struct.Struct("<i")


class TriggerResolver:
    """Looks for the four in one binary; `root` is the primary's function, laid out."""

    def __init__(self, code: FunctionCode, root: Function) -> None:
        self._code, self._root = code, root
        self._values = values_of(code, root)
        self._offsets = self._event_offsets()
        self._known: dict[tuple[int, int], tuple[Instruction, ...]] = {}
        """What _setting() has found."""

    def resolve(self) -> tuple[tuple[Probe, ...], Triggers]:
        """The probes, and what speaks for each; or why there is none."""
        sources: dict[Trigger, int | str] = {Trigger.TIMER: self._timer()}
        self._only_the_timers(sources[Trigger.TIMER])
        sources[Trigger.COMPARE] = self._compare(sources[Trigger.TIMER])
        sources |= {trigger: self._entry(names) for trigger, names in ENTRIES.items()}
        places: dict[Trigger, Instruction] = {}
        reasons: dict[Trigger, str] = {}
        for trigger, source in sources.items():
            found = source if isinstance(source, str) else self._place(source)
            if isinstance(found, str):
                reasons[trigger] = found
            else:
                places[trigger] = found
        through = self._through_timer(places, sources, reasons)
        evidence = {
            trigger: self._evidence(trigger, sources[trigger], place, through) for trigger, place in places.items()
        }
        probes = tuple(
            make_probe(
                self._code,
                None,
                through_timer(NOTIFIES[trigger]) if trigger in through else NOTIFIES[trigger],
                place,
                evidence[trigger],
                function=self._name(sources[trigger]),
            )
            for trigger, place in places.items()
        )
        return probes, Triggers(evidence, reasons)

    def _event_offsets(self) -> frozenset[int]:
        """Where in an object that it was given the primary's function initialises events."""
        first = self._code.isa.arguments[0]
        found = (self._values.before(c.address, first) for c in self._root.calls if calls_any(c, (EVENT_INIT,)))
        return frozenset(value.offset for value in found if value is not None and value.base is not None)

    def _only_the_timers(self, callback: int | str) -> None:
        """Of several events that the primary's function makes, only the one that the timer sets counts from here on."""
        if isinstance(callback, str):
            return
        every = self._offsets
        for offset in every if len(every) > 1 else ():
            self._offsets, self._known = frozenset((offset,)), {}
            if self._nearest(callback):
                return
        self._offsets, self._known = every, {}

    def _timer(self) -> int | str:
        """The callback of the only timer that the primary's function makes."""
        calls = [call for call in self._root.calls if calls_any(call, (TIMER_INIT,))]
        if len(calls) != 1:
            return f"{len(calls)} calls of {TIMER_INIT} where the primary begins, and one is needed"
        value = self._values.before(calls[0].address, self._code.isa.arguments[5])
        if value is None or value.base is not None or not self._code.image.is_code(value.offset):
            return f"the code does not tell which function {TIMER_INIT} gets"
        return value.offset

    def _compare(self, timer: int | str) -> int | str:
        """The other function that sets the event and whose address is taken where a notifier is registered."""
        if not any(calls_any(call, (REGISTER,)) for call in self._root.calls):
            return f"no call of {REGISTER} where the primary begins"
        called = {one.target for one in self._root.instructions.values() if one.target is not None}
        taken = sorted(self._values.addresses() - called - {timer})
        found = [one for one in taken if self._code.image.is_code(one) and self._code.is_function_start(one)]
        found = [one for one in found if self._nearest(one)]
        if len(found) != 1:
            return f"{len(found)} functions that the primary could hand to {REGISTER} set the event, and one is needed"
        return found[0]

    def _entry(self, names: tuple[str, ...]) -> int | str:
        for name in names:
            symbol = self._code.symbols.one(name)
            if symbol is not None:
                return symbol.address
        return f"no {' or '.join(names)} in this binary's names"

    def _place(self, source: int) -> Instruction | str:
        """The one call or jump of a function that leads to setting the event."""
        found = self._nearest(source)
        if len(found) != 1:
            name = self._name(source)
            return f"{len(found)} calls in {name} lead to {EVENT_SET} of the event waited for, and one is needed"
        return found[0] if found[0].emulated else f"{found[0].text} at {found[0].address:#x} is not emulated"

    def _nearest(self, entry: int) -> tuple[Instruction, ...]:
        """Of the calls and jumps of a function that lead to setting the event, those that do so most directly."""
        ways = (self._setting(entry, depth) for depth in range(_DEEPEST + 1))
        return next(filter(None, ways), ())

    def _setting(self, entry: int, depth: int) -> tuple[Instruction, ...]:
        """The calls and jumps of a function that set the event, or whose target's own do."""
        if (entry, depth) not in self._known:
            self._known[entry, depth] = ()  # a function that calls itself
            function = self._code.function(entry)
            self._known[entry, depth] = tuple(
                one
                for _, one in sorted(function.instructions.items())
                if one.kind in (Kind.CALL, Kind.JUMP) and self._sets(function, one, depth)
            )
        return self._known[entry, depth]

    def _sets(self, function: Function, one: Instruction, depth: int) -> bool:
        if calls_any(one, (EVENT_SET,)):
            value = values_of(self._code, function).before(one.address, self._code.isa.arguments[0])
            return value is not None and value.base is not None and value.offset in self._offsets
        leaves = one.kind is Kind.CALL or not function.successors[one.address]
        if depth == 0 or not leaves or one.target is None or one.target == function.entry:
            return False
        return self._code.image.is_code(one.target) and bool(self._setting(one.target, depth - 1))

    def _through_timer(
        self, places: dict[Trigger, Instruction], sources: Mapping[Trigger, int | str], reasons: dict[Trigger, str]
    ) -> set[Trigger]:
        """Those who call the timer's own callback. Where somebody unknown does as well, nobody tells the timer."""
        callback = sources[Trigger.TIMER]
        if Trigger.TIMER not in places or not isinstance(callback, int):
            return set()
        known = {place.address: trigger for trigger, place in places.items() if place.target == callback}
        strangers = _callers(self._code, callback) - known.keys()
        if strangers:
            where = ", ".join(f"{one:#x}" for one in sorted(strangers))
            reasons[Trigger.TIMER] = f"its callback is also called at {where}, and by whom is not known"
            del places[Trigger.TIMER]
            return set()
        return set(known.values())

    def _evidence(self, trigger: Trigger, source: int | str, place: Instruction, through: set[Trigger]) -> str:
        offsets = ", ".join(f"{offset:#x}" for offset in sorted(self._offsets))
        how = {
            Trigger.TIMER: f"the callback that {TIMER_INIT} gets",
            Trigger.COMPARE: f"the function whose address is taken for {REGISTER}",
        }.get(trigger, "by its name")
        by = "through the timer's callback" if trigger in through else "in it or in what it calls"
        return (
            f"{self._name(source)}, {how}: {place.text} leads, {by}, to {EVENT_SET} of an event at {offsets} of its "
            f"object, where the primary's function has {EVENT_INIT} make one"
        )

    def _name(self, source: int | str) -> str:
        assert isinstance(source, int)
        names = self._code.names_of(source)
        return names[0] if names else f"the function at {source:#x}"


def _callers(code: Code, target: int) -> set[int]:
    """Where in all the code something looks like a direct call of, or a jump to, an address."""
    found = set()
    for segment in code.image.executable_segments():
        data = code.image.read(segment.address, segment.file_size)
        for opcode in (b"\xe8", b"\xe9"):
            at = data.find(opcode)
            while 0 <= at <= len(data) - 5:
                if segment.address + at + 5 + _REL32.unpack_from(data, at + 1)[0] == target:
                    found.add(segment.address + at)
                at = data.find(opcode, at + 1)
    return found


def find_triggers(code: FunctionCode, root: Function | None) -> tuple[tuple[Probe, ...], Triggers]:
    """Who asks for checkpoints in a binary; `root` is the primary's function, laid out, if it was found."""
    if root is None:
        return (), Triggers(reasons=dict.fromkeys(Trigger, "the primary's function was not found"))
    if code.image.machine != "x86_64":
        return (), Triggers(reasons=dict.fromkeys(Trigger, "who asks for checkpoints is looked for on x86-64 only"))
    return TriggerResolver(code, root).resolve()
