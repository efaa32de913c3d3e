"""Applies a remedy to a setting, and takes it back: the old value is kept first, and what is written is read again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from colotrace.errors import ColotraceError, TargetError
from colotrace.remedy.kept import open_kept
from colotrace.remedy.setting import GoneError, Setting, from_json, is_same
from colotrace.target.process import Process


class UnsureError(TargetError):
    """Whether the setting was changed is not known; what it was before is kept."""


@dataclass(frozen=True)
class Change:
    """One setting and what it was and is now. `kept` is what --revert brings back; None if nothing is kept.

    `applied`, of one that is reverted, is what --apply had set: if `before` is neither, somebody else has changed it.
    `when_ns` is CLOCK_MONOTONIC, as records have it.
    """

    setting: Setting
    before: int
    after: int
    kept: int | None
    applied: int | None = None
    when_ns: int = field(default_factory=time.monotonic_ns)

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            **self.setting.as_json(),
            "before": self.before,
            "after": self.after,
            "kept": self.kept,
            "applied": self.applied,
            "when_ns": self.when_ns,
        }


def apply(remedy: str, setting: Setting, value: int) -> Change:
    """Sets it, keeping the value that was there before the first time. Raises ColotraceError."""
    process = Process(setting.pid)
    with open_kept(remedy, process) as kept:
        before = setting.read()
        record = kept.read()
        if record and not is_same(record["setting"], setting):
            record = None  # an earlier connection's; that one is gone
        if before == value:
            return Change(setting, before, before, record["value"] if record else None)
        kept.write(setting.as_json(), record["value"] if record else before, value)
        try:
            setting.write(value)
            after = setting.read()
        except ColotraceError as error:
            if _reads(setting, before):
                if record:
                    kept.write(record["setting"], record["value"], record.get("applied"))
                else:
                    kept.forget()
                raise
            message = f"{error.message}; whether {setting} has been changed is not known"
            raise UnsureError(message, "--revert brings back what was there before.") from error
        if after != value:
            raise UnsureError(f"{setting} was set to {value} and reads {after}", "--revert brings the old value back.")
        return Change(setting, before, after, record["value"] if record else before)


def revert(remedy: str, pid: int, qmp: str | None = None) -> Change:
    """Brings back exactly what was kept, over the QMP socket that was used then, or over `qmp`.

    Raises TargetError if nothing is kept, GoneError if what was changed is gone.
    """
    process = Process(pid)
    with open_kept(remedy, process) as kept:
        record = kept.read()
        if record is None:
            raise TargetError(
                f"nothing is kept of {remedy} for process {pid}, so there is nothing to revert",
                "It is kept by --apply, for the user who ran it and for this run of the process.",
            )
        try:
            setting = from_json(record["setting"] | ({"qmp": qmp} if qmp else {}))
        except GoneError:
            kept.forget()
            raise
        before = setting.read()
        setting.write(record["value"])
        after = setting.read()
        if after != record["value"]:
            raise TargetError(f"{setting} was set to {record['value']} and reads {after}")
        kept.forget()
        return Change(setting, before, after, None, record.get("applied"))


def _reads(setting: Setting, value: int) -> bool:
    try:
        return setting.read() == value
    except ColotraceError:
        return False
