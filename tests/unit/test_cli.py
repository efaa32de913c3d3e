"""The command line, as far as it goes without privileges: help, usage, and inspect of synthetic QEMUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from colotrace import __version__
from colotrace.cli import main
from colotrace.phases import BOUNDARIES, ROLE_PHASES, Role

from .coloprogram import ROOTS, Program, Recipe, build
from .elfwriter import BUILD_ID

COMMANDS = ("attach", "audit", "check", "doctor", "info-checkpoint", "inspect", "list", "qmp-bridge")
PROGRAM = build(Recipe(seed=5))


def run(*arguments: str) -> Result:
    """The command in this process, its exit code and both its outputs; an exception is a test's failure."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def errors_of(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with standard output and error apart."""
    command = [sys.executable, "-m", "colotrace", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in done.stderr
    return done


def file(folder: Path, data: bytes | Program, name: str = "qemu") -> str:
    path = folder / name
    path.write_bytes(data.data if isinstance(data, Program) else data)
    return str(path)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_ends_with_examples(name: str, flag: str) -> None:
    result = run(name, flag)
    assert result.exit_code == 0
    examples = result.output.rpartition("Examples:")[2].strip().splitlines()
    assert examples and all(f"colotrace {name}" in line for line in examples)


def test_help_names_all_commands_and_exit_codes() -> None:
    output = run("--help").output
    for name in COMMANDS:
        assert f"\n  {name} " in output
    assert "Examples:" in output and "Exit codes:" in output
    codes = [line.split()[0] for line in output.partition("Exit codes:")[2].strip().splitlines()]
    assert codes == [*"0123456789", "10", "11", "70", "130"]


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0 and result.output.split() == ["colotrace,", "version", __version__]


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"], ["--frobnicate"], ["inspect"], ["inspect", "a", "--pid", "1"], ["inspect", "a", "b"],
        ["inspect", "--pid", "0"], ["inspect", "--pid", "x"], ["attach", "--checkpoints", "0", "--pid", "1"],
        ["attach", "--duration", "0"], ["attach", "x"], ["attach", "--pid", "-1"], ["attach", "--frobnicate"],
        ["attach", "--pid", "1", "2", "--qmp", "/nowhere"], ["info-checkpoint", "--checkpoints", "0"], ["list", "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and "Usage: " in result.output


def test_inspect_as_json(tmp_path: Path) -> None:
    path = file(tmp_path, PROGRAM)
    result = run("inspect", path, "--json")
    assert result.exit_code == 0
    plan: dict[str, Any] = json.loads(result.output)
    assert {"build_id", "machine", "colo", "roles", "unresolved"} <= set(plan)
    assert (plan["path"], plan["build_id"], plan["machine"]) == (path, BUILD_ID.hex(), "x86_64")
    assert plan["colo"] is True and plan["qemu_version"] == "9.9.9 (synthetic)" and plan["unresolved"] == []
    assert list(plan["roles"]) == ["primary", "secondary"]
    for role in Role:
        one = plan["roles"][role.value]
        assert one["function"] == ROOTS[role.value]
        assert one["phases"] == {phase.value: "exact" for phase in ROLE_PHASES[role]}
        assert {probe["boundary"] for probe in one["probes"]} == set(BOUNDARIES[role])


def test_inspect_as_json_has_true_addresses(tmp_path: Path) -> None:
    plan: dict[str, Any] = json.loads(run("inspect", file(tmp_path, PROGRAM), "--json").output)
    for role, truth in PROGRAM.truth.items():
        found: dict[str, list[int]] = {}
        for probe in plan["roles"][role]["probes"]:
            address = probe["address"] if isinstance(probe["address"], int) else int(probe["address"], 16)
            found.setdefault(probe["boundary"], []).append(address)
            data = bytes.fromhex(probe["bytes"])
            assert PROGRAM.data[probe["file_offset"] :].startswith(data) and probe["emulated"] and probe["evidence"]
        assert {name: tuple(sorted(at)) for name, at in found.items()} == truth


def test_inspect_as_json_says_what_is_missing(tmp_path: Path) -> None:
    path = file(tmp_path, build(Recipe(stripped=frozenset(("qemu_save_device_state",)))))
    plan: dict[str, Any] = json.loads(run("inspect", path, "--json").output)
    assert plan["roles"]["primary"]["phases"]["dev"] is None
    assert [item["role"] for item in plan["unresolved"]] == ["primary"]
    assert plan["unresolved"][0]["what"].startswith("dev-begin: ") and plan["unresolved"][0]["reason"]


def test_inspect_for_people(tmp_path: Path) -> None:
    path = file(tmp_path, PROGRAM)
    lines = run("inspect", path).output.splitlines()
    assert lines[0] == f"{path}: QEMU 9.9.9 (synthetic), x86_64, build-id {BUILD_ID.hex()}"
    for role, truth in PROGRAM.truth.items():
        assert any(line.startswith(f"{role}  in {ROOTS[role]}:  init exact  wait exact  stat exact") for line in lines)
        for name, addresses in truth.items():
            for address in addresses:
                assert any(line.startswith(f"  {name} ") and f" {address:#x} " in line for line in lines), name
    assert not any("unresolved" in line for line in lines)


def test_inspect_for_people_says_what_is_missing(tmp_path: Path) -> None:
    output = run("inspect", file(tmp_path, build(Recipe(stripped=frozenset(("qemu_event_wait",)))))).output
    assert "unresolved: primary: wait-begin: " in output and "init none  wait none" in output


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"#!/bin/sh\n", "is not an ELF file"),
        (b"", "is empty"),
        (PROGRAM.data[:9000], "is truncated"),
        (None, "no file"),
    ],
    ids=["script", "empty", "truncated", "absent"],
)
def test_inspect_of_what_is_no_qemu(tmp_path: Path, data: bytes | None, words: str, flags: list[str]) -> None:
    path = str(tmp_path / "absent") if data is None else file(tmp_path, data)
    done = errors_of("inspect", path, *flags)
    assert done.returncode == 4 and done.stdout == ""
    message, remedy = done.stderr.splitlines()
    assert message.startswith("colotrace: ") and words in message and path in message and remedy.startswith("  ")


