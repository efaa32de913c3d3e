"""What the commands give up once the probes are armed, and how they say so."""

from __future__ import annotations

from collections.abc import Mapping

from colotrace import privileges
from colotrace.checkpoint import Note
from colotrace.session import Session

_WHY = {
    "CAP_SYS_PTRACE": "to look at the process's code",
    "CAP_DAC_OVERRIDE": "to use the socket that was named",
}


def give_up(
    session: Session | None, socket: str | None = None, more: Mapping[str, privileges.Trial] | None = None
) -> Note:
    """Gives up all privileges of this thread but those still needed; a note of what is left.

    That is for privileges.trials_of(), or, where `more` has a trial for the same capability, for that one.
    """
    try:
        kept = sorted(privileges.give_up({**privileges.trials_of(session, socket), **(more or {})}))
    except OSError as error:
        return Note("privileges", f"privileges could not be given up: {error}", details={"kept": None})
    what = ", ".join(f"{name} {_WHY[name]}" for name in kept)
    message = f"all privileges given up but {what}" if kept else "all privileges given up"
    return Note("privileges", message, details={"kept": kept})
