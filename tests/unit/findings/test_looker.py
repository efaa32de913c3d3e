"""What attach loads for its findings, and when: nothing once privileges are gone that only they can read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, pkgutil, sys
from colotrace.checkpoint import Checkpoint, Outcome
from colotrace.cli.console import TextConsole
from colotrace.cli import attach, live, tables
from colotrace.cli import findings
from colotrace.cli.findings import Looker, findings_json, findings_view
from colotrace.phases import Mark, Phase, Role

findings._readable_later = lambda files: False
looker = Looker()
looker.begin([{"type": "attached", "schema_version": 2, "pid": 7}])

class Unreadable:
    def find_spec(self, name, path=None, target=None):
        raise ImportError(f"{name} is loaded too late")

sys.meta_path.insert(0, Unreadable())
os.listdir = os.scandir = lambda *_: []
for number in range(300):
    begin, slow = 10**10 + number * 150_000_000, 90_000_000 * (number % 13 == 0)
    phases = {Phase.RAM: 5_000_000 + number * 7919 % 99_991, Phase.RECV: 42_000_000, Phase.LOAD: 5_000_000 + slow}
    looker.add(Checkpoint(
        Role.PRIMARY, 7, 8, number, Outcome.COMPLETED, begin, 52_000_000 + slow, phases, 1, 50_000_000 + slow, 1000,
        10**7, 2500, {Mark.VM_STOP: begin + 5}, notified_ns={},
    ))
found = looker.findings(7)
assert findings_json(found)["primary"]["not_found"]
TextConsole().print(findings_view(found, wrap=True))
print(sorted(one.rule for one in found[Role.PRIMARY].found))
"""


def test_nothing_is_loaded_once_privileges_are_gone() -> None:
    """A user's own directory may be closed to a root without CAP_DAC_OVERRIDE; a directory that is reads as empty."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['delayed-ack', 'periodic-outliers']"


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
