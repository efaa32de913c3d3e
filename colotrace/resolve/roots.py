"""Where a role's function begins: by its name, or from the code that starts its thread."""

from __future__ import annotations

from colotrace.binary.code import Code, Kind
from colotrace.phases import Role
from colotrace.resolve.naming import calls_any
from colotrace.resolve.skeleton import INCOMING_COROUTINE, THREAD_CREATE, Skeleton
from colotrace.resolve.values import register_before


def find_root(code: Code, skeleton: Skeleton) -> tuple[int, str] | str:
    """The address of a role's function and how it was found; or why it was not."""
    found = code.symbols.find(skeleton.root)
    if len(found) == 1:
        address, how = found[0].address, f"by its name in {found[0].source}"
    elif found or skeleton.role is not Role.SECONDARY:
        sources = " and ".join(code.symbols.sources) or "a file without symbols"
        return f"{len(found)} functions of that name in {sources}"
    else:
        started = _started_by_coroutine(code)
        if isinstance(started, str):
            sources = " and ".join(code.symbols.sources) or "a file without symbols"
            return f"0 functions of that name in {sources}, and {started}"
        address, how = started, f"as the third argument of the call of {THREAD_CREATE} in {INCOMING_COROUTINE}"
    if not code.is_function_start(address):
        return f"{how}, it is at {address:#x}, where by .eh_frame_hdr no function begins"
    return address, how


def _started_by_coroutine(code: Code) -> int | str:
    """The function whose thread colo_incoming_co() creates; or why it is not known."""
    coroutine = code.symbols.one(INCOMING_COROUTINE)
    if coroutine is None:
        return f"no {INCOMING_COROUTINE} that would start it"
    if not code.is_function_start(coroutine.address):
        return f"by .eh_frame_hdr no function begins where {INCOMING_COROUTINE} should"
    function = code.function(coroutine.address)
    calls = [call for call in function.calls if call.kind is Kind.CALL and calls_any(call, (THREAD_CREATE,))]
    if len(calls) != 1:
        return f"{len(calls)} calls of {THREAD_CREATE} in {INCOMING_COROUTINE}, and one is needed"
    value = register_before(code, function, calls[0].address, code.isa.arguments[2])
    if value is None or value.base is not None or not code.image.is_code(value.offset):
        return f"the code of {INCOMING_COROUTINE} does not tell which function {THREAD_CREATE} gets"
    return value.offset
