"""Frozen dataclasses as JSON's types and back, driven by their annotations: for plans kept from run to run.

What comes back is built by the classes' own constructors from values of the annotated types, and of nothing else: no
code is named in the data, and what does not fit exactly is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """A value as objects, arrays, strings, numbers, booleans and null; an enum as its value, bytes in hexadecimal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return [[to_plain(key), to_plain(one)] for key, one in value.items()]
    if isinstance(value, tuple):
        return [to_plain(one) for one in value]
    return value


def from_plain(kind: type[T], data: Any) -> T:
    """The value of a type that to_plain() has made this of. Raises ValueError for anything else."""
    return typing.cast(T, _value(kind, data))


def _value(kind: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if data is None and type(None) in arguments else _value(_only(arguments), data)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_value(arguments[0], one) for one in _of_type(list, data))
        items = _of_type(list, data)
        if len(items) != len(arguments):
            raise ValueError(f"{len(items)} values for {kind}")
        return tuple(_value(one, item) for one, item in zip(arguments, items, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        pairs = [(_value(arguments[0], key), _value(arguments[1], one)) for key, one in _of_type(list, data)]
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        if _of_type(dict, data).keys() != hints.keys():
            raise ValueError(f"not the fields of {kind}")
        return kind(**{name: _value(hint, data[name]) for name, hint in hints.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    if kind is bytes:
        return bytes.fromhex(_of_type(str, data))
    if kind not in (str, int, bool, float):
        raise ValueError(f"no rule for {kind}")
    return _of_type(kind, data)


def _only(arguments: tuple[Any, ...]) -> Any:
    (one,) = (argument for argument in arguments if argument is not type(None))  # ValueError if there are more
    return one


def _of_type(kind: type, data: Any) -> Any:
    if type(data) is not kind:
        raise ValueError(f"a {type(data).__name__} in the place of a {kind.__name__}")
    return data


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
