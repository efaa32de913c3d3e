"""Puts lines into C code at places that are described by its structure: a function, a call in it, before or after.

Every place must be there exactly once, and the places of a function in the order in which they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tree_sitter import Node

from .csource import BLOCKS, CSource, FoundCall, Function
from .errors import MismatchError


class Side(Enum):
    """On which side of the statement the line goes."""

    BEFORE = "before"
    """A line of its own above it."""
    AFTER = "after"
    """A line of its own below it."""


@dataclass(frozen=True)
class Call:
    """The one call of `name`, with `argument` among its arguments if given, between the calls `after` and `before`."""

    name: str
    argument: str | None = None
    after: Call | None = None
    before: Call | None = None

    def __str__(self) -> str:
        text = f"{self.name}({'' if self.argument is None else f'..., {self.argument}, ...'})"
        if self.after is not None:
            text += f" after {self.after}"
        return text if self.before is None else f"{text} {'and ' if self.after else ''}before {self.before}"

    def accepts(self, call: FoundCall) -> bool:
        """Whether name and argument fit."""
        return call.name == self.name and (self.argument is None or self.argument in call.arguments)


@dataclass(frozen=True)
class LoopAround:
    """The outermost loop around a call."""

    call: Call

    def __str__(self) -> str:
        return f"a loop around {self.call}"


@dataclass(frozen=True)
class FirstStatement:
    """The function's first statement after its declarations."""

    def __str__(self) -> str:
        return "a first statement"


Anchor = Call | LoopAround | FirstStatement


@dataclass(frozen=True)
class Hook:
    """A line for a function. `line` may hold {assigned}, what the call's result is assigned to, and {argument1},
    {argument2}, ... and {last_argument}, the texts of the call's arguments."""

    function: str
    side: Side
    anchor: Anchor
    line: str


@dataclass(frozen=True)
class Edit:
    """Text to insert at an offset in bytes."""

    offset: int
    text: str


def insert(name: str, text: str, hooks: Sequence[Hook], include: str) -> str:
    """The C file with an #include of `include` and every hook's line in it. MismatchError, naming what was looked for
    and where, if it does not fit; `name` is the file's, for messages."""
    source = CSource(name, text)
    edits = [_include(source, include)]
    last: dict[str, Edit] = {}
    for hook in hooks:
        edit = _edit(source, hook)
        before = last.get(hook.function)
        if before is not None and edit.offset < before.offset:
            raise MismatchError(
                f"{name}: in {hook.function}(), {hook.anchor} comes before what it was expected to follow "
                f"({before.text.strip()} goes there)"
            )
        last[hook.function] = edit
        edits.append(edit)
    return _apply(source.data, edits)


def _include(source: CSource, header: str) -> Edit:
    node = source.last_include()
    newline = b"" if source.data[node.start_byte : node.end_byte].endswith(b"\n") else b"\n"
    line = f'#include "{header}"'
    return Edit(node.end_byte, f"{newline.decode()}{line}" + ("" if newline else "\n"))


def _edit(source: CSource, hook: Hook) -> Edit:
    function = source.function(hook.function)
    statement, call = _find(source, function, hook.anchor)
    if statement.parent is None or statement.parent.type not in BLOCKS:
        raise MismatchError(
            f"{source.name}: in {hook.function}(), {hook.anchor} is not a statement in a block: "
            "a line beside it would change what it belongs to"
        )
    line = _fill(source, hook, call)
    indent = " " * statement.start_point[1]
    if hook.side is Side.BEFORE:
        return Edit(statement.start_byte, f"{line}\n{indent}")
    return Edit(statement.end_byte, f"\n{indent}{line}")


def _find(source: CSource, function: Function, anchor: Anchor) -> tuple[Node, FoundCall | None]:
    where = f"{source.name}: in {function.name}()"
    if isinstance(anchor, FirstStatement):
        first = function.first_statement()
        if first is None:
            raise MismatchError(f"{where}, {anchor} was looked for: there is none")
        return first, None
    if isinstance(anchor, LoopAround):
        loop = _the_call(where, function, anchor.call).outermost_loop()
        if loop is None:
            raise MismatchError(f"{where}, {anchor} was looked for: the call is in no loop")
        return loop, None
    call = _the_call(where, function, anchor)
    statement = call.statement()
    if statement is None:
        raise MismatchError(f"{where}, {anchor} was looked for as a statement: it is part of a larger one")
    return statement, call


def _the_call(where: str, function: Function, wanted: Call) -> FoundCall:
    calls = [call for call in function.calls if wanted.accepts(call)]
    if wanted.after is not None:
        begin = _the_call(where, function, wanted.after).position
        calls = [call for call in calls if call.position > begin]
    if wanted.before is not None:
        end = _the_call(where, function, wanted.before).position
        calls = [call for call in calls if call.position < end]
    if len(calls) != 1:
        raise MismatchError(f"{where}, one call {wanted} was looked for: found {len(calls)}")
    return calls[0]


def _fill(source: CSource, hook: Hook, call: FoundCall | None) -> str:
    values: dict[str, str] = {}
    if call is not None:
        values = {f"argument{number}": text for number, text in enumerate(call.arguments, 1)}
        if call.arguments:
            values["last_argument"] = call.arguments[-1]
        if call.assigned is not None:
            values["assigned"] = call.assigned
    try:
        return hook.line.format_map(values)
    except KeyError as error:
        raise MismatchError(
            f"{source.name}: in {hook.function}(), {hook.anchor} has no {error.args[0]} to put into {hook.line!r}"
        ) from None


def _apply(data: bytes, edits: Sequence[Edit]) -> str:
    for edit in sorted(reversed(edits), key=lambda one: one.offset, reverse=True):
        data = data[: edit.offset] + edit.text.encode() + data[edit.offset :]
    return data.decode()
