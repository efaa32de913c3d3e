"""From a stream of bytes to QMP requests: where one JSON message ends, and what Python's json makes of it.

Clients send objects one after the other, with newlines between them, inside them, or nowhere. As in QEMU's own
json-streamer, a message ends where its brackets balance, so that a malformed one costs one error and no more; the json
module does the parsing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

MAX_MESSAGE_BYTES = 64 << 20
"""QEMU's own limit for the tokens of one message (MAX_TOKEN_SIZE, qobject/json-streamer.c)."""
MAX_NESTING = 512
"""QEMU takes 1024 levels; Python's json gives up a little earlier than that."""

_BLANK = re.compile(rb"[ \t\r\n]*")
_STRAY = re.compile(rb"[}\]]|[^ \t\r\n{}\[\]]+")
"""What begins no message: each word and each closing bracket is an error of its own, as with QEMU."""
_REST = re.compile(rb"[^\n{\[]*")
_STRUCTURE = re.compile(rb'["{}\[\]\x00-\x08\x0b\x0c\x0e-\x1f\xfe\xff]')
"""What matters in a message outside its strings; control characters and bytes that UTF-8 has not end it."""
_STRING = re.compile(rb'["\\\x00-\x1f]')
_REFUSED = re.compile(
    "[\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)
"""Surrogates and noncharacters, which QEMU's parser refuses and Python's accepts."""


class MalformedError(ValueError):
    """What a client sent is no request. The text is the description for its error reply."""


class MessageSplitter:
    """Cuts a stream into messages. Keeps at most `max_bytes` of an unfinished one."""

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._fault: str | None = None
        self._is_told = False
        self._depth = 0
        self._in_string = self._escaped = self._in_word = self._is_cut = False

    def feed(self, data: bytes) -> Iterator[bytes | MalformedError]:
        """The messages that these bytes complete, as bytes still to be decoded, or what was wrong in their place."""
        at = 0
        while at < len(data):
            if not self._depth:
                at = self._skip(data, at)
                if at == len(data):
                    return
                if data[at] not in b"{[":
                    is_new = data[at] in b"}]" or not self._in_word
                    self._in_word = data[at] not in b"}]"
                    at = _match_end(_STRAY, data, at)
                    if is_new:
                        yield MalformedError("JSON parse error, expecting a JSON object")
                    continue
                self._in_word = False
            end, is_whole = self._within(data, at)
            self._keep(data[at:end])
            at = end
            if self._fault and not self._is_told:
                self._is_told = True
                yield MalformedError(self._fault)
            elif is_whole and not self._fault:
                yield b"".join(self._parts)
            if is_whole:
                self._parts.clear()
                self._size, self._fault, self._is_told = 0, None, False

    def _skip(self, data: bytes, at: int) -> int:
        """Skips what is between two messages and needs no answer: blanks, and what is left of one that was cut."""
        if self._is_cut:
            at = _match_end(_REST, data, at)
            self._is_cut = at == len(data)
        begin = at
        at = _match_end(_BLANK, data, at)
        if at > begin:
            self._in_word = False
        return at

    def _within(self, data: bytes, at: int) -> tuple[int, bool]:
        """Reads on in a message: where it, or the data, ends; and whether the message does."""
        if self._escaped:
            self._escaped = False
            at += 1
        while found := (_STRING if self._in_string else _STRUCTURE).search(data, at):
            byte, at = found[0], found.end()
            if byte == b'"':
                self._in_string = not self._in_string
            elif byte == b"\\":
                at += 1
                self._escaped = at > len(data)
            elif byte in b"{[":
                self._depth += 1
                if self._depth > MAX_NESTING:
                    self._fault = self._fault or f"JSON nesting depth limit of {MAX_NESTING} exceeded"
            elif byte in b"}]":
                self._depth -= 1
                if not self._depth:
                    return at, True
            else:  # begin anew behind it: nothing tells whether the brackets before still count
                self._fault = self._fault or "JSON parse error, stray control character or invalid byte"
                self._depth, self._in_string, self._is_cut = 0, False, byte != b"\n"
                return at, True
        return len(data), False

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            self._fault = self._fault or f"JSON message is longer than {self._max_bytes} bytes"
        if self._fault:
            self._parts.clear()
        else:
            self._parts.append(part)


def decode(data: bytes) -> dict[str, object]:
    """A request's object. Raises MalformedError if it is none, or if QEMU's parser would not have it."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except json.JSONDecodeError as error:
        raise MalformedError(f"JSON parse error, {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:  # invalid UTF-8, NaN, a number of too many digits
        raise MalformedError(f"JSON parse error, {error}") from error
    if not isinstance(value, dict):
        raise MalformedError("QMP input must be a JSON object")
    refused = _REFUSED.search(text)
    if refused:
        raise MalformedError(f"JSON parse error, U+{ord(refused[0]):04X} is not a valid Unicode character")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise MalformedError("duplicate key")
    return members


def _no_constant(name: str) -> object:
    raise MalformedError(f"stray '{name}'")


def _match_end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
