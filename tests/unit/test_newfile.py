"""Files that are written: for their owner only, through no link, and nothing that is there is lost by mistake."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from colotrace.cli.armed import ArmedFile
from colotrace.errors import OutputError
from colotrace.newfile import open_private
from colotrace.recording.lines import LineFile

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, how: str) -> None:
    if how == "armed":
        ArmedFile(str(path)).create()
    else:
        file = LineFile(str(path))
        file.write({"a": 1})
        file.close()


@pytest.mark.parametrize("how", ["armed", "lines"])
def test_for_its_owner_only_whatever_the_umask(tmp_path: Path, how: str) -> None:
    before = os.umask(0)
    try:
        write(tmp_path / "new", how)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["armed", "lines"])
@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, how: str, there: bool) -> None:
    precious = tmp_path / "precious"
    if there:
        precious.write_text("kept")
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(OutputError, match="it is a symbolic link") as caught:
        write(tmp_path / "link", how)
    assert precious.exists() == there and (not there or precious.read_text() == "kept")
    assert caught.value.remedy == f"Choose another --{'armed-file' if how == 'armed' else 'output'}."


@pytest.mark.parametrize("how", ["armed", "lines"])
def test_a_hard_link_is_not_written_through(tmp_path: Path, how: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    os.link(precious, tmp_path / "link")
    with pytest.raises(OutputError, match="has other names as well"):
        write(tmp_path / "link", how)
    assert precious.read_text() == "kept"


def test_an_output_is_begun_anew_and_an_armed_file_is_not_emptied(tmp_path: Path) -> None:
    for how, expected in (("armed", "old"), ("lines", '{"a":1}\n')):
        path = tmp_path / how
        path.write_text("old")
        write(path, how)
        assert path.read_text() == expected


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(OutputError):
        open_private(str(tmp_path / "a"), "--output", empty=True)
    write(tmp_path / "c", "armed")
    assert os.listdir("/proc/self/fd") == before


def test_nobody_else_opens_files_for_writing() -> None:
    """Whoever adds a writer has to think of links: these are all there are."""
    known = {"cachedir.py", "cli/__init__.py", "debuginfod.py", "export/perfetto.py", "newfile.py"}
    known.add("recording/table.py")
    words = ("O_CREAT", "O_WRONLY", ".touch(", "write_text(", "write_bytes(", 'open("w', '"wb"', "tempfile")
    found = {
        str(path.relative_to(ROOT / "colotrace"))
        for path in (ROOT / "colotrace").rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    assert found == known


@pytest.mark.parametrize(
    "code",
    ["import pickle; pickle.loads(x)", "import marshal; marshal.loads(x)", "eval(x)", "exec(x)",
     "import subprocess; subprocess.run(x, shell=True)", "import os; os.system(x)", "import bcc"],
)  # fmt: skip
def test_the_linter_refuses_what_runs_data(code: str) -> None:
    name = str(ROOT / "colotrace" / "example.py")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", name, "-"]
    text = "\n".join(code.split("; "))
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 1 and any(rule in done.stdout for rule in ("S3", "S1", "S6", "TID251")), done.stdout
