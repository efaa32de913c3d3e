"""When nothing fires in a process, a reader of the figures wants to know why: COLO has not begun, or it hangs. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from colotrace.checkpoint import Note

WAITING_HINT_S = 3.0
SILENCE_S = 30.0

_HOW_COLO_STARTS = (
    "COLO starts when both sides have the migration capability x-colo and the primary has been given `migrate`; after "
    "that it reaches a checkpoint every x-checkpoint-delay (20 s by default)"
)


@dataclass
class Silence:
    """For how long a process has been quiet, and what has been said about it."""

    since_s: float = 0.0
    _hits: int = 0
    _told_s: float = 0.0

    def look(self, pid: int, hits: int, now_s: float) -> Note | None:
        """A note if the process has been quiet for too long, once; `hits` counts COLO's boundaries, in the kernel."""
        if hits != self._hits:
            self._hits, self.since_s, self._told_s = hits, now_s, 0.0
            return None
        quiet_s, told_s = now_s - self.since_s, self._told_s
        if not hits and quiet_s >= WAITING_HINT_S > told_s:
            self._told_s = quiet_s
            return Note(
                "waiting", f"process {pid} has not passed a COLO boundary yet; waiting. {_HOW_COLO_STARTS}", pid
            )
        if quiet_s >= SILENCE_S > told_s:
            self._told_s = quiet_s
            message = (
                f"nothing has fired in process {pid} for {quiet_s:.0f} s. Is COLO running (query-colo-status), the VM "
                "not paused, its peer alive, and x-checkpoint-delay shorter than that?"
            )
            return Note("silent", message, pid)
        return None
