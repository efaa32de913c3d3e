"""The armed file: scripts that start COLO only once the probes are armed wait for it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from colotrace.errors import OutputError
from colotrace.newfile import open_private

ARMED_FILE = click.option(
    "--armed-file", metavar="FILE", type=click.Path(),
    help="Create FILE once all probes are armed, for scripts that start COLO only then.",
)  # fmt: skip


class ArmedFile:
    """A file to be created later, made sure of before anything is armed. Raises OutputError if it cannot be."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        if self._path and not self._path.parent.is_dir():
            raise OutputError(f"cannot create {path}: there is no directory {self._path.parent}")

    def create(self) -> None:
        """Creates it, if one was asked for. Raises OutputError if that is impossible after all."""
        if self._path:
            os.close(open_private(str(self._path), "--armed-file", empty=False))
