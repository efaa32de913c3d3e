"""`python scripts/qemu_patch`: the command line."""

from __future__ import annotations

import os
import signal
import sys

# Python put this directory first; the package needs the one above.
sys.path[0] = os.path.dirname(os.path.abspath(sys.path[0]))

from qemu_patch.cli import main  # noqa: E402

# An exception, so that a running command is ended and what is half done goes away.
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
main(prog_name="scripts/patched_qemu")
