"""What attach loads for its findings, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import os, sys
from colotrace.cli import findings
from colotrace.cli.findings import Looker
{change}
Looker().begin([{{"type": "attached", "schema_version": 2, "pid": 1}}])
assert len(os.listdir("/proc/self/task")) == 1, "a thread that was there would keep its privileges"
print("numpy" in sys.modules)
"""


def loaded(change: str = "") -> bool:
    """Whether numpy is there after a run has begun, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN.format(change=change)], capture_output=True, text=True, timeout=60, check=True
    )
    return {"True\n": True, "False\n": False}[done.stdout]


def test_what_can_be_read_at_the_end_is_loaded_then() -> None:
    assert not loaded()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_what_only_privileges_can_read_is_loaded_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "numpy.py").touch()
    os.chown(home, 65534, 65534)
    home.chmod(0o700)
    assert loaded(f"findings._code = lambda: [{str(home / 'numpy.py')!r}]")
    assert loaded("findings._code = lambda: ['/nowhere/numpy.py']")
