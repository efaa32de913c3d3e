"""What attach does for findings: all that they take is loaded before privileges are given up."""

from __future__ import annotations

import subprocess
import sys

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
