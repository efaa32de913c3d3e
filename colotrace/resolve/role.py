"""Lays one role's skeleton over its function: anchors first, then what lies between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from colotrace.binary.code import Code, Instruction
from colotrace.phases import BOUNDARIES, ROLE_PHASES, Boundary, Mark, Phase, phase_ends
from colotrace.resolve.messages import MessageCall, Messenger, message_calls
from colotrace.resolve.paths import Segment, reach, straight_on
from colotrace.resolve.plan import Probe, Quality, RolePlan, Unresolved
from colotrace.resolve.skeleton import COLO_EXIT, LOCK, UNLOCK, Skeleton, Step, StepKind

_MESSENGERS = {
    StepKind.SEND: Messenger.SEND,
    StepKind.RECEIVE: Messenger.RECEIVE_CHECK,
    StepKind.RECEIVE_ANY: Messenger.RECEIVE,
}
_REPEATABLE = (LOCK, UNLOCK)
"""Calls that may stand several times between two anchors; the first one after the step before is meant."""


@dataclass(frozen=True)
class _Site:
    """Where a step was found."""

    instruction: Instruction
    evidence: str
    proven: bool = True


class RoleResolver:
    """Resolves one role. `has_messages` tells whether its function exchanges COLO messages at all."""

    def __init__(self, code: Code, skeleton: Skeleton, root: int, numbers: dict[Mark, int]) -> None:
        self._code, self._skeleton, self._numbers = code, skeleton, numbers
        self._function = code.function(root)
        self._messages = message_calls(code, self._function)
        self._sites: dict[Step, _Site] = {}
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
        anchors = [step for step in self._skeleton.steps if step.anchor]
        for step in anchors:
            if step.kind is not StepKind.CALL:
                self._keep(step, self._message_anchor(step) if step.message else self._entry(step))
        stretches = self._stretches()
        for at, (start, between, end) in enumerate(stretches):
            if end is not None and end.kind is StepKind.CALL and start in self._sites:
                self._keep(end, self._call_anchor(end, start))
            if at and start not in self._sites:
                self._give_up(between, f"the {start} before it was not found")
            elif end is not None and end not in self._sites:
                self._give_up(between, f"the {end} after it was not found")
            elif start in self._sites:
                self._between(start, between, end)
        return self._plan()

    def _stretches(self) -> list[tuple[Step, list[Step], Step | None]]:
        """(anchor, the steps between, the next anchor); None after the last."""
        stretches: list[tuple[Step, list[Step], Step | None]] = []
        start, between = self._skeleton.steps[0], list[Step]()
        for step in self._skeleton.steps[1:]:
            if step.anchor:
                stretches.append((start, between, step))
                start, between = step, []
            else:
                between.append(step)
        stretches.append((start, between, None))
        return stretches

    def _keep(self, step: Step, found: _Site | str) -> None:
        if isinstance(found, _Site):
            self._sites[step] = found
        else:
            self._miss(step, found)

    def _miss(self, step: Step, reason: str) -> None:
        what = f"{step.boundary}: {step}" if step.boundary else f"witness: {step}"
        self.unresolved.append(Unresolved(self._skeleton.role, what, reason))

    def _give_up(self, steps: list[Step], reason: str) -> None:
        for step in steps:
            if step.boundary:
                self._miss(step, reason)

    def _doubts(self) -> None:
        """What may make the graph or the messages incomplete."""
        role, root = self._skeleton.role, self._skeleton.root
        for address in self._function.indirect:
            self.unresolved.append(Unresolved(role, f"jump at {address:#x}", f"{root} jumps to where a table says"))
        for address in self._function.undecoded:
            self.unresolved.append(Unresolved(role, f"code at {address:#x}", f"{root} goes there; it does not decode"))
        for message in self._messages:
            if message.number is None and message.messenger is not Messenger.RECEIVE:
                self.unresolved.append(
                    Unresolved(
                        role, f"{message.messenger.value} at {message.call.address:#x}", "its number is not clear"
                    )
                )
        self._whole = not self.unresolved

    def _entry(self, step: Step) -> _Site | str:
        """The entry; for a boundary, its first instruction that the kernel emulates."""
        first = self._function.instructions.get(self._function.entry)
        if first is None:
            return f"{self._skeleton.root} does not decode"
        if step.boundary is None:
            return _Site(first, "entry")
        found = straight_on(self._function, first.address, skip_start=False)
        if found is None:
            return "no instruction at its start is one that the kernel emulates"
        return _Site(found, f"the first emulated instruction of {self._skeleton.root}")

    def _message_anchor(self, step: Step) -> _Site | str:
        assert step.message is not None
        number = None if step.kind is StepKind.RECEIVE_ANY else self._numbers[step.message]
        messenger = _MESSENGERS[step.kind]
        found = [m for m in self._messages if m.messenger is messenger and m.number == number]
        if len(found) != 1:
            sites = ", ".join(f"{m.call.address:#x}" for m in found) or "none"
            return f"{len(found)} calls of {messenger.value} with this number, and one is needed: {sites}"
        return _Site(found[0].call, self._message_evidence(found[0], step))

    def _message_evidence(self, message: MessageCall, step: Step) -> str:
        what = f"call of {message.messenger.value} ({message.evidence})"
        if message.number is not None and step.message is not None:
            what += f", second argument {message.number} = {step.message.value}"
        return f"{what}; the only such call in {self._skeleton.root}"

    def _address(self, step: Step) -> int:
        """A step's address in paths: the entry itself, where the probe may sit a few instructions further."""
        return self._function.entry if step.kind is StepKind.ENTRY else self._sites[step].instruction.address

    def _blocked(self, *ends: Step) -> set[int]:
        """What a path between two anchors must not pass: any other message, and the loop's top."""
        blocked = {m.call.address for m in self._messages}
        blocked |= {self._address(step) for step in self._sites if step.anchor or step.boundary == self._skeleton.sink}
        return blocked - {self._address(step) for step in ends}

    def _call_anchor(self, step: Step, before: Step) -> _Site | str:
        near = reach(
            self._function.successors,
            self._function.successors.get(self._address(before), ()),
            self._blocked(before) | {self._address(before)},
        )
        found = [c for c in self._function.calls if c.address in near and set(c.names) & set(step.names)]
        if len(found) != 1:
            return f"{len(found)} such calls can follow the {before} directly, and one is needed"
        return _Site(found[0], f"call of {found[0].names[0]}; the only one that can follow the {before}")

    def _between(self, start: Step, steps: list[Step], end: Step | None) -> None:
        """Finds the steps between two anchors, in order, on the paths from the one to the other."""
        sink = end or next((s for s in self._sites if s.boundary == self._skeleton.sink), None)
        if sink is None:
            self._give_up(steps, "the loop's top was not found")
            return
        segment = Segment(self._function, self._address(start), self._address(sink), self._blocked(start, sink))
        if not segment.connected:
            self._give_up(steps, f"no path leads from the {start} to the {sink}")
            if end is not None:
                self._miss(end, f"no path leads to it from the {start}: not the protocol's order")
                del self._sites[end]
            return
        calls = [c for c in self._function.calls if c.address in segment.nodes]
        ordered = segment.unavoidable(calls)
        span = f"from the {start} to the {sink}"
        before, position, witnessed = start, 0, True
        lost: Step | None = None
        for step in steps:
            if lost and step.kind in (StepKind.NEXT_CALL, StepKind.NEXT_BRANCH):
                found: _Site | str = f"the {lost} before it was not found"
            else:
                found = self._step(step, before, ordered[position:], calls, span)
            if isinstance(found, str):
                self._miss(step, found)
                witnessed = witnessed and step.optional
                lost = step
                continue
            lost = None
            self._sites[step] = found
            if found.instruction in ordered:
                position = ordered.index(found.instruction) + 1
            before = step
        if not witnessed:  # a rib is missing: what was found around it may be something else
            for step in steps:
                if step in self._sites:
                    self._sites[step] = replace(self._sites[step], proven=False)

    def _step(
        self, step: Step, before: Step, ordered: list[Instruction], calls: list[Instruction], span: str
    ) -> _Site | str:
        if step.kind is StepKind.NEXT_BRANCH:
            branch = straight_on(self._function, self._address(before), skip_start=True)
            if branch is None:
                return f"nothing behind the {before} is emulated and reached from there only"
            return _Site(branch, f"the first emulated instruction behind the {before}, in straight line")
        if step.kind is StepKind.NEXT_CALL:
            if not ordered:
                return f"no call lies on every path {span} behind the {before}"
            name = ordered[0].names[0] if ordered[0].names else "an unnamed function"
            return _Site(ordered[0], f"the next call on every path behind the {before}: of {name}")
        named = [c for c in (calls if step.optional else ordered) if set(c.names) & set(step.names)]
        if not named:
            return f"no such call lies on {'a' if step.optional else 'every'} path {span}, behind the {before}"
        if len(named) > 1 and step.names not in _REPEATABLE:
            return f"{len(named)} such calls lie on the paths {span}: {', '.join(f'{c.address:#x}' for c in named)}"
        return _Site(named[0], f"call of {named[0].names[0]}, on {'a' if step.optional else 'every'} path {span}")

    def _plan(self) -> RolePlan:
        role = self._skeleton.role
        boundaries = BOUNDARIES[role]
        found = {step.boundary: site for step, site in self._sites.items() if step.boundary}
        probes = [self._probe(boundaries[name], site) for name, site in found.items() if self._worth(name, site)]
        for call in self._function.calls:
            if COLO_EXIT in call.names:
                site = _Site(call, f"call of {COLO_EXIT}; mode and reason are its arguments")
                probes.append(self._probe(boundaries["colo-exit"], site))
        order = list(boundaries)
        probes.sort(key=lambda probe: (order.index(probe.boundary.name), probe.address))
        phases: dict[Phase, Quality | None] = {}
        for phase in ROLE_PHASES[role]:
            ends = [found.get(boundary.name) for boundary in phase_ends(role, phase)]
            if all(ends):
                exact = self._whole and all(end and end.proven for end in ends)
                phases[phase] = Quality.EXACT if exact else Quality.PARTIAL
            else:
                phases[phase] = None
        return RolePlan(role, self._skeleton.root, phases, tuple(probes))

    def _worth(self, name: str, site: _Site) -> bool:
        """Whether to probe it. A phase may be partial; a mark, a size or the pause is proven or left out."""
        boundary = BOUNDARIES[self._skeleton.role][name]
        if site.proven or boundary.closes or boundary.opens:
            return True
        reason = "another call of its stretch is missing, and what was found may be something else"
        self.unresolved.append(Unresolved(self._skeleton.role, name, reason))
        return False

    def _probe(self, boundary: Boundary, site: _Site) -> Probe:
        proven = site.proven and self._whole
        return make_probe(self._code, self._skeleton, boundary, site.instruction, site.evidence, proven)


def make_probe(
    code: Code, skeleton: Skeleton | None, boundary: Boundary, instruction: Instruction, evidence: str,
    proven: bool = True, function: str | None = None,
) -> Probe:  # fmt: skip
    """A Probe for an instruction of `code`; without a skeleton it belongs to the whole process."""
    offset = code.image.offset_of(instruction.address)
    assert offset is not None, "an instruction that was decoded from the file has an offset in it"
    return Probe(
        role=skeleton.role if skeleton else None,
        boundary=boundary,
        function=function or (skeleton.root if skeleton else ""),
        address=instruction.address,
        file_offset=offset,
        data=instruction.data,
        instruction=_text(instruction),
        emulated=instruction.emulated,
        evidence=evidence,
        proven=proven,
    )


def _text(instruction: Instruction) -> str:
    return f"{instruction.text} <{instruction.names[0]}>" if instruction.names else instruction.text
