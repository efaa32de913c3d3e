"""What the real tests share: the reason to skip, a pair in COLO, and the proof that a test has left nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(Path(__file__).resolve().parent)]

from colo_lab.pair import ColoPair  # noqa: E402
from colo_lab.settings import DEFAULT_QEMU, Settings  # noqa: E402
from support import leftovers  # noqa: E402

NOBODY = 65534
TRACEFS = Path("/sys/kernel/tracing")


def _reason_to_skip() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/kvm").exists():
        return "needs /dev/kvm"
    if not Path(DEFAULT_QEMU).exists():
        return f"needs {DEFAULT_QEMU}"
    try:
        import bcc  # noqa: F401, TID251
    except ImportError:
        return "needs the distribution's bcc"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _reason_to_skip()
    here = Path(__file__).parent
    for item in items:
        if reason and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def pair() -> Iterator[ColoPair]:
    """A pair in COLO over a unix socket: 8 MiB dirtied, a checkpoint every 100 ms. Shared by a file's tests."""
    with ColoPair(Settings(dirty_mib=8, delay_ms=100)) as running:
        yield running
        assert running.trouble() == []


@pytest.fixture
def make_pair() -> Iterator[Callable[..., ColoPair]]:
    """Makes pairs of other settings: make_pair(dirty_mib=32, start_colo=False). They end with the test."""
    pairs: list[ColoPair] = []

    def make(*, start_colo: bool = True, **settings: object) -> ColoPair:
        one = ColoPair(Settings(**settings), start_colo=start_colo)  # type: ignore[arg-type]
        pairs.append(one.__enter__())
        return one

    yield make
    for one in reversed(pairs):
        one.close()


@pytest.fixture
def as_nobody() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the command as user nobody with some capabilities, from a copy that nobody may read."""
    site = Path(next(path for path in sys.path if path.endswith("site-packages") and "venv" in path))
    place = Path("/run") / f"colotrace-test-{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        shutil.copytree(site, place / "site", ignore=shutil.ignore_patterns("mypy*", "ruff*", "hypothesis*"))
        for part in ("colotrace", "bpf"):
            shutil.copytree(ROOT / part, place / part)

        def run(*arguments: object, capabilities: set[str]) -> subprocess.CompletedProcess[str]:
            flags = ",".join(f"+{name}" for name in sorted(capabilities))
            given = [f"--inh-caps={flags}", f"--ambient-caps={flags}"] if flags else []
            command = ["/usr/bin/python3", "-m", "colotrace", *map(str, arguments)]
            return subprocess.run(
                ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *given, "--", *command],
                capture_output=True, text=True, timeout=120, check=False, cwd="/",
                env={"PYTHONPATH": f"{place}:{place / 'site'}", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip

        yield run
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="session", autouse=True)
def tracefs() -> Iterator[None]:
    """tracefs, mounted for as long as the tests run: what they look for could otherwise not be seen there."""
    mounted = TRACEFS.joinpath("uprobe_events").exists()
    if not mounted:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", str(TRACEFS)], check=True)
    yield
    if not mounted:
        subprocess.run(["umount", str(TRACEFS)], check=True)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After every real test: no BPF link on our VMs and no tracefs uprobe that was not there before."""
    before = leftovers()
    yield
    assert leftovers() == before
