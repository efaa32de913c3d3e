"""QMP requests and error replies as QEMU's qapi/qmp-dispatch.c makes them; the wording is QEMU's. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from qemu.qmp.message import Message

OOB = "exec-oob"
COMMAND_NOT_FOUND = "CommandNotFound"
GENERIC_ERROR = "GenericError"
NEGOTIATE = "qmp_capabilities"


class RequestError(Exception):
    """A request is refused. `error_class` is QMP's; the text is the description for people."""

    def __init__(self, desc: str, error_class: str = GENERIC_ERROR) -> None:
        super().__init__(desc)
        self.error_class = error_class


def error_reply(desc: str, error_class: str = GENERIC_ERROR) -> Message:
    """An error reply, still without an id."""
    return Message({"error": {"class": error_class, "desc": desc}}, eager=False)


def return_reply(value: object) -> Message:
    """A reply of success, still without an id."""
    return Message({"return": value}, eager=False)


def with_id(reply: Message, request: Mapping[str, object]) -> Message:
    """The reply with the request's id, whatever JSON value that is; without one if the request has none."""
    return Message({**reply, "id": request["id"]}, eager=False) if "id" in request else reply


def command_of(request: Mapping[str, object], *, oob: bool) -> str:
    """The command's name in a request that is well formed. Raises RequestError.

    `oob`: whether out-of-band execution has been negotiated, without which QEMU does not know `exec-oob`.
    """
    name: object = None
    key = ""
    for member, value in request.items():
        if member == "execute" or (member == OOB and oob):
            if key:
                raise RequestError(f"QMP input member '{member}' clashes with '{key}'")
            key, name = member, value
        elif member == "arguments":
            if not isinstance(value, dict):
                raise RequestError("QMP input member 'arguments' must be an object")
        elif member != "id":
            raise RequestError(f"QMP input member '{member}' is unexpected")
    if not key:
        raise RequestError("QMP input lacks member 'execute'")
    if not isinstance(name, str):
        raise RequestError(f"QMP input member '{key}' must be a string")
    return name


def arguments_of(request: Mapping[str, object], *known: str) -> dict[str, object]:
    """The arguments of a request that command_of() has found well formed. Raises RequestError for unknown ones."""
    arguments = request.get("arguments", {})
    assert isinstance(arguments, dict)
    for name in arguments:
        if name not in known:
            raise RequestError(f"Parameter '{name}' is unexpected")
    return arguments


def negotiated_oob(request: Mapping[str, object], *, offered: bool) -> bool:
    """Whether a qmp_capabilities request enables out-of-band execution. Raises RequestError for what is not offered."""
    enable = arguments_of(request, "enable").get("enable", [])
    if not isinstance(enable, list):
        raise RequestError("Invalid parameter type for 'enable', expected: array")
    for capability in enable:
        if capability != "oob":
            raise RequestError(f"Parameter 'enable' does not accept value '{capability}'")
        if not offered:
            raise RequestError("Capability oob not available")
    return bool(enable)
