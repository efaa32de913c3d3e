"""The header of a recording: the `attached` line of one target, which makes its rows understandable by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from colotrace.errors import InputError
from colotrace.recording.schema import LEAST, MOST, SCHEMA_VERSION

NOT_IN_VERSION_1 = "recorded by a version of colotrace that did not write it"
NO_HEADER = "the recording has no line `attached` for this process"

_TEXTS = (
    "host", "run", "kernel", "clock", "boot_id", "started", "exe", "qemu_version", "build_id", "colotrace_version",
)  # fmt: skip
_INTEGERS = ("realtime_minus_monotonic_ns", "checkpoint_delay_ms", "max_bandwidth_bytes_per_s", "probes")
_OBJECTS = ("probe_cost", "plan")


@dataclass(frozen=True)
class Header:
    """What a run said of one target when its probes were armed.

    `vm` is the VM's name, `run` a UUID of the attach that all its targets share, `started` the wall clock then (ISO
    8601, UTC), `boot_id` the kernel's: times of CLOCK_MONOTONIC compare within one boot only. `checkpoint_delay_ms` is
    QEMU's x-checkpoint-delay, `max_bandwidth_bytes_per_s` its max-bandwidth, `probe_cost` ProbeCost.as_json(), `roles`
    the quality of each phase, `meanings` what the binary does in which phase (colotrace.resolve.meanings), `plan` where
    the probes are. What is None has its reason in `missing`. `raw` is the whole line.
    """

    pid: int
    schema_version: int = SCHEMA_VERSION
    host: str | None = None
    vm: str | None = None
    vm_uuid: str | None = None
    run: str | None = None
    kernel: str | None = None
    clock: str | None = None
    boot_id: str | None = None
    started: str | None = None
    realtime_minus_monotonic_ns: int | None = None
    exe: str | None = None
    qemu_version: str | None = None
    build_id: str | None = None
    colotrace_version: str | None = None
    probes: int | None = None
    checkpoint_delay_ms: int | None = None
    max_bandwidth_bytes_per_s: int | None = None
    probe_cost: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None
    roles: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    meanings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)


def parse_header(line: Mapping[str, Any]) -> Header:
    """The header in a line of type `attached`.

    Raises InputError if it comes from a newer schema, ValueError if it has no pid. Members of a wrong type count as
    missing.
    """
    check_version(line)
    pid = line.get("pid")
    if type(pid) is not int:
        raise ValueError("a line `attached` without a pid")
    values: dict[str, Any] = {name: line.get(name) for name in (*_TEXTS, *_INTEGERS, *_OBJECTS)}
    values |= {"vm": line.get("name"), "vm_uuid": line.get("vm_uuid")}
    said = line.get("missing")
    missing = {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}
    for name, value in values.items():
        kinds = int if name in _INTEGERS else dict if name in _OBJECTS else str
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            values[name] = None
            missing[name] = f"what the recording has is no {kinds.__name__}"
        elif name in _INTEGERS and value is not None and not is_whole(value):
            values[name] = None
            missing[name] = "what the recording has fits no 64 bits"
        elif value is None and name not in missing:
            missing[name] = "the VM has none" if name in ("vm", "build_id") else NOT_IN_VERSION_1
    version = line.get("schema_version")
    return Header(
        pid=pid,
        schema_version=version if type(version) is int else 1,
        roles=_nested(line.get("roles")),
        meanings=_nested(line.get("meanings")),
        missing=missing,
        raw=dict(line),
        **values,
    )


def is_whole(value: object) -> bool:
    """Whether it is an integer that a column of 64 bits can hold."""
    return type(value) is int and LEAST <= value <= MOST


def unknown_header(pid: int) -> Header:
    """The header of rows whose file has none."""
    names = {one.name for one in fields(Header)} - {"pid", "schema_version", "roles", "meanings", "missing", "raw"}
    return Header(pid, missing=dict.fromkeys(sorted(names), NO_HEADER))


def check_version(line: Mapping[str, Any]) -> None:
    """Raises InputError if a line says that it comes from a newer schema."""
    version = line.get("schema_version", 1)
    if type(version) is not int or version > SCHEMA_VERSION:
        raise InputError(
            f"it was recorded with schema version {version}; this colotrace reads versions 1 to {SCHEMA_VERSION}",
            "Read it with the colotrace that made it, or a newer one.",
        )


def _nested(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        return {}
    return {str(key): dict(inner) for key, inner in value.items() if isinstance(inner, dict)}
