"""colotrace: times every phase of QEMU's COLO checkpoints from outside, in an unmodified, stripped QEMU.

The library's front door is attach(), see colotrace.session; load() reads recordings into pandas. Records are defined in
colotrace.checkpoint, the words in colotrace.phases, errors in colotrace.errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from colotrace.lazily import importer

__version__ = "0.1.0"
__all__ = ["Checkpoint", "Failover", "Outcome", "Phase", "Role", "Session", "attach", "load"]

_HOMES = {
    "Checkpoint": "colotrace.checkpoint",
    "Failover": "colotrace.checkpoint",
    "Outcome": "colotrace.checkpoint",
    "Phase": "colotrace.phases",
    "Role": "colotrace.phases",
    "Session": "colotrace.session",
    "attach": "colotrace.session",
    "load": "colotrace.recording.frame",
}

if TYPE_CHECKING:
    from colotrace.checkpoint import Checkpoint, Failover, Outcome
    from colotrace.phases import Phase, Role
    from colotrace.recording.frame import load
    from colotrace.session import Session, attach

__getattr__ = importer(__name__, _HOMES)
