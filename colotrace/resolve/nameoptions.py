"""Where to look for names beyond the binary itself: what a user can choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from colotrace.binary.debugfiles import DEBUG_ROOT

Fetch = Callable[[str], str]
"""Brings the debug file of a build-id, and answers its path; see colotrace.debuginfod."""


@dataclass(frozen=True)
class NameOptions:
    """`debug_file` must be the binary's, or it is an error. `fetch` is asked only where nothing on this host has them.

    `debug_root` is where distributions put debug files.
    """

    debug_file: str | None = None
    fetch: Fetch | None = None
    debug_root: str = DEBUG_ROOT


ONLY_THIS_HOST = NameOptions()
"""What the binary has, and what lies where debug symbols are installed."""
