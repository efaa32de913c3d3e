"""What ends a matrix, with what to do about it and the exit code.

    MatrixError
    |-- BusyError          73   another scripts/matrix writes to the same results
    |-- ConditionsError     2   the results there were measured under other conditions
    |-- StorageError       10   the results cannot be written
    `-- ManifestError      11   the manifest, or a recording, is not one, or of a newer schema

What befalls one cell only is no error of the matrix: it is noted in the manifest, and the run goes on.
"""

from __future__ import annotations

from colo_lab.errors import LabError


class MatrixError(LabError):
    """Ends the matrix; as the lab's errors it has a remedy and an exit code."""


class BusyError(MatrixError):
    """Two at once would disturb each other's figures, and each other's files."""

    exit_code = 73


class ConditionsError(MatrixError):
    """One table holds cells of one set of conditions."""

    exit_code = 2


class StorageError(MatrixError):
    """No permission, no space."""

    exit_code = 10


class ManifestError(MatrixError):
    """The manifest or a recording cannot be read."""

    exit_code = 11