def test_inspect_of_a_qemu_without_colo(tmp_path: Path) -> None:
    path = file(tmp_path, build(Recipe(stripped=frozenset(ROOTS.values()), colo_text=False)))
    done = errors_of("inspect", path, "--json")
    assert done.returncode == 4
    assert "without COLO" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["colo"] is False and answer["path"] == path and "without COLO" in answer["error"]
    assert errors_of("inspect", path).stdout == ""


def test_inspect_of_a_colo_that_is_not_understood(tmp_path: Path) -> None:
    result = run("inspect", file(tmp_path, build(Recipe(stripped=frozenset(ROOTS.values())))), "--json")
    assert result.exit_code == 5 and "call sites were not found" in result.output


def test_inspect_of_no_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    result = run("inspect", "--pid", str(process.pid))
    assert result.exit_code == 3 and f"there is no process {process.pid}" in result.output


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """A file's name and a QEMU's version come from outside."""
    nasty = "q\x1b[2J\x07"
    broken = file(tmp_path, b"#!/bin/sh\n", nasty)
    assert "\x1b" not in run("inspect", broken).output and "\\x1b[2J\\x07" in run("inspect", broken).output
    whole = file(tmp_path, PROGRAM, nasty)
    for flags in ([], ["--json"]):
        assert not {"\x1b", "\x07"} & set(run("inspect", whole, *flags).output)


def test_a_qmp_socket_that_is_not_there_is_told_before_anything_else() -> None:
    result = run("attach", "--pid", "1", "--qmp", "/nowhere/qmp.sock")
    assert result.exit_code == 8 and "/nowhere/qmp.sock" in result.output


@pytest.mark.parametrize("module", ["colotrace.cli", "colotrace.cli.attach", "colotrace.cli.inspect"])
def test_starting_is_light(module: str) -> None:
    heavy = ["pandas", "numpy", "matplotlib", "bcc", "scipy"]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("option", ["--output", "--qmp", "--armed-file"])
def test_a_dry_run_has_no_use_for_files_and_sockets(tmp_path: Path, option: str) -> None:
    result = run("attach", "--dry-run", option, str(tmp_path / "x"))
    assert result.exit_code == 2 and "arms nothing" in result.output and not (tmp_path / "x").exists()


def test_ctrl_c_before_a_run_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 would mean findings."""

    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("colotrace.cli.inspect.resolve", interrupt)
    result = run("inspect", file(tmp_path, PROGRAM))
    assert result.exit_code == 130 and "interrupted" in result.output
