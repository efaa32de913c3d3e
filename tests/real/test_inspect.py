"""The plan for Debian's stripped QEMU, held against another disassembler: binutils' objdump."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from colo_lab.settings import DEFAULT_QEMU
from support import colotrace

from colotrace.phases import ROLE_PHASES, Role

EMULATED = re.compile(r"^(call|jmp|j[a-z]+|push)\b")
LINE = re.compile(r"^ +([0-9a-f]+):\t([^#]*)")
CALLS = {
    "init-begin": {"failover_init_state", None},
    "wait-begin": {"qemu_event_wait", None},
    "vm-stop": {"vm_stop_force_state"},
    "vm-stopped": {"qemu_mutex_unlock_iothread"},
    "dev-begin": {"qemu_save_device_state"},
    "dev-end": {"qemu_mutex_unlock_iothread"},
    "ram-begin": {"qemu_savevm_live_state", "qemu_mutex_lock_iothread_impl"},
    "recv-end": {"qemu_event_reset"},
    "resume-begin": {"qemu_mutex_lock_iothread_impl"},
    "cache-flush": {"colo_flush_ram_cache"},
    "cache-flushed": {"qemu_load_device_state"},
    "vm-start": {"vm_start"},
    "vm-started": {"qemu_mutex_unlock_iothread"},
    "colo-exit": {"qapi_event_send_colo_exit"},
}
"""What a boundary's instruction calls, by objdump's word; None where a message's unnamed function or a push stands."""


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    """inspect's object, by an ordinary user's means: no process, no privileges."""
    run = colotrace("inspect", DEFAULT_QEMU, "--json")
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result


@pytest.fixture(scope="module")
def listing(plan: dict[str, Any]) -> dict[int, str]:
    """Address -> instruction around all probes, as objdump sees them from the functions' symbols on."""
    lines: dict[int, str] = {}
    for role in plan["roles"].values():
        addresses = [probe["address"] for probe in role["probes"]]
        symbols = subprocess.run(["nm", "-D", DEFAULT_QEMU], capture_output=True, text=True, check=True).stdout
        start = int(re.search(rf"^([0-9a-f]+) T {role['function']}$", symbols, re.MULTILINE)[1], 16)  # type: ignore[index]
        assert start <= min(addresses)
        command = [
            "objdump",
            "-d",
            "--no-show-raw-insn",
            f"--start-address={start}",
            f"--stop-address={max(addresses) + 16}",
        ]
        text = subprocess.run([*command, DEFAULT_QEMU], capture_output=True, text=True, check=True).stdout
        lines |= {int(m[1], 16): m[2].strip() for m in map(LINE.match, text.splitlines()) if m}
    return lines


def test_all_phases_of_both_roles_are_exact(plan: dict[str, Any]) -> None:
    for role in Role:
        phases = plan["roles"][role.value]["phases"]
        assert phases == {phase.value: "exact" for phase in ROLE_PHASES[role]}
    assert plan["unresolved"] == [] and plan["colo"] is True and plan["machine"] == "x86_64"
    assert plan["ram_counters"]["bytes_at"] and plan["ram_counters"]["pages_at"]


def test_the_build_id_is_the_files(plan: dict[str, Any]) -> None:
    notes = subprocess.run(["readelf", "-n", DEFAULT_QEMU], capture_output=True, text=True, check=True).stdout
    assert f"Build ID: {plan['build_id']}" in notes


def test_every_probe_is_where_objdump_has_an_emulated_instruction(
    plan: dict[str, Any], listing: dict[int, str]
) -> None:
    probes = [probe for role in plan["roles"].values() for probe in role["probes"]]
    assert len(probes) > 40 - 1
    file = Path(DEFAULT_QEMU).read_bytes()
    for probe in probes + plan["process"]["probes"]:
        assert probe["emulated"] and probe["evidence"]
        data = bytes.fromhex(probe["bytes"])
        assert file[probe["file_offset"] : probe["file_offset"] + len(data)] == data
    for probe in probes:
        text = listing[probe["address"]]
        assert EMULATED.match(text), (probe, text)


def test_objdump_has_the_same_names(plan: dict[str, Any], listing: dict[int, str]) -> None:
    looked = 0
    for role in plan["roles"].values():
        for probe in role["probes"]:
            wanted = CALLS.get(probe["boundary"])
            name = re.search(r"<([a-z_]\w*)@@Base>$", listing[probe["address"]])
            if wanted:
                looked += 1
                assert (name[1] if name else None) in wanted, (probe, listing[probe["address"]])
    assert looked > 20


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("/bin/sh", 4, "not a QEMU system emulator"),
        ("/etc/passwd", 4, "not an ELF file"),
        ("/dev/null", 4, "not a regular file"),
        ("/nonexistent", 4, "no file"),
    ],
)
def test_what_is_no_qemu_is_refused(file: str, code: int, words: str) -> None:
    run = colotrace("inspect", file)
    assert run.returncode == code and words in run.stderr and "Traceback" not in run.stderr


def test_a_truncated_qemu_is_refused(tmp_path: Path) -> None:
    data = Path(DEFAULT_QEMU).read_bytes()
    for size in (40, 4096, len(data) // 2, len(data) - 100):
        short = tmp_path / "qemu-system-x86_64"
        short.write_bytes(data[:size])
        run = colotrace("inspect", short)
        assert run.returncode == 4 and "truncated" in run.stderr and "Traceback" not in run.stderr, (size, run.stderr)
