"""colotrace doctor where it can really look: its self-test, a COLO pair, an ordinary user, and namespaces."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from support import colotrace, json_lines, traced, wait_for

from colotrace.kernel import cost, preflight, selftest
from colotrace.kernel.program import Program
from colotrace.kernel.selftest import FOREIGN_CALLS, MAIN_CALLS, THREAD_CALLS, SelfTest, run_self_test
from colotrace.target.process import Process

CAPABILITIES = {"bpf", "perfmon", "sys_ptrace"}
EXACT = SelfTest(0, MAIN_CALLS, THREAD_CALLS)


def lines_of(run: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Every line of doctor --json, by name; its exit code is the one that it says."""
    (answer,) = json_lines(run.stdout.replace("\n", ""))
    assert answer["exit_code"] == run.returncode, run.stderr
    return {line["name"]: line for line in [*answer["host"], *answer["target"]]}


def bad(lines: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, line in lines.items() if line["status"] == "fail"}


def test_the_self_test_counts_to_the_last_hit() -> None:
    assert run_self_test() == EXACT


def test_the_self_test_before_linux_6_10(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the program tells the processes apart itself, and attaching does without the link's filter."""
    monkeypatch.setattr(preflight, "pid_filter_is_sound", lambda: False)
    assert run_self_test() == EXACT


def test_the_self_test_sees_a_filter_that_does_not_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def unfiltered(stub: cost.Stub, _pid: int) -> Iterator[Program]:
        monkeypatch.setattr(preflight, "pid_filter_is_sound", lambda: False)
        with cost.armed(stub, 0) as program:
            yield program

    monkeypatch.setattr(selftest, "armed", unfiltered)
    assert run_self_test() == SelfTest(FOREIGN_CALLS, MAIN_CALLS, THREAD_CALLS)


def test_the_self_test_sees_hits_of_a_thread_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes go after the main thread's calls: what then is not counted is told to be the second thread's."""

    tell = selftest._tell
    programs: list[Program] = []

    @contextlib.contextmanager
    def noted(stub: cost.Stub, pid: int) -> Iterator[Program]:
        with cost.armed(stub, pid) as program:
            programs.append(program)
            yield program

    def disarming(child: Any, word: str) -> None:
        if word == "thread":
            programs[0].disarm(0)
        tell(child, word)

    monkeypatch.setattr(selftest, "armed", noted)
    monkeypatch.setattr(selftest, "_tell", disarming)
    assert run_self_test() == SelfTest(0, MAIN_CALLS, 0)


def test_a_pair_that_is_well(pair: ColoPair) -> None:
    for side in (pair.primary, pair.secondary):
        lines = lines_of(colotrace("doctor", "--pid", side.pid, "--json"))
        assert not bad(lines)
        names = ("process", "debugger", "shadow stack", "container", "plan", "memory", "self-test", "bcc")
        assert {lines[name]["status"] for name in names} == {"ok"}
        assert "primary 9 of 9, secondary 7 of 7" in lines["plan"]["found"]
        assert "at all 51 probes" in lines["memory"]["found"]
    assert pair.trouble() == []


def test_an_ordinary_user(pair: ColoPair, as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """With the three capabilities all is well; without one, its line says so, and the exit code is attach's."""
    arguments = ("doctor", "--pid", pair.primary.pid, "--json")
    assert not bad(lines_of(as_nobody(*arguments, capabilities=CAPABILITIES)))
    for missing in sorted(CAPABILITIES):
        run = as_nobody(*arguments, capabilities=CAPABILITIES - {missing})
        lines = lines_of(run)
        failed = "process" if missing == "sys_ptrace" else "capabilities"
        assert run.returncode == 6 and failed in bad(lines), (missing, run.stdout)
        assert f"CAP_{missing.upper()}" in lines[failed]["found"] and "setcap" in lines[failed]["remedy"]
        if missing != "sys_ptrace":
            assert f"CAP_{missing.upper()} missing" in lines["self-test"]["found"]


def test_none_of_them_without_any_capability(as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    run = as_nobody("doctor", capabilities=set())
    assert run.returncode == 6 and "Traceback" not in run.stderr
    assert "attach would end with exit code 6: capabilities" in run.stdout
    assert "not run: capabilities: CAP_BPF and CAP_PERFMON missing" in " ".join(run.stdout.split())


def test_root_in_a_user_namespace_is_nobody() -> None:
    command = ["unshare", "-Ur", sys.executable, "-m", "colotrace"]
    run = subprocess.run([*command, "doctor", "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert bad(lines_of(run)) == {"capabilities"} and run.returncode == 6
    run = subprocess.run([*command, "attach", "--pid", "1"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 6 and "user namespace" in run.stderr


def test_in_a_pid_namespace_hits_are_counted_all_the_same() -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "colotrace", "doctor", "--json"]
    lines = lines_of(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False))
    assert lines["pid namespace"]["status"] == "warn" and lines["self-test"]["status"] == "ok"


def test_a_process_in_a_container_that_is_no_qemu() -> None:
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "60"]) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            pid = wait_for("the container's first process", lambda: children.read_text().split())[0]
            wait_for("sleep", lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n" or None)
            run = colotrace("doctor", "--pid", pid, "--json")
        finally:
            outer.kill()
    lines = lines_of(run)
    assert "in a pid namespace of its own, as pid 1" in lines["container"]["found"]
    assert run.returncode == 4 and bad(lines) == {"plan"} and "is not a QEMU" in lines["plan"]["found"]


def test_doctor_ends_as_attach_does(pair: ColoPair) -> None:
    """A process under a debugger, and one that has been patched in memory."""
    process = Process(pair.secondary.pid)
    with traced(process) as debugger:
        runs = [colotrace(name, "--pid", process.pid, "--json") for name in ("attach", "doctor")]
    lines = lines_of(runs[1])
    assert [run.returncode for run in runs] == [5, 5] and "debugger" in bad(lines)
    assert f"traced by process {debugger}" in lines["debugger"]["found"]


def test_what_a_hit_costs_here() -> None:
    run = colotrace("doctor", "--probe-cost", "--json")
    (answer,) = json_lines(run.stdout.replace("\n", ""))
    measured = answer["probe_cost"]
    assert run.returncode == 0 and answer["probe_cost_missing"] is None
    assert 100 < measured["emulated_warm_ns"] < measured["stepped_warm_ns"] < 1_000_000, "stepping takes a trap more"
    assert measured["emulated_cold_ns"] > measured["emulated_warm_ns"] and measured["clock_ns"] > 0


def test_what_a_hit_costs_is_unknown_without_privileges(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run = as_nobody("doctor", "--probe-cost", "--json", capabilities=set())
    (answer,) = json_lines(run.stdout.replace("\n", ""))
    assert answer["probe_cost"] is None and "self-test" in answer["probe_cost_missing"]
