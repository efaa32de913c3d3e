"""Everything that can go wrong on the way to a patched QEMU, each with what to do about it and its own exit code.

    PatchError
    |-- UnknownVariantError  2   there is no variant of that name
    |-- MachineError        69   this machine lacks something: packages, the right QEMU version
    |-- SourceError         70   the QEMU source could not be fetched or unpacked
    |-- MismatchError       71   the source is not laid out as the patch expects
    `-- BuildError          72   QEMU does not configure or build

The codes from 69 on are those of the lab in kind: near sysexits.h and clear of what a shell uses.
"""

from __future__ import annotations


class PatchError(Exception):
    """What is wrong (`str(error)`), what to do about it (`remedy`, may be empty) and the process's exit code."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UnknownVariantError(PatchError):
    """No variant has that name."""

    exit_code = 2


class MachineError(PatchError):
    """Something that the build needs is not on this machine."""

    exit_code = 69


class SourceError(PatchError):
    """The QEMU source could not be fetched or unpacked. The message quotes the failed command."""

    exit_code = 70


class MismatchError(PatchError):
    """The source does not have, exactly once, what an insertion looks for. The message says what and where."""

    exit_code = 71


class BuildError(PatchError):
    """QEMU did not configure or build. The message quotes the end of the log."""

    exit_code = 72
