"""`python scripts/colo_lab`: the command line."""

from __future__ import annotations

import sys
from pathlib import Path

# Python put this directory first; the package needs the one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from colo_lab.cli import main  # noqa: E402

main(prog_name="scripts/lab")
