"""The console that a command prints through."""

from __future__ import annotations

import sys

from rich.console import Console


class TextConsole(Console):
    """A rich console. A reader that has gone is a BrokenPipeError, as everywhere else."""

    def __init__(self) -> None:
        super().__init__(highlight=False, soft_wrap=not sys.stdout.isatty())

    def on_broken_pipe(self) -> None:
        """rich would end the process itself; the commands have their own way of ending."""
        raise BrokenPipeError
