"""The lab's run directory: sockets, logs, firmware. It is gone afterwards, even if the lab is killed with SIGKILL."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

from .confine import RUN_PARENT


class RunDirectory:
    """A fresh directory, mode 0700, and a janitor: a shell that removes it once the lab's end of a pipe is closed,
    which the kernel does for a lab that is killed."""

    def __init__(self) -> None:
        # Short, as a unix socket's path ends at 107 bytes.
        parent = RUN_PARENT if os.access(RUN_PARENT, os.W_OK) else Path("/tmp")
        self.path = parent / f"colo-lab-{secrets.token_hex(6)}"
        reading, self._writing = os.pipe()
        self._janitor = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; exec rm -rf -- "$1"', "colo-lab-janitor", str(self.path)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is not for it
        )
        os.close(reading)
        self.path.mkdir(mode=0o700)  # only now, so that there is no moment without somebody to remove it

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def close(self) -> None:
        """Removes the directory; a second call does nothing."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
            self._janitor.wait()
