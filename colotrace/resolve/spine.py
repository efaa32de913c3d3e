"""A role's function with its own helpers laid out inside it: one graph of all that the COLO thread does itself.

How much of colo.c ends up in the role's function is the compiler's choice: at -O2 everything, at -O0 nothing but calls
of helpers. A helper that is called from one place only is entered there: the call leads to its first instruction, and
its returns lead behind the call. Every address still stands for one moment of the thread's way.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from colotrace.binary.code import Code, Function, Instruction, Kind

_MOST_HELPERS = 40
"""colo.c has about ten; a bound for hostile files."""


@dataclass
class Spine(Function):
    """`entered` maps a call to the helper's entry, `returns` the place behind it to the call and the helper's ends.

    `repeated` lists calls of helpers that are called from several places and are therefore not laid out: an address in
    them would stand for several moments.
    """

    entered: dict[int, int] = field(default_factory=dict)
    returns: dict[int, tuple[int, frozenset[int]]] = field(default_factory=dict)
    repeated: list[Instruction] = field(default_factory=list)


def lay_out(
    code: Code, root: int, is_helper: Callable[[int], bool], shared: AbstractSet[int] = frozenset()
) -> Spine:
    """The function at `root` with the helpers it calls; `is_helper` tells which functions are to be laid out.

    `shared` are helpers that others call as well.
    """
    helpers: dict[int, list[Instruction]] = {}
    functions = {root: code.function(root)}
    todo = [root]
    while todo and len(functions) <= _MOST_HELPERS:
        for call in functions[todo.pop()].calls:
            target = call.target
            if target is None or not code.image.is_code(target) or not is_helper(target):
                continue
            helpers.setdefault(target, []).append(call)
            if target not in functions:
                functions[target] = code.function(target)
                todo.append(target)
    spine = Spine(root)
    once = {target: calls[0] for target, calls in helpers.items() if len(calls) == 1 and target not in {root, *shared}}
    order = _entered_from(root, functions, once)
    for entry in order:
        part = functions[entry]
        if spine.instructions.keys() & part.instructions.keys():
            spine.undecoded.append(entry)  # shares code with another one: its places would stand for two moments
            continue
        spine.instructions.update(part.instructions)
        spine.successors.update(part.successors)
        spine.indirect += part.indirect
        spine.undecoded += part.undecoded
    for entry in order[1:]:
        if entry in spine.instructions and once[entry].address in spine.instructions:
            _enter(spine, functions[entry], once[entry])
    for target, calls in helpers.items():
        if target not in once or target not in spine.entered.values():
            spine.repeated += [call for call in calls if call.address in spine.instructions]
    for address, successors in spine.successors.items():
        for successor in successors:
            spine.predecessors.setdefault(successor, []).append(address)
    return spine


def _entered_from(root: int, functions: dict[int, Function], once: dict[int, Instruction]) -> list[int]:
    """The root and the helpers that it reaches through calls that are entered; a caller stands before its helper."""
    order = [root]
    for entry in order:
        inside = functions[entry].instructions
        order += [target for target, call in once.items() if call.address in inside and target not in order]
    return order


def _enter(spine: Spine, helper: Function, call: Instruction) -> None:
    """Leads a call into its helper, and the helper's ends to where the call returns."""
    back = spine.successors[call.address]
    ends = frozenset(
        address
        for address, instruction in helper.instructions.items()
        if instruction.kind is Kind.RETURN or (instruction.kind is Kind.JUMP and not helper.successors[address])
    )
    spine.successors[call.address] = (helper.entry,)
    spine.entered[call.address] = helper.entry
    for end in ends:
        spine.successors[end] = back
    if call.kind is Kind.CALL:  # a tail call returns to where its caller would
        for place in back:
            spine.returns[place] = (call.address, ends)
