"""pip install into a venv that sees the system's bcc: works from any directory, the BPF sources in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from colo_lab.pair import ColoPair

ROOT = Path(__file__).resolve().parents[2]
CAPABILITIES = "cap_bpf,cap_perfmon,cap_sys_ptrace+ep"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A venv's bin directory, with colotrace installed in it and a copy of the interpreter, as the README says."""
    place = tmp_path_factory.mktemp("venv")
    for command in (
        ["/usr/bin/python3", "-m", "venv", "--copies", "--system-site-packages", place],
        [place / "bin/pip", "install", "--quiet", ROOT],
    ):
        subprocess.run([str(part) for part in command], check=True, timeout=300, cwd="/")
    yield place / "bin"


def test_attach_from_anywhere(installed: Path, pair: ColoPair, tmp_path: Path) -> None:
    command = [installed / "colotrace", "attach", "--pid", pair.primary.pid, "-n", 2, "--json"]
    run = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["checkpoints"] >= 2


def test_capabilities_for_good(installed: Path, pair: ColoPair) -> None:
    """The README's setcap recipe, as user nobody."""
    for directory in (installed, *installed.parents[:3]):
        directory.chmod(0o755)
    subprocess.run(["setcap", CAPABILITIES, str((installed / "python3").resolve())], check=True)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    attach = ["-m", "colotrace", "attach", "--pid", pair.primary.pid, "-n", 2, "--json"]
    command = [*nobody, installed / "python3", *attach]
    run = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["checkpoints"] >= 2
