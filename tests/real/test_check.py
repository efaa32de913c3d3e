"""The cross-check on a patched QEMU: a correct patch agrees, the seed's defects are each named, and the VM lives."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colo_lab.pair import ColoPair
from qemu_patch.build import binary
from support import checkpoints_done, colotrace, colotrace_running, in_transaction, read_until, wait_for

CHECKPOINTS = 50
FAITHFUL = {
    "primary": {"negative-init", "recv-counted-in-put", "always-zero", "stale-after-reset"},
    "secondary": {"negative-init", "negative-stat", "stale-after-reset"},
}
FIELDS = {
    "negative-init": ["init_time"],
    "negative-stat": ["stat_time"],
    "recv-counted-in-put": ["recv_time", "put_time"],
    "always-zero": ["ram_size"],
}
STALE = {
    "primary": ["put_time", "load_time", "resume_time", "dev_size"],
    "secondary": ["put_time", "recv_time", "load_time", "dev_size"],
}


def check(pair: ColoPair, role: str, *more: object) -> tuple[int, dict[str, Any]]:
    """The command on one side of a pair: its exit code and its JSON object."""
    vm = getattr(pair, role)
    run = colotrace("check", "--pid", vm.pid, "--qmp", vm.qmp_path, "-n", CHECKPOINTS, "--json", *more)
    assert run.stdout, run.stderr
    return run.returncode, json.loads(run.stdout)


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_a_correct_patch_agrees(make_pair: Callable[..., ColoPair], transport: str) -> None:
    pair = make_pair(qemu=str(binary("correct")), dirty_mib=8, delay_ms=100, transport=transport)
    for role in ("primary", "secondary"):
        code, record = check(pair, role, "--reset")
        assert (code, record["findings"]) == (0, []), record["findings"]
        assert record["role"] == role and record["error"] is None
        assert record["checkpoints"] >= CHECKPOINTS  # the last moment that is quiet enough to ask may come later
        verdicts = {field["field"]: field["verdict"] for field in record["fields"]}
        alien = {"dev_time", "resume_time", "ram_size"} if role == "secondary" else set()
        left_out = {name for name, verdict in verdicts.items() if verdict == "not compared"}
        assert left_out == {"init_time"} | alien and len(verdicts) == 14
        for field in record["fields"]:
            if field["verdict"] == "agrees":
                assert abs(field["difference"]) <= field["bound"]
    assert pair.trouble() == []


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_the_seeds_defects_are_named_and_the_vm_lives(make_pair: Callable[..., ColoPair], transport: str) -> None:
    pair = make_pair(qemu=str(binary("faithful")), dirty_mib=8, delay_ms=100, transport=transport)
    for role in ("primary", "secondary"):
        code, record = check(pair, role, "--reset")
        assert code == 1 and record["error"] is None
        found = {one["code"]: one for one in record["findings"]}
        assert set(found) == FAITHFUL[role] and len(record["findings"]) == len(found), record["findings"]
        for name, one in found.items():
            assert one["fields"] == FIELDS.get(name, STALE[role]) and one["arithmetic"] and one["fix"]
        done = checkpoints_done(getattr(pair, role))
        wait_for("three more checkpoints", lambda: checkpoints_done(getattr(pair, role)) >= done + 3)  # noqa: B023
    assert pair.trouble() == []


def test_armed_before_colo_init_is_compared_too(make_pair: Callable[..., ColoPair], tmp_path: Path) -> None:
    """And over the patch's very first checkpoints, when asking too early would kill the VM."""
    pair = make_pair(qemu=str(binary("faithful")), dirty_mib=8, delay_ms=100, start_colo=False)
    armed, vm = tmp_path / "armed", pair.primary
    words = ("--pid", vm.pid, "--qmp", vm.qmp_path, "-n", 10, "--armed-file", armed, "--json")
    with colotrace_running("check", *words) as run:
        wait_for("the probes", armed.exists)
        pair.start_colo()
        output, _ = run.communicate(timeout=60)
    record = json.loads(output)
    assert run.returncode == 1 and pair.trouble() == []
    (init,) = [field for field in record["fields"] if field["field"] == "init_time"]
    (finding,) = [one for one in record["findings"] if one["code"] == "negative-init"]
    assert init["verdict"] == "differs" and init["patch"] < 0 < init["kernel"]
    assert abs(init["patch"] + init["kernel"]) < init["kernel"] / 2 and "without the sign" in finding["arithmetic"]


