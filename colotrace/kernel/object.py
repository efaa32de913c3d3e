"""The kernel program as the compiler leaves it: instructions, and the maps that they use. Pure: bytes in, bytes out.

Instructions name a map by its place among the maps (BPF_PSEUDO_MAP_IDX, Linux 5.14), so that they can be kept in a file
and loaded as they are. Nothing here needs to be believed: whatever the instructions are, the kernel verifies them.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from colotrace.plain import from_plain, to_plain

_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_IMM64, _CALL = 0x18, 0x85
_MAP_FD, _MAP_INDEX = 1, 5
"""What the source register of a _LOAD_IMM64 says of its number (BPF_PSEUDO_*, include/uapi/linux/bpf.h)."""


@dataclass(frozen=True)
class MapDefinition:
    """What the kernel must be told to make a map; `kind` is its BPF_MAP_TYPE."""

    name: str
    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True)
class KernelObject:
    """A program and its maps."""

    license: str
    maps: tuple[MapDefinition, ...]
    code: bytes

    def __post_init__(self) -> None:
        if not self.code or len(self.code) % _INSTRUCTION.size:
            raise ValueError(f"{len(self.code)} bytes are no instructions")

    def to_json(self, made_of: str) -> bytes:
        """For a file; `made_of` is a digest of what it was compiled from and by."""
        plain = to_plain(self)
        return json.dumps({"made_of": made_of, "object": plain, "sha256": _digest(plain)}).encode()

    @classmethod
    def from_json(cls, data: bytes, made_of: str) -> KernelObject | None:
        """What to_json() has made for the same `made_of`; None if this is anything else, or damaged."""
        try:
            kept = json.loads(data)
            if type(kept) is not dict or kept.keys() != {"made_of", "object", "sha256"} or kept["made_of"] != made_of:
                return None
            return from_plain(cls, kept["object"]) if kept["sha256"] == _digest(kept["object"]) else None
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def code_with_map_indices(code: bytes, map_fds: Sequence[int]) -> bytes:
    """Instructions that name maps by descriptors as such that name them by their place in `map_fds`.

    Raises ValueError for what would not mean the same in another process: an unknown descriptor, a program of several
    functions, any other address.
    """
    result = bytearray(code)
    places = iter(range(0, len(code), _INSTRUCTION.size))
    for at in places:
        operation, registers, offset, number = _INSTRUCTION.unpack_from(code, at)
        source = registers >> 4
        if operation == _CALL and source:
            raise ValueError(f"instruction {at // _INSTRUCTION.size} calls another function than a helper")
        if operation != _LOAD_IMM64:
            continue
        next(places, None)  # its second half
        if source == _MAP_FD:
            registers = registers & 0xF | _MAP_INDEX << 4
            _INSTRUCTION.pack_into(result, at, operation, registers, offset, map_fds.index(number))
        elif source:
            raise ValueError(f"instruction {at // _INSTRUCTION.size} loads an address of kind {source}")
    return bytes(result)


def _digest(plain: object) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
