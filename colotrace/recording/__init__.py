"""Recordings: what a run has seen, in a file that says of itself what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Header", "Recording", "Run", "Series", "open_recording"]

_HOMES = {
    "Header": "colotrace.recording.header",
    "Recording": "colotrace.recording.recording",
    "Run": "colotrace.recording.run",
    "Series": "colotrace.recording.series",
    "open_recording": "colotrace.recording.recording",
}

if TYPE_CHECKING:
    from colotrace.recording.header import Header
    from colotrace.recording.recording import Recording, open_recording
    from colotrace.recording.run import Run
    from colotrace.recording.series import Series


def __getattr__(name: str) -> Any:
    """Imports what is asked for, and only then: writing JSON lines needs none of what reading needs."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module colotrace.recording has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
