"""The console that commands print through: what is in a text is text, never markup, an emoji's name, or a link."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console


class TextConsole(Console):
    """A rich console for text from outside. A reader that has gone is a BrokenPipeError, as everywhere else."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("soft_wrap", not sys.stdout.isatty())
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """rich would end the process itself; the commands have their own way of ending."""
        raise BrokenPipeError
