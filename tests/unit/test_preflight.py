"""Capabilities from saved status texts, kernel versions from releases as distributions spell them."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from colotrace.errors import EnvironmentFault, PlanError
from colotrace.kernel import preflight
from colotrace.target.process import Process
from colotrace.kernel.host import capabilities, kernel_version

ROOT = "Name:\tbash\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"
ALL = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"}


def status(mask: int) -> str:
    return f"Name:\tpython3\nCapPrm:\t000001ffffffffff\nCapEff:\t{mask:016x}\nCapAmb:\t000001ffffffffff\n"


def test_root_has_all() -> None:
    assert capabilities(ROOT) == ALL


@pytest.mark.parametrize(
    ("bit", "name"), [(19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")]
)
def test_each_bit(bit: int, name: str) -> None:
    """Numbers of linux/capability.h; only the effective set counts."""
    assert capabilities(status(1 << bit)) == {name}
    assert capabilities(status(((1 << 41) - 1) & ~(1 << bit))) == ALL - {name}


@pytest.mark.parametrize(
    "text", [status(0), status(1 << 12 | 1 << 22), "", "Name:\tx\n", "CapPrm:\tffffffffffffffff\n"]
)
def test_none_of_them(text: str) -> None:
    assert capabilities(text) == set()


def test_dockers_default_set() -> None:
    assert capabilities("CapEff:\t00000000a80425fb\n") == set()


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.1.0-18-amd64", (6, 1)), ("6.10.11+bpo-amd64", (6, 10)), ("6.6", (6, 6)), ("6.9-rc3", (6, 9)),
        ("5.14.0-427.13.1.el9_4.x86_64", (5, 14)), ("6.18.5-fc-v11", (6, 18)), ("4.19", (4, 19)), ("6.6+", (6, 6)),
        ("5.15.167.4-microsoft-standard-WSL2", (5, 15)), ("10.0.0", (10, 0)),
        ("", (0, 0)), ("linux", (0, 0)), ("6", (6, 0)), ("x.6.1", (0, 0)), ("6.x", (6, 0)), (".", (0, 0)),
    ],
)  # fmt: skip
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


class Uname:
    def __init__(self, release: str) -> None:
        self.release = release


@pytest.mark.parametrize(("release", "sound"), [("6.6.0", False), ("6.9.12", False), ("6.10.0-1", True), ("7.0", True)])
def test_the_pid_filter(monkeypatch: pytest.MonkeyPatch, release: str, sound: bool) -> None:
    monkeypatch.setattr("os.uname", lambda: Uname(release))
    assert preflight.pid_filter_is_sound() is sound


@pytest.mark.parametrize("release", ["6.5.13", "5.10.0-28-amd64", "nonsense"])
def test_a_kernel_that_is_too_old_is_said(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr("os.uname", lambda: Uname(release))
    with pytest.raises(EnvironmentFault, match=r"is too old: .* needs 6.6 or newer") as caught:
        preflight.check_host()
    assert release in caught.value.message and caught.value.exit_code == 7


def test_code_of_another_machine_is_not_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Process(os.getpid())
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    preflight.check_machine(me, "aarch64")
    with pytest.raises(PlanError, match="built for x86_64, and this host is aarch64") as caught:
        preflight.check_machine(me, "x86_64")
    assert "Nothing was armed" in caught.value.remedy
