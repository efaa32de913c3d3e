"""The errors people will meet, each with its own words, its remedy and its exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from support import (
    QmpWitness,
    colotrace,
    colotrace_running,
    json_lines,
    of_type,
    read_until,
    wait_for,
)

from colotrace.errors import QmpError
from colotrace.qmp.peer import connect

CAPABILITIES = {"bpf", "perfmon", "sys_ptrace"}


def test_an_ordinary_user_with_three_capabilities(
    pair: ColoPair, as_nobody: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE suffice for another user's VM; without any one of them it is named."""
    arguments = ("attach", "--pid", pair.primary.pid, "-n", 2, "--json")
    run = as_nobody(*arguments, capabilities=CAPABILITIES)
    assert run.returncode == 0, run.stderr
    assert json_lines(run.stdout)[-1]["checkpoints"] >= 2
    for missing in sorted(CAPABILITIES):
        run = as_nobody(*arguments, capabilities=CAPABILITIES - {missing})
        assert run.returncode == 6, (missing, run.stderr)
        assert f"CAP_{missing.upper()}" in run.stderr.splitlines()[0]
        assert "sudo" in run.stderr and "setcap" in run.stderr and "ambient" in run.stderr, run.stderr


def test_bcc_missing_names_the_distributions_package(pair: ColoPair) -> None:
    code = "import sys; sys.modules['bcc'] = None; from colotrace.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, "attach", "--pid", str(pair.primary.pid)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 7
    assert "python3-bpfcc" in run.stderr and "PyPI" in run.stderr and "Traceback" not in run.stderr


def test_no_such_process() -> None:
    free = next(pid for pid in range(4_000_000, 100, -1) if not Path(f"/proc/{pid}").exists())
    run = colotrace("attach", "--pid", free)
    assert run.returncode == 3 and f"there is no process {free}" in run.stderr


def test_a_process_that_is_no_qemu() -> None:
    run = colotrace("attach", "--pid", os.getpid())
    assert run.returncode == 4 and "is not a QEMU" in run.stderr


def test_a_kernel_thread() -> None:
    run = colotrace("attach", "--pid", 2)
    assert run.returncode == 3 and "kernel thread" in run.stderr


def test_a_qmp_socket_that_is_none(pair: ColoPair, tmp_path: Path) -> None:
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", 1, "--qmp", tmp_path / "nothing")
    assert run.returncode == 8 and "nothing" in run.stderr and "Traceback" not in run.stderr


def test_a_qmp_socket_in_use(pair: ColoPair) -> None:
    with QmpWitness(pair.primary.qmp_path):
        run = colotrace("attach", "--pid", pair.primary.pid, "-n", 1, "--qmp", pair.primary.qmp_path)
    assert run.returncode == 8 and "in use" in run.stderr and "Traceback" not in run.stderr


def test_a_qmp_socket_of_another_qemu(pair: ColoPair) -> None:
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", 1, "--qmp", pair.secondary.qmp_path)
    assert run.returncode == 8
    assert f"belongs to process {pair.secondary.pid} (qemu-system-x86), not to process {pair.primary.pid}" in run.stderr


def test_a_qmp_socket_that_was_handed_over(pair: ColoPair, tmp_path: Path) -> None:
    """libvirt listens itself and passes QEMU the descriptor: SO_PEERCRED then names libvirt."""
    path = str(tmp_path / "qmp.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        keeper = subprocess.Popen(["sleep", "60"], pass_fds=[listener.fileno()])
    try:
        connect(path, keeper.pid, 5).close()
        with pytest.raises(QmpError, match="not to process"):
            connect(path, pair.primary.pid, 5)
    finally:
        keeper.kill()
        keeper.wait()


def test_colo_not_running_yet_is_said_and_waited_for(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    pair = make_pair(dirty_mib=8, delay_ms=100, start_colo=False)
    output = tmp_path / "run.jsonl"
    with colotrace_running("attach", "--pid", pair.primary.pid, "-n", 2, "--output", output, "--json") as run:
        wait_for("the hint", lambda: (output.exists() and '"event":"waiting"' in output.read_text()) or None)
        pair.start_colo()
        assert run.wait(60) == 0
    (note,) = [n for n in of_type(json_lines(output.read_text()), "note") if n["event"] == "waiting"]
    assert "x-colo" in note["message"] and "migrate" in note["message"]


def test_silence_is_said_after_half_a_minute(pair: ColoPair) -> None:
    """A peer that stands still keeps the primary waiting, and none of its boundaries is passed."""
    with colotrace_running("attach", "--pid", pair.primary.pid, "--json", "--duration", 40) as run:
        assert run.stdout
        read_until(run.stdout, '"outcome":"completed"')
        os.kill(pair.secondary.pid, signal.SIGSTOP)
        try:
            lines = json_lines(run.stdout.read())
        finally:
            os.kill(pair.secondary.pid, signal.SIGCONT)
    assert "silent" in {note["event"] for note in of_type(lines, "note")}


def test_a_symbolic_link_is_not_written_through(pair: ColoPair, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "link").symlink_to(precious)
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", 1, "--output", tmp_path / "link")
    assert run.returncode != 0 and precious.read_text() == "kept"
