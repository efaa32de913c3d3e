"""colotrace qmp-bridge as a process: what it prints, how it ends, what it leaves. Unprivileged: the fake QEMU has the
two commands itself, so that nothing is armed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from colotrace.cli import main
from colotrace.qmp.schema import COMMANDS, QEMU_GONE

from .fakeqemu import DEADLINE_S, FakeQemu, Wire, scenario, short_directory, until


@dataclass
class Running:
    """The command in front of a fake QEMU."""

    qemu: FakeQemu
    process: asyncio.subprocess.Process
    path: Path

    async def end(self, number: int | None = signal.SIGTERM) -> tuple[int, str, str]:
        """Its exit code and what it printed, after a signal or by itself."""
        if number is not None:
            self.process.send_signal(number)
        out, err = await asyncio.wait_for(self.process.communicate(), DEADLINE_S)
        assert self.process.returncode is not None and b"Traceback" not in err, err.decode()
        return self.process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def running(*options: str, pid: int = 0, commands: tuple[str, ...] = COMMANDS) -> AsyncIterator[Running]:
    with short_directory() as folder:
        path = folder / "bridge.sock"
        async with FakeQemu(folder / "qemu.sock", commands=commands) as qemu:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "colotrace", "qmp-bridge", "--pid", str(pid or os.getpid()),
                "--qmp", str(qemu.path), "--listen", str(path), *options,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                yield Running(qemu, process, path)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()


async def _listening(run: Running) -> None:
    await until("listening", lambda: run.path.exists() or run.process.returncode is not None)
    assert run.process.returncode is None, await run.end(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_summary(number: int) -> None:
    async def work() -> None:
        async with running("--json", "--verbose") as run:
            await _listening(run)
            assert stat.S_IMODE(run.path.lstat().st_mode) == 0o600
            wire = await Wire.open(run.path)
            assert await wire.ask({"execute": "echo", "id": 1}) == {"return": {}, "id": 1}
            code, out, err = await run.end(number)
            assert (code, err) == (0, "") and not run.path.exists()
            lines = [json.loads(line) for line in out.splitlines()]
            assert [line["type"] for line in lines] == ["note", "listening", "client-came", "client-left", "summary"]
            dropped, listening, came, left, summary = lines
            assert (dropped["event"], dropped["kept"]) == ("privileges", [])
            assert (listening["path"], listening["pid"], listening["source"]) == (str(run.path), os.getpid(), "qemu")
            assert came["pid"] == os.getpid() and (left["client"], left["commands"]) == (1, 2)
            assert summary["checkpoints"] is None and summary["clients"] == 1 and summary["commands"] == 1
            assert await wire.line() == b""

    scenario(work)()


@scenario
async def test_for_people_it_speaks_on_standard_error() -> None:
    async with running() as run:
        await _listening(run)
        (await Wire.open(run.path)).close()
        code, out, err = await run.end()
        assert (code, out) == (0, "")
        dropped, listening, summary = err.splitlines()
        assert "all privileges given up" in dropped
        assert f"listening on {run.path}" in listening and "QEMU itself" in listening
        assert "1 clients" in summary and "0 commands" in summary


@scenario
async def test_a_qemu_that_hangs_up_ends_it_with_an_error() -> None:
    async with running("--json") as run:
        await _listening(run)
        wire = await Wire.open(run.path)
        run.qemu.hang_up()
        assert (await wire.read())["event"] == QEMU_GONE
        code, out, err = await run.end(None)
        assert code == 8 and f"process {os.getpid()} runs on" in err and not run.path.exists()
        assert json.loads(out.splitlines()[-1])["type"] == "summary"


@scenario
async def test_what_does_not_answer_is_told_before_anything_is_armed() -> None:
    """Without privileges, and of a process that is no QEMU, arming would fail in other words."""
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            async with running(pid=child.pid, commands=()) as run:
                code, _, err = await run.end(None)
                assert code == 8 and "belongs to process" in err and not run.path.exists()
        finally:
            child.kill()
    async with running(commands=()) as run:
        run.qemu.handlers["query-commands"] = run.qemu.handlers["hold"]
        code, _, err = await run.end(None)
        assert code == 8 and "did not answer query-commands" in err and not run.path.exists()


@scenario
async def test_a_signal_while_it_waits_for_qemu_ends_it() -> None:
    async with running(commands=()) as run:
        run.qemu.handlers["query-commands"] = run.qemu.handlers["hold"]
        await until("query-commands", lambda: run.qemu.held == 1)
        run.process.terminate()
        run.qemu.release.set()  # the answer has no info_checkpoint in it: arming would be next, and fail
        code, _, err = await run.end(None)
        assert code == 0 and "0 clients" in err and not run.path.exists()


@scenario
async def test_a_qemu_that_hangs_does_not_keep_it() -> None:
    """It neither reads nor answers: 8 MB stay in the bridge when the signal comes."""
    async with running() as run:
        await _listening(run)
        wire = await Wire.open(run.path, "oob")
        wire.send({"execute": "hold"})
        await until("hold", lambda: run.qemu.held == 1)
        run.qemu.reads.clear()
        wire.send({"exec-oob": "echo", "arguments": {"text": "x" * 8_000_000}})
        await asyncio.wait_for(wire.writer.drain(), DEADLINE_S)
        code, _, err = await run.end()
        assert code == 0 and "1 clients" in err and not run.path.exists()
        run.qemu.reads.set()


@scenario
async def test_killed_it_leaves_a_socket_that_the_next_one_replaces() -> None:
    async with running() as run:
        await _listening(run)
        inode = run.path.lstat().st_ino
        run.process.kill()
        await run.process.wait()
        assert run.path.is_socket()
        command = [sys.executable, "-m", "colotrace", "qmp-bridge", "--pid", str(os.getpid()), "--qmp",
                   str(run.qemu.path), "--listen", str(run.path)]  # fmt: skip
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        await until("replacing", lambda: run.path.exists() and run.path.lstat().st_ino != inode)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0 and not run.path.exists()


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["qmp-bridge", *arguments])


def test_wrong_usage() -> None:
    for arguments in ([], ["--qmp", "a"], ["--listen", "b"], ["--qmp", "a", "--listen", "b", "--pid", "0"]):
        result = _run(*arguments)
        assert result.exit_code == 2 and "Usage: " in result.output


def test_a_path_that_is_taken_is_told_first(tmp_path: Path) -> None:
    taken = tmp_path / "x"
    taken.write_text("")
    result = _run("--pid", str(os.getpid()), "--qmp", "/nowhere/qmp.sock", "--listen", str(taken))
    assert result.exit_code == 10 and str(taken) in result.output and taken.read_text() == ""
    result = _run("--pid", str(os.getpid()), "--qmp", "/nowhere/qmp.sock", "--listen", str(tmp_path / "y"))
    assert result.exit_code == 8 and "/nowhere/qmp.sock" in result.output


def test_starting_is_light() -> None:
    heavy = ["bcc", "pandas", "numpy", "qemu.qmp", "asyncio"]
    code = f"import sys, colotrace.cli.qmp_bridge; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
