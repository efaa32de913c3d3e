"""One line of a diagnosis: what was found, whether it stands in the way, of what, and what to do about it.

The same checks serve twice: attaching requires that none of them fails, and `colotrace doctor` prints them all.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from colotrace.errors import ColotraceError


class Status(enum.Enum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """Something works in part only, costs more, or is not known: attaching goes on."""
    FAIL = "fail"
    """Attaching is refused."""


@dataclass(frozen=True)
class Check:
    """One check. `blocks` and `remedy` are None where all is well; `fault` is the error that attaching ends with."""

    name: str
    status: Status
    found: str
    blocks: str | None = None
    remedy: str | None = None
    fault: type[ColotraceError] | None = None

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "name": self.name,
            "status": self.status.value,
            "found": self.found,
            "blocks": self.blocks,
            "remedy": self.remedy,
        }


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, Status.OK, found)


def warn(name: str, found: str, blocks: str, remedy: str) -> Check:
    """Attaching works all the same, but for what is named."""
    return Check(name, Status.WARN, found, blocks, remedy)


def fail(name: str, found: str, blocks: str, remedy: str | None, fault: type[ColotraceError]) -> Check:
    """Attaching ends with `fault`."""
    return Check(name, Status.FAIL, found, blocks, remedy, fault)


def of_error(name: str, error: ColotraceError, blocks: str) -> Check:
    """What attaching has raised, or would."""
    return fail(name, error.message, blocks, error.remedy, type(error))


def first_failure(checks: Iterable[Check]) -> Check | None:
    """The check that attaching stumbles over; those behind it are not looked at."""
    return next((check for check in checks if check.status is Status.FAIL), None)


def require(checks: Iterable[Check]) -> None:
    """Raises the error of the first check that fails."""
    failure = first_failure(checks)
    if failure:
        raise (failure.fault or ColotraceError)(f"{failure.found}; this blocks {failure.blocks}", failure.remedy)


def exit_code(checks: Iterable[Check]) -> int:
    """What attaching would exit with: 0 if nothing fails."""
    failure = first_failure(checks)
    return (failure.fault or ColotraceError).exit_code if failure else 0
