"""Giving up privileges, in processes of their own; whoever runs this may have some or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from colotrace.privileges import CAPABILITIES, held_by_threads, needed

HELD = max(held_by_threads().values())


def run(code: str) -> dict[str, object]:
    """What a process of its own says, as JSON, after this code."""
    begin = "import json, os, threading; from pathlib import Path; from colotrace import privileges as p; "
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def held(name: str) -> bool:
    return bool(HELD >> CAPABILITIES[name] & 1)


def test_nothing_is_kept_that_is_not_needed() -> None:
    code = 'kept = p.give_up({"CAP_SYS_PTRACE": lambda: True}); print(json.dumps({"kept": sorted(kept), '
    code += '"held": p.held_by_threads()[os.getpid()]}))'
    assert run(code) == {"kept": [], "held": 0}


def test_what_is_needed_is_kept_if_it_was_there() -> None:
    code = 'kept = p.give_up({"CAP_SYS_PTRACE": lambda: False}); print(json.dumps({"kept": sorted(kept), '
    code += '"held": p.held_by_threads()[os.getpid()]}))'
    expected = ["CAP_SYS_PTRACE"] if held("CAP_SYS_PTRACE") else []
    assert run(code) == {"kept": expected, "held": sum(1 << CAPABILITIES[name] for name in expected)}


def test_it_cannot_be_had_again() -> None:
    """Neither by the bounding set, nor by running another program, nor by a later thread."""
    code = "p.give_up({}); s = os.popen('cat /proc/self/status').read(); "
    code += "print(json.dumps(dict(line.split(':\\t', 1) for line in s.splitlines() if ':\\t' in line)))"
    status = run(code)
    assert status["NoNewPrivs"] == "1"
    assert all(int(str(status[name]), 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    if HELD >> 8 & 1:  # CAP_SETPCAP, without which the bounding set stays, and no_new_privs alone must do
        assert int(str(status["CapBnd"]), 16) == 0


def test_trying_costs_the_caller_nothing() -> None:
    before = held_by_threads()[os.getpid()]

    def fails() -> bool:
        raise OSError("no")

    trials = {"CAP_SYS_PTRACE": lambda: True, "CAP_DAC_OVERRIDE": fails}
    assert needed(trials) == {"CAP_DAC_OVERRIDE"}
    assert held_by_threads()[os.getpid()] == before


def test_a_trial_has_no_privileges() -> None:
    seen: list[int] = []

    def look() -> bool:
        seen.append(min(held_by_threads().values()))
        return True

    needed({"CAP_SYS_PTRACE": look})
    assert seen == [0]
