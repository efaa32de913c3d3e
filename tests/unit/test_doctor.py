"""colotrace doctor's words: fixed-width pictures, JSON, exit codes; and the whole command without any privilege."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from colotrace.cli.doctor import examination_view
from colotrace.diagnosis import Check, Status, fail, ok, warn
from colotrace.doctor import Examination, examine, self_test
from colotrace.doctor.target import plan_check, target_checks
from colotrace.errors import EnvironmentFault, PermissionsError, PlanError
from colotrace.kernel import selftest
from colotrace.kernel.preflight import HOST_CHECKS
from colotrace.kernel.selftest import SelfTest
from colotrace.phases import Phase, Role
from colotrace.resolve.plan import Quality, Unresolved

from .coloprogram import Recipe, build
from .truth import plan_of

WELL = ok("kernel", "Linux 6.12.9-amd64")
MOUNT = "mount -t securityfs none /sys/kernel/security"
ODD = warn("lockdown", "unknown: it cannot be read", "knowing beforehand", MOUNT)
BAD = fail("capabilities", "CAP_BPF missing", "loading and arming the probes", "Use sudo.", PermissionsError)
COUNTED = ok("self-test", "1,000 and 700 calls: 1,000 and 700 hits")
VM = (ok("process", "web\x1b[2J\u202e, /usr/bin/qemu"), fail("plan", "no [red]COLO[/red]", "arming", None, PlanError))


def picture(examination: Examination, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(examination_view(examination))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_picture_of_a_host_that_is_well() -> None:
    assert picture(Examination((WELL, ODD), COUNTED), 60) == """\
host             found
kernel     ok    Linux 6.12.9-amd64
lockdown   warn  unknown: it cannot be read
                 blocks: knowing beforehand
                 remedy: mount -t securityfs none
                 /sys/kernel/security
self-test  ok    1,000 and 700 calls: 1,000 and 700 hits

attach can work here; worth knowing: lockdown"""


def test_picture_of_failures_and_of_a_hostile_process() -> None:
    assert picture(Examination((WELL, BAD), ODD, VM, 4711), 60) == """\
host                found
kernel        ok    Linux 6.12.9-amd64
capabilities  fail  CAP_BPF missing
                    blocks: loading and arming the probes
                    remedy: Use sudo.
lockdown      warn  unknown: it cannot be read
                    blocks: knowing beforehand
                    remedy: mount -t securityfs none
                    /sys/kernel/security

process 4711        found
process       ok    web\\x1b[2J\\u202e, /usr/bin/qemu
plan          fail  no [red]COLO[/red]
                    blocks: arming

attach would end with exit code 6: capabilities, plan"""


def test_json_has_every_line() -> None:
    answer = Examination((WELL, BAD), COUNTED, VM, 4711).as_json()
    assert json.loads(json.dumps(answer)) == answer
    assert (answer["type"], answer["schema_version"], answer["exit_code"], answer["pid"]) == ("doctor", 1, 6, 4711)
    assert [line["name"] for line in answer["host"]] == ["kernel", "capabilities", "self-test"]  # type: ignore[attr-defined]
    assert answer["host"][1] == {  # type: ignore[index]
        "name": "capabilities", "status": "fail", "found": "CAP_BPF missing",
        "blocks": "loading and arming the probes", "remedy": "Use sudo.",
    }  # fmt: skip
    assert [line["status"] for line in answer["target"]] == ["ok", "fail"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("host", "target", "self_tested", "code"),
    [
        ((WELL, ODD), (), COUNTED, 0), ((BAD,), VM, COUNTED, 6), ((WELL,), VM, COUNTED, 5),
        ((WELL,), (), fail("self-test", "-", "-", None, EnvironmentFault), 7),
    ],
)  # fmt: skip
def test_exit_code(host: tuple[Check, ...], target: tuple[Check, ...], self_tested: Check, code: int) -> None:
    assert Examination(host, self_tested, target).exit_code == code


def test_the_self_test_is_not_run_in_vain() -> None:
    check = self_test([WELL, BAD])
    assert check.status is Status.WARN and "CAP_BPF missing" in check.found


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (SelfTest(0, 1000, 700), Status.OK), (SelfTest(0, 1000, 0), Status.FAIL), (SelfTest(0, 999, 700), Status.FAIL),
        (SelfTest(300, 1000, 700), Status.FAIL), (SelfTest(0, 1000, 701), Status.FAIL),
    ],
)  # fmt: skip
def test_one_hit_too_few_or_too_many_fails(monkeypatch: pytest.MonkeyPatch, seen: SelfTest, status: Status) -> None:
    monkeypatch.setattr(selftest, "run_self_test", lambda: seen)
    assert self_test([WELL]).status is status


def test_a_plan_with_gaps_says_which_and_why() -> None:
    whole = plan_of(build(Recipe(seed=3)).data)
    check = plan_check(whole)
    assert check.status is Status.OK and "primary 9 of 9, secondary 7 of 7" in check.found
    primary = whole.roles[Role.PRIMARY]
    gap = replace(primary, phases={**primary.phases, Phase.DEV: None, Phase.RAM: Quality.PARTIAL})
    why = Unresolved(Role.PRIMARY, "dev-end", "two calls fit")
    check = plan_check(replace(whole, roles={**whole.roles, Role.PRIMARY: gap}, unresolved=(why,)))
    assert check.status is Status.WARN and check.blocks == "exact times of primary dev, primary ram"
    assert "primary 7 of 9" in check.found and "primary: dev-end: two calls fit" in check.found


def test_a_process_that_is_not_there() -> None:
    (check,) = target_checks(4_194_304)  # pid_max can be no larger
    assert check.status is Status.FAIL and check.fault and check.fault.exit_code == 3


def test_the_command_needs_no_privileges_to_say_what_is_missing() -> None:
    """As whoever runs this test; root gives all up first."""
    code = (
        "import json; from colotrace import privileges; privileges.give_up({}); from colotrace.cli import main; "
        "main(['doctor', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    answer = json.loads(done.stdout)
    lines = {line["name"]: line for line in answer["host"]}
    assert done.returncode == answer["exit_code"] == 6 and "Traceback" not in done.stderr
    assert lines["capabilities"]["status"] == "fail" and "CAP_BPF and CAP_PERFMON" in lines["self-test"]["found"]
    assert len(lines) == len(HOST_CHECKS) + 1 and lines["kernel"]["status"] in ("ok", "warn")


def test_attach_and_doctor_end_alike() -> None:
    code = "from colotrace import privileges; privileges.give_up({}); from colotrace.cli import main; main()"
    command = [sys.executable, "-c", code]
    codes = [
        subprocess.run([*command, name, "--pid", "1"], capture_output=True, timeout=60, check=False).returncode
        for name in ("attach", "doctor")
    ]
    assert codes == [6, 6]


def test_examining_keeps_the_order_in_which_attaching_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colotrace.doctor.self_test", lambda _host: COUNTED)
    assert [check.name for check in examine().checks][:2] == ["kernel", "kernel options"]
