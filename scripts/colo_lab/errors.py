"""Everything that can go wrong in the lab, each with what to do about it and its own exit code.

    LabError
    |-- SettingsError        2   the request contradicts itself
    |-- MachineError        69   this machine lacks something: the QEMU binary, /dev/kvm, binutils, the chroot
    |-- VmError             70   a QEMU would not start, died, or refused a command
    |   `-- NotInColoError  70   both run, but the pair never reached COLO
    |-- NoColoError         71   this QEMU has no COLO (replication is not built in)
    |-- NotArmedError       72   --wait-armed: COMMAND never said that it is armed
    `-- CommandError   126/127   COMMAND could not be run / was not found, as in a shell

The codes from 69 on are near sysexits.h and clear of what a shell uses; COMMAND may still end with one of them itself.
"""

from __future__ import annotations


class LabError(Exception):
    """What is wrong (`str(error)`), what to do about it (`remedy`, may be empty) and the process's exit code."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class SettingsError(LabError):
    """The settings contradict each other or are out of range."""

    exit_code = 2


class MachineError(LabError):
    """Something that the lab needs is not on this machine."""

    exit_code = 69


class VmError(LabError):
    """A QEMU did not start, died, or refused a command. The message quotes QEMU's own words."""

    exit_code = 70


class NotInColoError(VmError):
    """Both QEMUs run, but they did not enter COLO within the deadline. The message quotes both QEMUs."""


class NoColoError(LabError):
    """QEMU refuses the capability x-colo."""

    exit_code = 71


class NotArmedError(LabError):
    """COMMAND ended, or its time was up, before it created COLO_ARMED_FILE."""

    exit_code = 72


class CommandError(LabError):
    """COMMAND could not be started."""

    def __init__(self, message: str, remedy: str = "", *, found: bool) -> None:
        super().__init__(message, remedy)
        self.exit_code = 126 if found else 127
