"""Recordings as JSON lines: written a line at a time, read leniently, since the tracer may have been killed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from colotrace.recording.lines import LineFile

LONGEST_LINE = 1 << 24
_SHOWN = 3


class JsonlWriter(LineFile):
    """Each line is in the file once write() has returned. Raises OutputError as LineFile does."""


class Problems:
    """What could not be read, for people: a few of each kind, and how many there were."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}
        self._numbers: dict[str, int] = {}

    def add(self, kind: str, where: str) -> None:
        """One more of a kind; `where` says in which line."""
        shown = self._kinds.setdefault(kind, [])
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        if len(shown) < _SHOWN:
            shown.append(where)

    def sentences(self) -> list[str]:
        """A sentence a kind."""
        found = []
        for kind, shown in self._kinds.items():
            number = self._numbers[kind]
            more = f" and {number - len(shown)} more" if number > len(shown) else ""
            found.append(f"{kind}: {', '.join(shown)}{more}")
        return found


def read_jsonl(path: str, problems: Problems) -> Iterator[Mapping[str, Any]]:
    """The objects in a file of JSON lines, in order; what is none is told to `problems`. Raises OSError."""
    with open(path, "rb") as file:
        yield from parse_lines(file, problems)


def parse_lines(file: Any, problems: Problems) -> Iterator[Mapping[str, Any]]:
    """The objects in an open binary file of JSON lines, as read_jsonl()."""
    number = 0
    while data := file.readline(LONGEST_LINE):
        number += 1
        where = f"line {number}"
        if not data.endswith(b"\n") and len(data) == LONGEST_LINE:
            problems.add("too long for a line of a recording; nothing behind it was read", where)
            return
        if not data.strip():
            continue
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            torn = not data.endswith(b"\n")
            problems.add("the end is cut off in the middle of a line" if torn else "no JSON", where)
            continue
        if isinstance(found, dict) and isinstance(found.get("type"), str):
            yield found
        else:
            problems.add("no line of a recording", where)
