"""Lays one role's skeleton over its function: anchors first, then what lies between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from colotrace.binary.code import Code, Instruction
from colotrace.phases import Mark, Role
from colotrace.resolve.meanings import meanings_of
from colotrace.resolve.messages import MessageCall, Messages, Messenger
from colotrace.resolve.naming import calls_any, plain
from colotrace.resolve.paths import Segment, reach, straight_on
from colotrace.resolve.plan import RolePlan, Unresolved
from colotrace.resolve.roleplan import Site, plan_role
from colotrace.resolve.skeleton import (
    LOCK,
    PUT_NUMBER,
    SEND_OUT,
    TIMEKEEPING,
    UNLOCK,
    Choice,
    Skeleton,
    Step,
    StepKind,
    Way,
)
from colotrace.resolve.spine import lay_out

_REPEATABLE = (LOCK, UNLOCK)
"""Calls that may stand several times between two anchors, but once between two steps."""
_Found = dict[Step, Site | str]


class RoleResolver:
    """Resolves one role. `has_messages` tells whether its function exchanges COLO messages at all."""

    def __init__(
        self,
        code: Code,
        skeleton: Skeleton,
        root: int,
        numbers: dict[Mark, int],
        messages: Messages,
        primary_calls: AbstractSet[str] | None = None,
        shared: AbstractSet[int] = frozenset(),
    ) -> None:
        """`primary_calls` names what the primary's function calls, which tells versions apart; None: not known.

        `shared` are the helpers that both roles call.
        """
        self._code, self._skeleton, self._numbers = code, skeleton, numbers
        self._function = lay_out(code, root, messages.is_helper, shared)
        self._messages = messages.calls(self._function)
        self.called = plain(name for call in self._function.calls for name in call.names)
        primary_calls = self.called if skeleton.role is Role.PRIMARY else primary_calls
        self._primary_calls = None if code.symbols.incomplete else primary_calls
        self._sites: dict[Step, Site] = {}
        self._whole = True
        """Whether all paths and messages of the function are known; without that, "every path" proves nothing."""
        self.unresolved: list[Unresolved] = []
        self._doubts()

    @property
    def has_messages(self) -> bool:
        """Whether any call in the function sends or receives a message."""
        return bool(self._messages)

    def resolve(self) -> RolePlan:
        """The role's plan; what could not be found or proven goes to `unresolved`."""
        for step in self._skeleton.steps:
            if isinstance(step, Step) and step.anchor and step.kind is not StepKind.CALL:
                self._keep(step, self._message_anchor(step) if step.message else self._entry(step))
        for at, (start, between, end) in enumerate(self._stretches()):
            if end is not None and end.kind is StepKind.CALL and start in self._sites:
                self._keep(end, self._call_anchor(end, start))
            if at and start not in self._sites:
                self._give_up(between, f"the {start} before it was not found")
            elif end is not None and end not in self._sites:
                self._give_up(between, f"the {end} after it was not found")
            elif start in self._sites:
                self._between(start, between, end)
        meanings = meanings_of(self._function, self._skeleton.role, self._sites, self._blocked())
        plan, unworthy = plan_role(self._code, self._skeleton, self._function, self._sites, self._whole, meanings)
        self.unresolved += unworthy
        return plan

    def _stretches(self) -> list[tuple[Step, list[Step | Choice], Step | None]]:
        """(anchor, what is between, the next anchor); None after the last."""
        stretches: list[tuple[Step, list[Step | Choice], Step | None]] = []
        start, between = self._skeleton.steps[0], list[Step | Choice]()
        assert isinstance(start, Step)
        for step in self._skeleton.steps[1:]:
            if isinstance(step, Step) and step.anchor:
                stretches.append((start, between, step))
                start, between = step, []
            else:
                between.append(step)
        stretches.append((start, between, None))
        return stretches

    def _keep(self, step: Step, found: Site | str) -> None:
        if isinstance(found, Site):
            self._sites[step] = found
        else:
            self._miss(step, found)

    def _miss(self, step: Step, reason: str) -> None:
        what = f"{step.boundary}: {step}" if step.boundary else f"witness: {step}"
        self.unresolved.append(Unresolved(self._skeleton.role, what, reason))

    def _give_up(self, steps: Sequence[Step | Choice], reason: str) -> None:
        for step in steps:
            if isinstance(step, Choice):
                self._give_up(step.ways[0].steps, reason)
            elif step.boundary:
                self._miss(step, reason)

    def _doubts(self) -> None:
        """What may make the graph or the messages incomplete."""
        role, root = self._skeleton.role, self._skeleton.root
        for address in self._function.indirect:
            self.unresolved.append(Unresolved(role, f"jump at {address:#x}", f"{root} jumps to where a table says"))
        for address in self._function.undecoded:
            self.unresolved.append(Unresolved(role, f"code at {address:#x}", f"{root} goes there; it does not decode"))
        for call in self._function.repeated:
            reason = "it exchanges COLO messages, and is called from several places"
            self.unresolved.append(Unresolved(role, f"helper called at {call.address:#x}", reason))
        for message in self._messages:
            if message.number is None and message.messenger is not Messenger.RECEIVE:
                self.unresolved.append(
                    Unresolved(
                        role, f"{message.messenger.value} at {message.call.address:#x}", "its number is not clear"
                    )
                )
        self._whole = not self.unresolved

    def _entry(self, step: Step) -> Site | str:
        """The entry; for a boundary, its first instruction that the kernel emulates."""
        first = self._function.instructions.get(self._function.entry)
        if first is None:
            return f"{self._skeleton.root} does not decode"
        if step.boundary is None:
            return Site(first, "entry")
        found = straight_on(self._function, first.address, skip_start=False)
        if found is None:
            return "no instruction at its start is one that the kernel emulates"
        return Site(found, f"the first emulated instruction of {self._skeleton.root}")

    def _message_anchor(self, step: Step) -> Site | str:
        assert step.message is not None
        number, sends = self._numbers[step.message], step.kind is StepKind.SEND
        found = [
            m
            for m in self._messages
            if (m.messenger is Messenger.SEND) is sends
            and (m.number == number or (step.kind is StepKind.RECEIVE_ANY and m.number is None))
        ]
        if len(found) != 1:
            sites = ", ".join(f"{m.call.address:#x}" for m in found) or "none"
            name = (Messenger.SEND if sends else Messenger.RECEIVE_CHECK).value
            name = Messenger.RECEIVE.value if step.kind is StepKind.RECEIVE_ANY else name
            return f"{len(found)} calls of {name} with this number, and one is needed: {sites}"
        return Site(found[0].call, self._message_evidence(found[0], step))

    def _message_evidence(self, message: MessageCall, step: Step) -> str:
        what = f"call of {message.messenger.value} ({message.evidence})"
        if message.number is not None and step.message is not None:
            where = "its number" if message.messenger is Messenger.RECEIVE else "its argument"
            what += f", {where} {message.number} = {step.message.value}"
        return f"{what}; the only such call in {self._skeleton.root}"

    def _address(self, step: Step) -> int:
        """A step's address in paths: the entry itself, where the probe may sit a few instructions further."""
        return self._function.entry if step.kind is StepKind.ENTRY else self._sites[step].instruction.address

    def _blocked(self, *ends: Step) -> set[int]:
        """What a path between two anchors must not pass: any other message, and the loop's top."""
        blocked = {m.call.address for m in self._messages}
        blocked |= {self._address(step) for step in self._sites if step.anchor or step.boundary == self._skeleton.sink}
        return blocked - {self._address(step) for step in ends}

    def _call_anchor(self, step: Step, before: Step) -> Site | str:
        near = reach(
            self._function.successors,
            self._function.successors.get(self._address(before), ()),
            self._blocked(before) | {self._address(before)},
        )
        found = [c for c in self._function.calls if c.address in near and calls_any(c, step.names)]
        if len(found) != 1:
            return f"{len(found)} such calls can follow the {before} directly, and one is needed"
        return Site(found[0], f"call of {found[0].names[0]}; the only one that can follow the {before}")

    def _between(self, start: Step, between: list[Step | Choice], end: Step | None) -> None:
        """Finds the steps between two anchors, in order, on the paths from the one to the other."""
        sink = end or next((s for s in self._sites if s.boundary == self._skeleton.sink), None)
        if sink is None:
            self._give_up(between, "the loop's top was not found")
            return
        segment = Segment(self._function, self._address(start), self._address(sink), self._blocked(start, sink))
        if not segment.connected:
            self._give_up(between, f"no path leads from the {start} to the {sink}")
            if end is not None:
                self._miss(end, f"no path leads to it from the {start}: not the protocol's order")
                del self._sites[end]
            return
        calls = [c for c in self._function.calls if c.address in segment.nodes]
        ordered = segment.unavoidable(calls)
        ways = [self._lay(steps, start, sink, ordered, calls) for steps in self._alternatives(between)]
        found = min(ways, key=_missing)
        witnessed = True
        for step, site in found.items():
            self._keep(step, site)
            witnessed = witnessed and (step.optional or isinstance(site, Site))
        if not witnessed:  # a rib is missing: what was found around it may be something else
            for step in found:
                if step in self._sites:
                    self._sites[step] = replace(self._sites[step], proven=False)

    def _alternatives(self, between: list[Step | Choice]) -> list[list[Step]]:
        """Every way to do a stretch that the primary's calls allow; at least one."""
        choices: list[list[Step | Way]] = [
            [way for way in item.ways if self._allowed(way)] if isinstance(item, Choice) else [item] for item in between
        ]
        alternatives = list[list[Step]]()
        for picked in itertools.product(*choices):
            steps: list[Step] = []
            for one in picked:
                steps += one.steps if isinstance(one, Way) else [one]
            alternatives.append(steps)
        return alternatives

    def _allowed(self, way: Way) -> bool:
        return not way.unless_called or (
            self._primary_calls is not None and way.unless_called not in self._primary_calls
        )

    def _lay(
        self, steps: list[Step], start: Step, sink: Step, ordered: list[Instruction], calls: list[Instruction]
    ) -> _Found:
        """What each step of one way is, or why it is nothing."""
        found: _Found = {}
        before, where, position = start, self._address(start), 0
        span = f"from the {start} to the {sink}"
        lost: Step | None = None
        for step in steps:
            if lost and (step.kind in (StepKind.NEXT_CALL, StepKind.NEXT_BRANCH) or step.adjacent):
                site: Site | str = f"the {lost} before it was not found"
            elif step.kind is StepKind.AT_ANCHOR:
                site = self._at_anchor(sink, calls)
            elif step.kind is StepKind.ABSENT:
                site = step.reason
            else:
                site = self._step(step, before, where, ordered[position:], calls, span)
            found[step] = site
            if isinstance(site, str):
                lost = step
                continue
            lost = None
            if site.instruction in ordered:
                position = ordered.index(site.instruction) + 1
            before, where = step, site.instruction.address
        self._refuse_ambiguous(found, ordered)
        return found

    def _refuse_ambiguous(self, found: _Found, ordered: list[Instruction]) -> None:
        """Of the calls that may stand several times, one must stand alone before the next step's call."""
        places = [
            (step, ordered.index(site.instruction))
            for step, site in found.items()
            if isinstance(site, Site) and site.instruction in ordered
        ]
        for n, (step, place) in enumerate(places):
            if step.names in _REPEATABLE:
                end = places[n + 1][1] if n + 1 < len(places) else len(ordered)
                same = [c for c in ordered[place:end] if calls_any(c, step.names)]
                if len(same) > 1:
                    sites = ", ".join(f"{c.address:#x}" for c in same)
                    found[step] = f"{len(same)} such calls stand where one is needed: {sites}"

    def _at_anchor(self, sink: Step, calls: list[Instruction]) -> Site | str:
        if calls:
            return f"{len(calls)} calls may come before the {sink}"
        return Site(self._sites[sink].instruction, f"nothing is called before the {sink}: there")

    def _step(
        self, step: Step, before: Step, where: int, ordered: list[Instruction], calls: list[Instruction], span: str
    ) -> Site | str:
        if step.kind is StepKind.NEXT_BRANCH:
            if calls_any(self._function.instructions[where], (PUT_NUMBER,)):  # sending is not over yet
                if not ordered or not calls_any(ordered[0], (SEND_OUT,)):
                    return f"what is sent by the {before} is not seen to be sent out"
                where = ordered[0].address
            branch = straight_on(self._function, where, skip_start=True)
            if branch is None:
                return f"nothing behind the {before} is emulated and reached from there only"
            return Site(branch, f"the first emulated instruction behind the {before}, in straight line")
        if step.kind is StepKind.NEXT_CALL:
            if not ordered:
                return f"no call lies on every path {span} behind the {before}"
            name = ordered[0].names[0] if ordered[0].names else "an unnamed function"
            return Site(ordered[0], f"the next call on every path behind the {before}: of {name}")
        named = [c for c in (calls if step.optional else ordered) if calls_any(c, step.names)]
        if not named:
            return f"no such call lies on {'a' if step.optional else 'every'} path {span}, behind the {before}"
        if len(named) > 1 and step.names not in _REPEATABLE:
            return f"{len(named)} such calls lie on the paths {span}: {', '.join(f'{c.address:#x}' for c in named)}"
        if step.adjacent:
            following = next(call for call in ordered if call is named[0] or not calls_any(call, TIMEKEEPING))
            if named[0] is not following:
                return f"the next call behind the {before} is another one, at {following.address:#x}"
        return Site(named[0], f"call of {named[0].names[0]}, on {'a' if step.optional else 'every'} path {span}")


def _missing(way: _Found) -> int:
    """How many of the steps that a way must have were not found."""
    return sum(isinstance(site, str) and not step.optional for step, site in way.items())
