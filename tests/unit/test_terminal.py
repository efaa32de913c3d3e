"""Nothing that others have named gets at the terminal: escape sequences, bidi controls, line ends, rich's markup."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from colotrace.checkpoint import Note
from colotrace.cli import attach, check, doctor, inspect, main, print_error, qmp_bridge
from colotrace.cli import list as list_command
from colotrace.cli.console import TextConsole
from colotrace.cli.live import LiveView
from colotrace.cli.series import RoleSeries
from colotrace.cli.tables import summary_view
from colotrace.cli.verdicts import findings_view
from colotrace.crosscheck.findings import Finding
from colotrace.diagnosis import ok, warn
from colotrace.doctor import Examination
from colotrace.errors import PlanError, QmpRefusal, TargetError
from colotrace.phases import Role
from colotrace.recording import lines
from colotrace.resolve.plan import ProbePlan
from colotrace.summary import TargetSummary
from colotrace.target import discovery
from colotrace.target.discovery import QemuProcess

from .coloprogram import Recipe, build
from .test_summary import totals
from .truth import plan_of

HOSTILE = "evil\x1b[2J\x1b]0;title\x07\x9b1m\u202e\u2066\u2028\x85\r\nroot# \x00[bold red]x[/bold red] :skull: \ud800"
SHOWN = "[bold red]x[/bold red] :skull:"
PID = 4711


def poisoned(value: Any) -> Any:
    """The value with every text in it hostile, however deep."""
    if isinstance(value, str):
        return HOSTILE
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if type(value).__module__ == "colotrace.phases":
            return value
        found = {field.name: poisoned(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **found)
    if isinstance(value, Mapping):
        return {key: poisoned(one) for key, one in value.items()}
    return tuple(map(poisoned, value)) if isinstance(value, tuple) else value


PLAN: ProbePlan = poisoned(plan_of(build(Recipe(seed=3)).data))


def assert_harmless(text: str, times: int = 1) -> None:
    """The hostile text is there, as text."""
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text)
    assert "".join(text.split()).count("".join(SHOWN.split())) >= times, text
    assert not any(line.lstrip().startswith("root#") for line in text.splitlines()), "it passes for a line of ours"


def printed(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> str:
    """What is printed on standard output and error."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    work()
    monkeypatch.undo()
    return out.getvalue()


def rendered(renderable: Any, width: int = 200) -> str:
    console = TextConsole(file=io.StringIO(), width=width, color_system=None, soft_wrap=True)
    console.print(renderable)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (TargetError(f"no process {HOSTILE}", "Try."), QmpRefusal(HOSTILE, HOSTILE), PlanError(HOSTILE)):
        text = printed(monkeypatch, lambda error=error: print_error(error))  # type: ignore[misc]
        assert_harmless(text)
        assert len(text.splitlines()) == 1 + bool(error.remedy), text


def test_an_error_of_colotrace_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(list_command, "list_qemus", fail)
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == 70
    assert "\x1b" not in result.output and "\u202e" not in result.output and SHOWN in result.output


def test_list(monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = QemuProcess(PID, HOSTILE, f"/tmp/{HOSTILE}", HOSTILE, HOSTILE)
    monkeypatch.setattr(list_command, "list_qemus", lambda: [qemu])
    monkeypatch.setattr(list_command, "_binary", lambda *_: {"qemu_version": HOSTILE, "colo": None, "problem": HOSTILE})
    assert_harmless(CliRunner().invoke(main, ["list"], env={"COLUMNS": "1000"}).output, 4)
    assert CliRunner().invoke(main, ["list", "--json"]).output.isascii()


def test_several_qemus_to_choose_from(monkeypatch: pytest.MonkeyPatch) -> None:
    two = [QemuProcess(pid, HOSTILE, HOSTILE, None, None) for pid in (1, 2)]
    monkeypatch.setattr(discovery, "list_qemus", lambda: two)
    with pytest.raises(TargetError) as caught:
        discovery.only_qemu()
    text = printed(monkeypatch, lambda: print_error(caught.value))
    assert_harmless(text, 4)
    assert len(text.splitlines()) == 4


def test_inspect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text of a plan, whichever table of symbols or section it came from."""
    text = printed(monkeypatch, lambda: inspect._print(PLAN))
    assert_harmless(text, 2 * len(PLAN.probes))


def test_a_binarys_path(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"x\x1b[2J\nroot# \xff[bold red]x[/bold red] :skull:")
    path.parent.mkdir(parents=True)  # the markup has a slash in it
    path.write_bytes(b"no ELF")
    for arguments in (["inspect", str(path)], ["audit", str(path)], ["inspect", str(path) + "/gone"]):
        assert_harmless(CliRunner().invoke(main, arguments).output)


@pytest.mark.parametrize("say", [attach._Run._say, check._say, qmp_bridge._Reporter(False, True)._say], ids=str)
def test_sentences_of_the_commands(monkeypatch: pytest.MonkeyPatch, say: Callable[..., None]) -> None:
    arguments = {"_Run": (None, HOSTILE), "_Reporter": (HOSTILE, {"type": "note"})}
    name = getattr(say, "__qualname__", "").partition(".")[0]
    text = printed(monkeypatch, lambda: say(*arguments.get(name, (HOSTILE,))))
    assert_harmless(text)
    assert len(text.splitlines()) == 1


def test_summary_and_live_view() -> None:
    summary = TargetSummary(PID, HOSTILE, PLAN, {Role.PRIMARY: totals()}, 1, 1, 0)
    assert_harmless(rendered(summary_view(summary, {})))
    assert_harmless(rendered(summary_view(dataclasses.replace(summary, roles={}), {})))
    target = SimpleNamespace(pid=PID, name=HOSTILE, plan=PLAN)
    session: Any = SimpleNamespace(targets=[target], totals=lambda _pid: {Role.PRIMARY: totals()})
    series = {(PID, Role.PRIMARY): RoleSeries(PID, Role.PRIMARY)}
    view = LiveView(TextConsole(file=io.StringIO(), width=500), session, series)
    view.note(Note("role", HOSTILE, PID))
    assert_harmless(rendered(view.render(), 500), 3)


def test_findings_and_a_diagnosis() -> None:
    finding: Finding = poisoned(Finding("always-zero", ("ram_size",), "m", "a", "f"))
    assert_harmless(rendered(findings_view([dataclasses.replace(finding, code="always-zero")])[0]))
    checks = (ok("process", HOSTILE), warn("plan", HOSTILE, HOSTILE, HOSTILE))
    assert_harmless(rendered(doctor.examination_view(Examination(checks, checks[0], checks, PID))), 9)


def test_json_lines_are_ascii() -> None:
    note = Note(HOSTILE, HOSTILE, PID, {"x": HOSTILE})
    line = lines.json_line(lines.event_json(note))
    assert line.isascii() and all(c.isprintable() for c in line)
