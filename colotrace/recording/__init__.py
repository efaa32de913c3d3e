"""Recordings: what a run has seen, in a file that says of itself what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colotrace.lazily import importer

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

__getattr__ = importer(__name__, _HOMES)
