"""Applies a remedy to a setting, and takes it back: the old value is kept first, and what is written is read again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from colotrace.errors import ColotraceError, TargetError
from colotrace.remedy.kept import open_kept
from colotrace.remedy.setting import Setting, from_json
from colotrace.target.process import Process


@dataclass(frozen=True)
class Change:
    """One setting and what it was and is now. `kept` is what --revert brings back; None if nothing is kept.

    `when_ns` is CLOCK_MONOTONIC, as records have it.
    """

    setting: Setting
    before: int
    after: int
    kept: int | None
    when_ns: int = field(default_factory=time.monotonic_ns)

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            **self.setting.as_json(),
            "before": self.before,
            "after": self.after,
            "kept": self.kept,
            "when_ns": self.when_ns,
        }


def apply(remedy: str, setting: Setting, value: int) -> Change:
    """Sets it, keeping the value that was there before the first time. Raises ColotraceError."""
    process = Process(setting.pid)
    with open_kept(remedy, process) as kept:
        before = setting.read()
        record = kept.read()
        if record and record["setting"] != setting.as_json():
            record = None  # an earlier connection's, or through another socket; that one is gone
        if record is None:
            if before == value:
                return Change(setting, before, before, None)
            kept.write(setting.as_json(), before)
        try:
            setting.write(value)
            after = setting.read()
        except ColotraceError:
            if record is None:
                kept.forget()
            raise
        if after != value:
            raise TargetError(f"{setting} was set to {value} and reads {after}", "--revert brings the old value back.")
        return Change(setting, before, after, record["value"] if record else before)


def revert(remedy: str, pid: int) -> Change:
    """Brings back exactly what was kept. Raises TargetError if nothing is, or what was changed is gone."""
    process = Process(pid)
    with open_kept(remedy, process) as kept:
        record = kept.read()
        if record is None:
            raise TargetError(
                f"nothing is kept of {remedy} for process {pid}, so there is nothing to revert",
                "It is kept by --apply, for the user who ran it and for this run of the process.",
            )
        setting = from_json(record["setting"])
        before = setting.read()
        setting.write(record["value"])
        after = setting.read()
        if after != record["value"]:
            raise TargetError(f"{setting} was set to {record['value']} and reads {after}")
        kept.forget()
        return Change(setting, before, after, None)
