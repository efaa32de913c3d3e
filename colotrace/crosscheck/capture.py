"""Pasted QMP output -> the answers of info_checkpoint in it, and the rest that was lying around.

A capture is whatever people have: an answer as it came from the socket, a session with greeting and events, a monitor's
screen, a cut-off end. Or lines of JSON that hold such text under `raw`, with `vcpus` and other words about it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from colotrace.crosscheck.fields import FIELDS
from colotrace.crosscheck.reading import Reading, parse_reading

LARGEST_BYTES = 64 << 20
_ENOUGH_FIELDS = 3
"""A bare object with so many of the fields is an answer without its `return`."""
_GARBAGE_SHOWN = 60
_MOST_WORK, _DECODING, _DEEP = 1 << 31, 20, 8192
"""Behind each brace that begins no object the next one may, but looking behind all of them could take for ever. Work is
counted in bytes passed over, each decoded one as many; what is nested too deeply as so many decoded ones."""


@dataclass(frozen=True)
class Capture:
    """One answer. `label` says where it was, `garbage` what was beside it and is no JSON, `vcpus` the VM's if told."""

    label: str
    reading: Reading
    garbage: tuple[str, ...] = ()
    vcpus: int | None = None
    about: Mapping[str, object] | None = None


def captures(text: str, label: str) -> list[Capture]:
    """All answers in a text, in order; none if there are none."""
    annotated = list(_annotated(text))
    if annotated:
        found = []
        for number, (raw, about) in enumerate(annotated, 1):
            vcpus = about.get("vcpus")
            for one in _answers(raw, f"{label}:{number}"):
                known = vcpus if isinstance(vcpus, int) and not isinstance(vcpus, bool) and vcpus > 0 else one.vcpus
                found.append(replace(one, vcpus=known, about=about))
        return found
    return _answers(text, label)


def _annotated(text: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The captured texts of a file whose every line is an object with `raw`, and what else the line says."""
    lines = [line for line in text.splitlines() if line.strip()]
    pairs = []
    for line in lines:
        try:
            record = _load(line)
        except ValueError:
            return
        if not isinstance(record, dict) or not isinstance(record.get("raw"), str):
            return
        about = {key: value for key, value in record.items() if key not in ("raw", "return")}
        pairs.append((str(record["raw"]), about))
    yield from pairs


def _answers(text: str, label: str) -> list[Capture]:
    objects, garbage = _objects(text)
    vcpus = next((count for one in objects if (count := _count_vcpus(one.get("return")))), None)
    readings = []
    for one in objects:
        answer = one.get("return", one)
        if isinstance(answer, dict) and len(FIELDS.keys() & answer.keys()) >= _ENOUGH_FIELDS:
            readings.append(parse_reading(answer))
    labels = [label] if len(readings) == 1 else [f"{label}#{number}" for number in range(1, len(readings) + 1)]
    return [Capture(name, reading, garbage, vcpus) for name, reading in zip(labels, readings, strict=True)]


def _objects(text: str) -> tuple[list[dict[str, object]], tuple[str, ...]]:
    """The JSON objects of a text, and what lies between them."""
    decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
    objects: list[dict[str, object]] = []
    garbage: list[str] = []
    at = kept = spent = 0
    while (start := text.find("{", at)) >= 0:
        if spent > _MOST_WORK:
            garbage.append("(given up here: too much that begins like an object and is none)")
            break
        try:
            found, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            at = start + 1
            spent += error.pos + _DECODING * (error.pos - start)  # the error itself counts the lines before it
            continue
        except (ValueError, RecursionError):  # too many digits, nested too deeply
            at = start + 1
            spent += _DECODING * _DEEP
            continue
        garbage.append(text[kept:start])
        objects.append(found)
        at = kept = end
    garbage.append(text[kept:])
    return objects, tuple(_shortened(piece) for piece in garbage if piece.strip())


def _count_vcpus(value: object) -> int:
    """The vCPUs in a `return` of query-cpus-fast, a list of one object each; 0 if it is none."""
    are_vcpus = isinstance(value, list) and all(isinstance(one, dict) and "cpu-index" in one for one in value)
    return len(value) if isinstance(value, list) and are_vcpus else 0


def _load(line: str) -> object:
    try:
        return json.loads(line, parse_float=_finite, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(digits: str) -> float:
    """A number such as 1e999 would become infinite, which no JSON can say again."""
    number = float(digits)
    if not math.isfinite(number):
        _refuse(digits)
    return number


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _shortened(piece: str) -> str:
    text = " ".join(piece.split())
    return text if len(text) <= _GARBAGE_SHOWN else f"{text[: _GARBAGE_SHOWN - 3]}..."
