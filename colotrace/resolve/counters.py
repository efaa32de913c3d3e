"""Where QEMU keeps the bytes and pages that its RAM migration has sent, proven from code that uses them.

The visitor of the type that query-migrate answers names its members' offsets. Up to 7.2 `ram_counters` is an object of
that type; the second witness is acct_update_position(), which adds to exactly those offsets. From 8.0 on the counters
are atomic and in an object of their own; the second witness is qmp_query_migrate() with its helpers, which copies them
into an object of that type, counter by counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from colotrace.binary.code import Code, Function, Kind
from colotrace.binary.symbols import Symbol
from colotrace.resolve.naming import calls_any, plain
from colotrace.resolve.plan import RamCounters
from colotrace.resolve.values import register_before, values_of
from colotrace.resolve.walk import contents_of, result_of

_VISITORS = ("visit_type_MigrationStats_members", "visit_type_MigrationRAMStats_members")
"""Renamed in 11.x."""
_PAGES = ("normal", "duplicate")
_HELPERS = frozenset(("ram_transferred_add", "populate_ram_info", "fill_source_migration_info"))
"""Static functions of the users below, by the names that they have where a binary is not stripped."""
_GETTER = "stat64_get"
"""Reads a counter, where the compiler has not inlined it."""
_DEEPEST = 2


@dataclass(frozen=True)
class _Layout:
    """An object of counters, which members are summed up to the bytes, and who uses it."""

    name: str
    bytes_of: tuple[str, ...]
    user: str
    copied: bool
    """Whether the user copies the counters into an object of the visitor's type, rather than adding to one itself."""


_LAYOUTS = (
    _Layout("ram_counters", ("transferred",), "acct_update_position", False),
    _Layout("ram_atomic_counters", ("transferred",), "qmp_query_migrate", True),
    _Layout("mig_stats", ("downtime-bytes", "multifd-bytes"), "qmp_query_migrate", True),
)
"""5.0 to 7.2; 8.0, which has the first one too, for other things; from 8.1 on, where a total would include what is not
RAM: while the VM is stopped, RAM's bytes are counted as downtime's."""


def find_ram_counters(code: Code) -> RamCounters:
    """The addresses for RamCounters, or none with the reason."""
    present = [(layout, symbol) for layout in _LAYOUTS if (symbol := code.symbols.one(layout.name)) is not None]
    if not present:
        names = ", ".join(layout.name for layout in _LAYOUTS)
        return RamCounters((), (), f"this binary exports no {names}, so that its counters are not known")
    found = [_proven(code, layout, symbol) for layout, symbol in present]
    known = [counters for counters in found if counters.known]
    if len(known) > 1:
        return RamCounters((), (), f"several objects are counted in: {'; '.join(one.evidence for one in known)}")
    return known[0] if known else RamCounters((), (), "; ".join(one.evidence for one in found))


def _proven(code: Code, layout: _Layout, counters: Symbol) -> RamCounters:
    """The counters of one object, if its user and the visitor agree about them."""
    visitor = next(filter(None, map(code.symbols.one, _VISITORS)), None)
    user = code.symbols.one(layout.user)
    for name, symbol in ((" or ".join(_VISITORS), visitor), (layout.user, user)):
        if symbol is None:
            return RamCounters((), (), f"this binary exports no {name}, so that its counters are not known")
    assert visitor and user
    offsets = _member_offsets(code, code.function(visitor.address))
    wanted = layout.bytes_of + _PAGES
    absent = [name for name in wanted if name not in offsets]
    if absent:
        return RamCounters((), (), f"{visitor.name} does not tell the offset of {', '.join(absent)}")
    if len({offsets[name] for name in wanted}) < len(wanted):
        return RamCounters((), (), f"{visitor.name} puts two of {', '.join(wanted)} at one offset")
    if layout.copied:
        return _copied(code, layout, counters, user, {name: offsets[name] for name in wanted})
    used = _referenced(code, code.function(user.address))
    unused = [name for name in wanted if counters.address + offsets[name] not in used]
    if unused:
        reason = f"{user.name} does not use {counters.name}' {', '.join(unused)} at the visitor's offset"
        return RamCounters((), (), reason)
    return RamCounters(
        tuple(counters.address + offsets[name] for name in layout.bytes_of),
        tuple(counters.address + offsets[name] for name in _PAGES),
        f"{counters.name}: offsets {', '.join(f'{name} {offsets[name]}' for name in wanted)} from {visitor.name}, "
        f"each used by {user.name}",
    )


