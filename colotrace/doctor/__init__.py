"""What stands in the way of attaching: everything that attaching requires, told at once instead of one by one.

    from colotrace.doctor import examine

    for check in examine(pid).checks:
        print(check.status.value, check.name, check.found)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from colotrace.diagnosis import Check, exit_code, fail, first_failure, of_error, ok, warn
from colotrace.doctor.target import target_checks
from colotrace.errors import ColotraceError, EnvironmentFault
from colotrace.kernel import selftest
from colotrace.kernel.host import Host
from colotrace.kernel.preflight import HOST_CHECKS

SCHEMA_VERSION = 1
_SELF_TEST = "self-test"
_TRACING = "counting on any figure"


@dataclass(frozen=True)
class Examination:
    """What was found: of the host, by the self-test, and of a process if one was asked for."""

    host: Sequence[Check]
    self_test: Check
    target: Sequence[Check] = ()
    pid: int | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """All of them, in the order in which attaching would stumble over them."""
        return (*self.host, *self.target, self.self_test)

    @property
    def exit_code(self) -> int:
        """What attaching would exit with; 0 if nothing fails."""
        return exit_code(self.checks)

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "type": "doctor",
            "schema_version": SCHEMA_VERSION,
            "exit_code": self.exit_code,
            "pid": self.pid,
            "host": [check.as_json() for check in (*self.host, self.self_test)],
            "target": [check.as_json() for check in self.target],
        }


def examine(pid: int | None = None, host: Host | None = None) -> Examination:
    """Looks at this host, and at a process; about a second. Changes nothing, and needs no privileges to say so."""
    host = host or Host()
    checks = [check(host) for check in HOST_CHECKS]
    return Examination(checks, self_test(checks), target_checks(pid) if pid else (), pid)


def self_test(host: Sequence[Check]) -> Check:
    """The self-test's line; it is not run where it cannot succeed."""
    failure = first_failure(host)
    if failure:
        return warn(
            _SELF_TEST, f"not run: {failure.name}: {failure.found}", "knowing that every hit is counted",
            f"First see to {failure.name}.",
        )  # fmt: skip
    if os.uname().machine != "x86_64":
        return warn(
            _SELF_TEST, f"not run: its code is x86-64's, and this is {os.uname().machine}", "knowing that every hit is "
            "counted", "Compare attach's count of checkpoints with QMP's STOP events.",
        )  # fmt: skip
    try:
        seen = selftest.run_self_test()
    except ColotraceError as error:
        return of_error(_SELF_TEST, error, "arming")
    wanted = f"{selftest.MAIN_CALLS:,} and {selftest.THREAD_CALLS:,} calls by two threads of a child"
    others = f"of {selftest.FOREIGN_CALLS:,} by another process {seen.idle:,}"
    found = f"{wanted}: {seen.main:,} and {seen.thread:,} hits were counted, {others}"
    if seen.is_exact:
        return ok(_SELF_TEST, found)
    remedy = "Please report this with the output of colotrace doctor --json."
    return fail(_SELF_TEST, found, _TRACING, remedy, EnvironmentFault)
