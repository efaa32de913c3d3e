"""The checks of a host, on saved files of /proc, /sys and /boot; each status, and the errors that attaching makes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from colotrace.diagnosis import Check, Status, exit_code, require
from colotrace.errors import ColotraceError, EnvironmentFault, PermissionsError, PlanError
from colotrace.kernel import preflight
from colotrace.kernel.host import INITIAL_NAMESPACES, Host, capabilities, kernel_version
from colotrace.target.process import Process

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


ALL_MASK, PTRACE, ADMIN, PERFMON, BPF = (1 << 41) - 1, 1 << 19, 1 << 21, 1 << 38, 1 << 39
CONFIG = "".join(f"CONFIG_{name}=y\n" for name in ("BPF_SYSCALL", "BPF_EVENTS", "UPROBES", "CROSS_MEMORY_ATTACH"))
LOCKDOWN = "CONFIG_SECURITY_LOCKDOWN_LSM=y\n"
SELF = "proc/self/status"


def host(folder: Path, files: dict[str, str | bytes], release: str = "6.12.9-amd64", **namespaces: int) -> Host:
    """A host with these files, in namespaces by their inodes: the initial ones, unless told otherwise."""
    for name, data in {SELF: status(ALL_MASK), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (folder / "proc/self/ns").mkdir(parents=True)
    for kind, inode in (INITIAL_NAMESPACES | namespaces).items():
        (folder / "proc/self/ns" / kind).symlink_to(f"{kind}:[{inode}]")
    return Host(folder, release)


def outcome(check: Check) -> tuple[str, type[ColotraceError] | None]:
    """Its status and error; what is not ok says what it blocks and what to do."""
    assert (check.status is Status.OK) == (check.blocks is None) == (check.remedy is None)
    assert (check.status is Status.FAIL) == (check.fault is not None)
    return check.status.value, check.fault


OKAY, WARNING = ("ok", None), ("warn", None)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.5.0", ("fail", EnvironmentFault)), ("6.6.0", WARNING), ("6.9.3-amd64", WARNING), ("6.10.0", OKAY),
        ("what", ("fail", EnvironmentFault)),
    ],
)  # fmt: skip
def test_kernel(tmp_path: Path, release: str, expected: object) -> None:
    check = preflight.kernel(host(tmp_path, {}, release))
    assert outcome(check) == expected and release in check.found


@pytest.mark.parametrize(
    ("files", "expected", "word"),
    [
        ({"proc/config.gz": gzip.compress(CONFIG.encode())}, OKAY, "UPROBES"),
        ({"boot/config-6.12.9-amd64": CONFIG}, OKAY, "UPROBES"),
        ({"boot/config-6.12.8-amd64": CONFIG}, WARNING, "unknown: neither"),
        ({"proc/config.gz": b"no gzip at all", "boot/config-6.12.9-amd64": CONFIG}, OKAY, "UPROBES"),
        ({"proc/config.gz": gzip.compress(CONFIG.encode())[:-20]}, WARNING, "unknown: neither"),
        ({"proc/config.gz": gzip.compress(b"# nothing")}, ("fail", EnvironmentFault), "without CONFIG_BPF_SYSCALL"),
        (
            {"boot/config-6.12.9-amd64": CONFIG.replace("CONFIG_UPROBES=y", "# CONFIG_UPROBES is not set")},
            ("fail", EnvironmentFault), "without CONFIG_UPROBES",
        ),
        ({}, WARNING, "unknown"),
    ],
)  # fmt: skip
def test_kernel_options(tmp_path: Path, files: dict[str, str | bytes], expected: object, word: str) -> None:
    check = preflight.kernel_options(host(tmp_path, files))
    assert outcome(check) == expected and word in check.found


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/bus/event_source/devices/uprobe/type": "7"}, OKAY), ({"boot/config-6.12.9-amd64": CONFIG}, OKAY),
        ({}, WARNING),
    ],
)  # fmt: skip
def test_uprobes(tmp_path: Path, files: dict[str, str | bytes], expected: object) -> None:
    assert outcome(preflight.uprobes(host(tmp_path, files))) == expected


@pytest.mark.parametrize("there", [True, False])
def test_btf_is_not_needed(tmp_path: Path, there: bool) -> None:
    check = preflight.btf(host(tmp_path, {"sys/kernel/btf/vmlinux": b""} if there else {}))
    assert outcome(check) == OKAY and check.found.startswith("there" if there else "not there")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, OKAY),
        ({"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}, OKAY),
        ({"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"}, ("fail", EnvironmentFault)),
        ({"boot/config-6.12.9-amd64": CONFIG}, OKAY),
        ({"boot/config-6.12.9-amd64": CONFIG + LOCKDOWN}, WARNING),
        ({}, WARNING),
    ],
)
def test_lockdown(tmp_path: Path, files: dict[str, str | bytes], expected: object) -> None:
    assert outcome(preflight.lockdown(host(tmp_path, files))) == expected


@pytest.mark.parametrize(
    ("mask", "expected", "word"),
    [
        (ALL_MASK, OKAY, "CAP_SYS_PTRACE"), (ADMIN | PTRACE, OKAY, "CAP_SYS_ADMIN"),
        (BPF | PERFMON | PTRACE, OKAY, "CAP_BPF"), (BPF | PERFMON, WARNING, "no CAP_SYS_PTRACE"),
        (BPF, ("fail", PermissionsError), "CAP_PERFMON missing"),
        (PERFMON, ("fail", PermissionsError), "CAP_BPF missing"),
        (0, ("fail", PermissionsError), "CAP_BPF and CAP_PERFMON missing"),
    ],
)  # fmt: skip
def test_own_capabilities(tmp_path: Path, mask: int, expected: object, word: str) -> None:
    check = preflight.own_capabilities(host(tmp_path, {SELF: status(mask)}))
    assert outcome(check) == expected and word in check.found


def test_capabilities_in_a_user_namespace_do_not_count(tmp_path: Path) -> None:
    check = preflight.own_capabilities(host(tmp_path, {}, user=4026532000))
    assert outcome(check) == ("fail", PermissionsError) and "user namespace" in check.found


@pytest.mark.parametrize(
    ("scope", "mask", "expected"),
    [
        (None, 0, OKAY), ("0", 0, OKAY), ("1", 0, WARNING), ("1", PTRACE, OKAY), ("2", 0, WARNING), ("2", PTRACE, OKAY),
        ("3", ALL_MASK, ("fail", EnvironmentFault)),
    ],
)  # fmt: skip
def test_ptrace_scope(tmp_path: Path, scope: str | None, mask: int, expected: object) -> None:
    files: dict[str, str | bytes] = {SELF: status(mask)}
    if scope is not None:
        files["proc/sys/kernel/yama/ptrace_scope"] = f"{scope}\n"
    assert outcome(preflight.ptrace_scope(host(tmp_path, files))) == expected


@pytest.mark.parametrize("check", [preflight.bpf_sysctl, preflight.perf_sysctl])
def test_sysctls_are_told_and_do_not_matter(tmp_path: Path, check: object) -> None:
    kernel = "proc/sys/kernel"
    files: dict[str, str | bytes] = {f"{kernel}/unprivileged_bpf_disabled": "2\n", f"{kernel}/perf_event_paranoid": "4"}
    found = check(host(tmp_path, files))  # type: ignore[operator]
    assert outcome(found) == OKAY and found.found[:2] in ("2;", "4;")


def test_a_sysctl_that_cannot_be_read_is_a_warning_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel/perf_event_paranoid").mkdir(parents=True)
    check = preflight.perf_sysctl(host(tmp_path, {}))
    assert outcome(check) == WARNING and "Is a directory" in check.found


@pytest.mark.parametrize(
    ("release", "inode", "expected"),
    [
        ("6.12.0", 4026531836, OKAY), ("6.6.0", 4026531836, OKAY), ("6.12.0", 4026532789, WARNING),
        ("6.6.0", 4026532789, ("fail", EnvironmentFault)),
    ],
)  # fmt: skip
def test_pid_namespace(tmp_path: Path, release: str, inode: int, expected: object) -> None:
    assert outcome(preflight.pid_namespace(host(tmp_path, {}, release, pid=inode))) == expected


def test_every_check_copes_with_a_host_that_tells_nothing(tmp_path: Path) -> None:
    """As in a sandbox: unknown is a warning, never ok because nothing was seen."""
    found = {check.name: check for check in (one(Host(tmp_path, "6.12.0")) for one in preflight.HOST_CHECKS)}
    assert all(outcome(check) for check in found.values())
    unknown = {name for name, check in found.items() if check.status is Status.WARN and "unknown" in check.found}
    assert {"kernel options", "uprobes", "lockdown", "capabilities", "pid namespace"} <= unknown


class Target(Process):
    """A process that is a saved status."""

    def __init__(self, text: str) -> None:
        self.pid, self._text = 4711, text

    def _read(self, name: str) -> str:
        assert name == "status"
        return self._text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TracerPid:\t0\n", {"debugger": OKAY, "shadow stack": OKAY}),
        ("TracerPid:\t9\n", {"debugger": ("fail", PlanError), "shadow stack": OKAY}),
        ("x86_Thread_features:\t\n", {"debugger": OKAY, "shadow stack": OKAY}),
        ("x86_Thread_features:\tshstk wrss \n", {"debugger": OKAY, "shadow stack": ("fail", PlanError)}),
        (
            "x86_Thread_features:\t\nx86_Thread_features_locked:\tshstk wrss \n",
            {"debugger": OKAY, "shadow stack": OKAY},
        ),
    ],
)
def test_targets(text: str, expected: dict[str, object]) -> None:
    assert {check.name: outcome(check) for check in (one(Target(text)) for one in preflight.TARGET_CHECKS)} == expected


def test_attaching_ends_with_the_first_failure() -> None:
    checks = [
        Check("a", Status.WARN, "odd", "little", "nothing"),
        Check("b", Status.FAIL, "missing", "arming", "Get it.", PermissionsError),
        Check("c", Status.FAIL, "broken", "arming", None, EnvironmentFault),
    ]
    with pytest.raises(PermissionsError, match=r"^missing; this blocks arming$") as caught:
        require(checks)
    assert caught.value.remedy == "Get it." and exit_code(checks) == 6
    assert exit_code(checks[:1]) == 0


def test_the_real_proc_is_read_as_the_saved_ones_are() -> None:
    here = Host()
    assert here.release == os.uname().release
    assert capabilities(here.text(SELF)) == here.capabilities()


def test_code_of_another_machine_is_not_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Process(os.getpid())
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    preflight.check_machine(me, "aarch64")
    with pytest.raises(PlanError, match="built for x86_64, and this host is aarch64") as caught:
        preflight.check_machine(me, "x86_64")
    assert "Nothing was armed" in caught.value.remedy