def _copied(code: Code, layout: _Layout, counters: Symbol, user: Symbol, offsets: Mapping[str, int]) -> RamCounters:
    """The counters that a function under `user` copies to the offsets of an object of the visitor's type."""
    for function in _with_helpers(code, code.function(user.address), _DEEPEST):
        copies = _copies(code, function, counters)
        sources = {name: copies.get(offset, set()) for name, offset in offsets.items()}
        if not all(sources.values()):
            continue
        at = {name: next(iter(found)) for name, found in sources.items()}
        if any(len(found) > 1 for found in sources.values()) or len(set(at.values())) < len(at):
            return RamCounters((), (), f"{user.name} does not copy each of {', '.join(offsets)} from one counter")
        words = ", ".join(f"{name} at {at[name] - counters.address}" for name in offsets)
        return RamCounters(
            tuple(at[name] for name in layout.bytes_of),
            tuple(at[name] for name in _PAGES),
            f"{counters.name}: {words}, by what {user.name} copies into its answer",
        )
    return RamCounters((), (), f"nothing under {user.name} copies {', '.join(offsets)} out of {counters.name}")


def _with_helpers(code: Code, function: Function, depth: int) -> list[Function]:
    """A function and its helpers, and those that they call."""
    found = [function]
    if depth:
        for target in sorted(_called(code, function)):
            if _is_helper(code.names_of(target)) and target != function.entry:
                found += _with_helpers(code, code.function(target), depth - 1)
    return found


def _is_helper(names: Iterable[str]) -> bool:
    """Whether a function may be a static helper: it has no name, or is a copy of one that is known to be."""
    return plain(names) <= _HELPERS


def _called(code: Code, function: Function) -> set[int]:
    """The functions that one calls; where it jumps by a table, also what looks like such a call within its bounds.

    What looks like one is only looked into: it proves nothing by itself.
    """
    targets = {call.target for call in function.calls if call.target is not None and code.image.is_code(call.target)}
    bounds = code.bounds.containing(function.entry)
    if function.indirect and bounds is not None:
        data = code.image.read(bounds[0], bounds[1] - bounds[0])
        targets.update(target for target in code.isa.calls_in(data, bounds[0]) if code.bounds.is_start(target))
    return targets


def _copies(code: Code, function: Function, counters: Symbol) -> dict[int, set[int]]:
    """Offset in some object -> the counters that are stored there, unchanged."""
    values, copies = values_of(code, function), dict[int, set[int]]()
    addresses = range(counters.address, counters.address + counters.size, 8)
    inside = {contents_of(at): at for at in addresses}
    for call in function.calls:
        if call.kind is Kind.CALL and calls_any(call, (_GETTER,)):
            given = values.before(call.address, code.isa.arguments[0])
            if given is not None and given.base is None and given.offset in addresses:
                inside[result_of(call.address)] = given.offset
    for instruction in function.instructions.values():
        for offset, value in values.stored(instruction):
            if value in inside:
                copies.setdefault(offset, set()).add(inside[value])
    return copies


def _member_offsets(code: Code, visitor: Function) -> dict[str, int]:
    """Member name -> offset: every visit_type_*(v, name, obj + offset, errp) call, obj being the second argument."""
    offsets: dict[str, int] = {}
    second, third = code.isa.arguments[1:3]
    for call in visitor.calls:
        name = register_before(code, visitor, call.address, second)
        member = register_before(code, visitor, call.address, third)
        if name is None or name.base is not None or member is None or member.base != second:
            continue
        text = code.image.read_string(name.offset)
        if text:
            offsets[text] = member.offset
    return offsets


def _referenced(code: Code, function: Function) -> set[int]:
    """The addresses that a function and its helpers have in operands."""
    functions = [function]
    for call in function.calls:
        if call.kind is Kind.CALL and call.target is not None and _is_helper(call.names):
            functions.append(code.function(call.target))
    return set().union(*(values_of(code, one).addresses() for one in functions))
