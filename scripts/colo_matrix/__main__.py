"""`python scripts/colo_matrix`: the command line."""

from __future__ import annotations

import os
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are loading: no traceback

# Python put this directory first; the package needs the one above.
sys.path[0] = os.path.dirname(os.path.abspath(sys.path[0]))

from colo_matrix.cli import main  # noqa: E402

main(prog_name="scripts/matrix")
