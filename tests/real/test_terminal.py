"""A VM whose owner has chosen its name and its binary's path to steer the terminal of whoever looks at it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair
from colo_lab.settings import DEFAULT_QEMU, Settings
from support import colotrace, json_lines

NAME = "evil\x1b[2J\x1b]0;x\x07\u202e\nroot# [bold red]x[/bold red]"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColoPair]:
    folder = tmp_path_factory.mktemp("hostile")
    binary = folder / "a\x1b[2J\nroot# b" / "qemu-system-x86_64"
    binary.parent.mkdir()
    shutil.copy(DEFAULT_QEMU, binary)
    wrapper = folder / "qemu-system-x86_64"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(str(binary))} "$@" -name {shlex.quote("guest=" + NAME)}\n')
    wrapper.chmod(0o755)
    with ColoPair(Settings(qemu=str(wrapper), dirty_mib=8, delay_ms=100)) as pair:
        yield pair
        assert pair.trouble() == []


COMMANDS: dict[str, Callable[[ColoPair], tuple[object, ...]]] = {
    "list": lambda _: ("list",),
    "which of them": lambda _: ("attach", "-n", 1),
    "attach": lambda pair: ("attach", "--pid", pair.primary.pid, "-n", 2),
    "doctor": lambda pair: ("doctor", "--pid", pair.primary.pid),
    "inspect": lambda pair: ("inspect", "--pid", pair.primary.pid),
    "another's socket": lambda pair: ("attach", "--pid", pair.primary.pid, "--qmp", pair.secondary.qmp_path),
    "info-checkpoint": lambda pair: ("info-checkpoint", "--pid", pair.secondary.pid, "-n", 1),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(hostile: ColoPair, name: str) -> None:
    run = colotrace(*COMMANDS[name](hostile))
    assert run.returncode in (0, 3, 8) and "Traceback" not in run.stderr, run.stderr
    for text in (run.stdout, run.stderr):
        assert all(c.isprintable() or c == "\n" for c in text), ascii(text)
        assert not any(line.startswith("root#") for line in text.splitlines())
    if name in ("attach", "doctor", "list"):
        assert "evil\\x1b[2J" in run.stdout + run.stderr


def test_programs_get_the_name_as_it_is(hostile: ColoPair) -> None:
    rows = json.loads(colotrace("list", "--json").stdout)
    assert NAME in {row["name"] for row in rows}
    lines = json_lines(colotrace("attach", "--pid", hostile.primary.pid, "-n", 1, "--json").stdout)
    assert lines[0]["name"] == NAME and Path(lines[0]["exe"]).name == "qemu-system-x86_64"
