"""One error tree: what is wrong, what to do about it, and the command's exit code.

    ColotraceError
      TargetError          3   the process: not there, not QEMU, gone, several to choose from
      BinaryError          4   the file: not ELF, truncated, another architecture, not QEMU
        NoColoError        4   a QEMU, but without COLO in it
      PlanError            5   COLO is in it, but what must be proven could not be; or memory differs from the file
      PermissionsError     6   a capability is missing
      EnvironmentFault     7   this kernel or installation cannot do it: bcc missing, uprobes off, lockdown
      QmpError             8   a QMP socket that does not answer as one, or belongs to another process
        QmpRefusal         8   QEMU has answered with an error
      NothingSeenError     9   the run ended and fewer checkpoints were completed than were asked for
      OutputError         10   a file, or standard output, cannot be written
      InputError          11   a file cannot be read, or is not what it should be

1 is no error: `check` and `audit` have findings, `compare --fail-if-slower` has found B slower. 2 is wrong usage, as in
click, and 70 an error of colotrace itself. A run that Ctrl-C or SIGTERM ended has done its work: 0.
"""

from __future__ import annotations

from collections.abc import Mapping

GET_PRIVILEGES = (
    "Either run it with sudo, or give a user's shell the ambient capabilities: `sudo setpriv --reuid $UID --regid $UID "
    "--init-groups --inh-caps +bpf,+perfmon,+sys_ptrace --ambient-caps +bpf,+perfmon,+sys_ptrace bash`; or, for good, "
    "`sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep` on a copy of the Python interpreter (README, Privileges)."
)
"""The remedies for a missing capability."""


class ColotraceError(Exception):
    """Base of all errors meant for a user. `remedy` is a sentence on what to do; `exit_code` is the command's."""

    exit_code = 70

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class TargetError(ColotraceError):
    """The process asked for is not there, is not a QEMU, or is not the only one."""

    exit_code = 3


class BinaryError(ColotraceError):
    """The file cannot be a QEMU that colotrace understands."""

    exit_code = 4


class NoColoError(BinaryError):
    """The file is a QEMU without COLO in it. `facts` is what is known of it, by the names of ProbePlan.as_json()."""

    def __init__(self, message: str, remedy: str | None = None, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message, remedy)
        self.facts = dict(facts or {})


class PlanError(ColotraceError):
    """A probe cannot be placed safely: the VM comes first, so nothing is armed."""

    exit_code = 5


class PermissionsError(ColotraceError):
    """The kernel refuses, for want of a capability."""

    exit_code = 6


class EnvironmentFault(ColotraceError):
    """This kernel, or this installation, cannot run the kernel program."""

    exit_code = 7


class QmpError(ColotraceError):
    """A QMP socket cannot be used."""

    exit_code = 8


class QmpRefusal(QmpError):
    """QEMU has answered a command with an error. `error_class` is QMP's, CommandNotFound for one."""

    def __init__(self, message: str, error_class: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.error_class = error_class


class OutputError(ColotraceError):
    """A file, or standard output, cannot be written."""

    exit_code = 10


class InputError(ColotraceError):
    """A file cannot be read, or does not hold what it should."""

    exit_code = 11


class NothingSeenError(ColotraceError):
    """The run ended with fewer completed checkpoints than were asked for."""

    exit_code = 9