def check_while_the_peer_dies(pair: ColoPair) -> tuple[int, dict[str, Any]]:
    """Its exit code and record; the secondary is killed once the primary is in a checkpoint."""
    vm = pair.primary
    with colotrace_running("check", "--pid", vm.pid, "--qmp", vm.qmp_path, "-n", 1000, "--json") as run:
        read_until(run.stderr, "is the primary")
        done = checkpoints_done(vm)
        wait_for("checkpoints", lambda: checkpoints_done(vm) >= done + 5)
        wait_for("one under way", lambda: in_transaction(vm.pid) or None)
        pair.secondary.kill()
        output, _ = run.communicate(timeout=60)
    return run.returncode, json.loads(output)


def test_a_failed_checkpoint_is_counted_by_a_careful_patch_as_well(make_pair: Callable[..., ColoPair]) -> None:
    """The peer dies while the primary waits for it in recv or load: QEMU's function returns 0, and tot_num grows.

    By the time that it is dead the primary may be past that, or between checkpoints: then it is tried again.
    """
    for _attempt in range(4):
        pair = make_pair(qemu=str(binary("correct")), dirty_mib=0, delay_ms=100, transport="tcp")
        code, record = check_while_the_peer_dies(pair)
        if code == 1:
            break
        assert code == 9 and record["findings"] == [], "no failed checkpoint, no finding"
    assert code == 1
    assert [one["code"] for one in record["findings"]] == ["failed-checkpoints-counted"]
    assert record["findings"][0]["numbers"]["extra"] == 1
    assert any("COLO ended" in note for note in record["notes"])
    assert record["summary"]["aborted"] >= 1 and record["summary"]["checkpoints"] >= 5


def test_ctrl_c_ends_with_a_verdict(make_pair: Callable[..., ColoPair]) -> None:
    pair = make_pair(qemu=str(binary("correct")), dirty_mib=8, delay_ms=100)
    vm = pair.primary
    with colotrace_running("check", "--pid", vm.pid, "--qmp", vm.qmp_path, "-n", 1000) as run:
        read_until(run.stderr, "is the primary")
        done = checkpoints_done(vm)
        wait_for("checkpoints", lambda: checkpoints_done(vm) >= done + 8)
        run.send_signal(signal.SIGINT)
        output, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert "all fields that were compared agree" in output and "load_time" in output


def test_a_qemu_without_the_patch_is_not_asked(pair: ColoPair) -> None:
    run = colotrace("check", "--pid", pair.primary.pid, "--qmp", pair.primary.qmp_path, "-n", 1)
    assert run.returncode == 8 and "has no info_checkpoint command" in run.stderr and "qmp-bridge" in run.stderr


def test_the_socket_of_another_qemu(pair: ColoPair) -> None:
    run = colotrace("check", "--pid", pair.primary.pid, "--qmp", pair.secondary.qmp_path, "-n", 1)
    assert run.returncode == 8 and f"not to process {pair.primary.pid}" in run.stderr


def test_a_socket_that_is_not_qmp(tmp_path: Path, pair: ColoPair) -> None:
    """A migration socket's worth of silence: each call has its time limit."""
    run = colotrace("check", "--pid", pair.primary.pid, "--qmp", tmp_path / "absent", "-n", 1)
    assert run.returncode == 8 and "cannot talk QMP" in run.stderr


def test_audit_of_a_real_answer(make_pair: Callable[..., ColoPair]) -> None:
    """The same defects from the answer alone, as far as one answer shows them."""
    pair = make_pair(qemu=str(binary("faithful")), dirty_mib=8, delay_ms=100)
    answer = json.dumps({"return": pair.primary.execute("info_checkpoint")})
    run = colotrace("audit", "--json", "-", input=answer)
    assert run.returncode == 1, run.stderr
    (judged,) = json.loads(run.stdout)["answers"]
    found = {(one["code"], *one["fields"]) for one in judged["findings"]}
    assert {("negative-init", "init_time"), ("always-zero", "recv_time"), ("always-zero", "ram_size")} <= found
