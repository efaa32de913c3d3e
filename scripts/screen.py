"""Runs the lab and colotrace attach on a terminal of our own, and prints the live view's last picture as text."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pyte

COLUMNS, LINES = int(os.environ.get("COLUMNS", 100)), int(os.environ.get("LINES", 40))
SCRIPTS = Path(__file__).resolve().parent
LAST_LINE = "Ctrl-C ends with a summary"
PIDS = {"": "$COLO_PRIMARY_PID", "both": "$COLO_PRIMARY_PID $COLO_SECONDARY_PID"}[os.environ.get("PIDS", "")]
COMMAND = f"{SCRIPTS}/colotrace attach --pid {PIDS} --checkpoints 60"


def main() -> None:
    """Arguments go to the lab; by default 8 MiB dirtied, over TCP. COLUMNS, LINES: the size; PIDS=both: both sides."""
    options = sys.argv[1:] or ["--transport", "tcp", "--dirty-mib", "8"]
    lab = [str(SCRIPTS / "lab"), *options, "--", "sh", "-c", COMMAND]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        os.execv(lab[0], lab)
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    picture: list[str] = []
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the terminal's other side is closed
            break
        if not data:
            break
        stream.feed(data)
        if any(LAST_LINE in line for line in screen.display):
            picture = [line.rstrip() for line in screen.display]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    first = next(i for i, line in enumerate(picture) if "probes armed" in line)
    last = next(i for i, line in enumerate(picture) if LAST_LINE in line)
    print("\n".join(picture[first : last + 1]))
    sys.exit(status)


main()
