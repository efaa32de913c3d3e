"""Where QEMU keeps the bytes and pages that its RAM migration has sent, proven from code that uses them.

Up to 7.2 `ram_counters` is a MigrationStats (qapi/migration.json). Two witnesses are asked: the visitor of that type
names its members' offsets, and acct_update_position() with its helper adds to exactly those of `ram_counters`.
"""

from __future__ import annotations

from colotrace.binary.code import Code, Function, Kind
from colotrace.resolve.plan import RamCounters
from colotrace.resolve.values import register_before

_COUNTERS = "ram_counters"
_VISITOR = "visit_type_MigrationStats_members"
_USER = "acct_update_position"
_BYTES, _PAGES = ("transferred",), ("normal", "duplicate")


def find_ram_counters(code: Code) -> RamCounters:
    """The addresses for RamCounters, or none with the reason."""
    counters, visitor, user = (code.symbols.one(name) for name in (_COUNTERS, _VISITOR, _USER))
    for name, symbol in ((_COUNTERS, counters), (_VISITOR, visitor), (_USER, user)):
        if symbol is None:
            return RamCounters((), (), f"this binary exports no {name}, so that its counters are not known")
    assert counters and visitor and user
    offsets = _member_offsets(code, code.function(visitor.address))
    wanted = _BYTES + _PAGES
    absent = [name for name in wanted if name not in offsets]
    if absent:
        return RamCounters((), (), f"{_VISITOR} does not tell the offset of {', '.join(absent)}")
    if len({offsets[name] for name in wanted}) < len(wanted):
        return RamCounters((), (), f"{_VISITOR} puts two of {', '.join(wanted)} at one offset")
    used = _referenced(code, code.function(user.address))
    unused = [name for name in wanted if counters.address + offsets[name] not in used]
    if unused:
        return RamCounters((), (), f"{_USER} does not use {_COUNTERS}' {', '.join(unused)} at the visitor's offset")
    return RamCounters(
        tuple(counters.address + offsets[name] for name in _BYTES),
        tuple(counters.address + offsets[name] for name in _PAGES),
        f"{_COUNTERS}: offsets {', '.join(f'{name} {offsets[name]}' for name in wanted)} from {_VISITOR}, "
        f"each used by {_USER}",
    )


def _member_offsets(code: Code, visitor: Function) -> dict[str, int]:
    """Member name -> offset: every visit_type_*(v, name, obj + offset, errp) call, obj being the second argument."""
    offsets: dict[str, int] = {}
    for call in visitor.calls:
        name = register_before(code, visitor, call.address, "rsi")
        member = register_before(code, visitor, call.address, "rdx")
        if name is None or name.base is not None or member is None or member.base != "rsi":
            continue
        text = code.image.read_string(name.offset)
        if text:
            offsets[text] = member.offset
    return offsets


def _referenced(code: Code, function: Function) -> set[int]:
    """The data addresses that a function, and the functions of this binary it calls, take rip-relative operands of."""
    functions = [function]
    for call in function.calls:
        if call.kind is Kind.CALL and call.target is not None:
            functions.append(code.function(call.target))
    addresses = set()
    for one in functions:
        for instruction in one.instructions.values():
            address = code.data_address(instruction)
            if address is not None:
                addresses.add(address)
    return addresses
