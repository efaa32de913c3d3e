"""Questions about the paths through a function. Addresses are nodes; all answers hold for every path in the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from colotrace.binary.code import Function, Instruction

Edges = Mapping[int, Sequence[int]]


def reach(edges: Edges, starts: Iterable[int], avoid: AbstractSet[int]) -> set[int]:
    """What can be reached from `starts` (included, unless avoided) without stepping on `avoid`."""
    seen: set[int] = set()
    todo = [start for start in starts if start not in avoid]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(edge for edge in edges.get(node, ()) if edge not in avoid and edge not in seen)
    return seen


class Segment:
    """All paths of a function from `source` to `sink` that pass neither of the two in between, nor any of `avoid`."""

    def __init__(self, function: Function, source: int, sink: int, avoid: Iterable[int]) -> None:
        self._function = function
        self.source, self.sink = source, sink
        blocked = set(avoid) | {source, sink}
        forward = reach(function.successors, function.successors.get(source, ()), blocked)
        backward = reach(function.predecessors, function.predecessors.get(sink, ()), blocked)
        self.nodes = forward & backward
        self.connected = sink in function.successors.get(source, ()) or bool(self.nodes)

    def instructions(self) -> list[Instruction]:
        """The instructions strictly between source and sink, by address."""
        return [self._function.instructions[node] for node in sorted(self.nodes)]

    def unavoidable(self, candidates: Iterable[Instruction]) -> list[Instruction]:
        """Those candidates that every path passes, in the order in which every path passes them."""
        outside = self._function.instructions.keys() - self.nodes - {self.sink}
        before: dict[int, set[int]] = {}
        found = []
        for candidate in candidates:
            if candidate.address not in self.nodes:
                continue
            starts = self._function.successors.get(self.source, ())
            seen = reach(self._function.successors, starts, outside | {candidate.address})
            if self.sink not in seen:
                before[candidate.address] = seen
                found.append(candidate)
        return sorted(found, key=lambda c: sum(other.address in before[c.address] for other in found))


def straight_on(function: Function, start: int, *, skip_start: bool) -> Instruction | None:
    """The first emulated instruction from `start` on, in straight line: nothing jumps in between, nothing leaves.

    None if the line ends first. With `skip_start` the instruction at `start` itself does not count.
    """
    node, passed = start, {start}
    if not skip_start and function.instructions[node].emulated:
        return function.instructions[node]
    while True:
        successors = function.successors.get(node, ())
        if len(successors) != 1 or len(function.predecessors.get(successors[0], ())) != 1:
            return None
        node = successors[0]
        if node in passed:
            return None
        passed.add(node)
        instruction = function.instructions.get(node)
        if instruction is None:
            return None
        if instruction.emulated:
            return instruction
