"""scripts/matrix without a pair: what is planned, what survives on disk, and the figures set beside the seed's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from colo_lab.errors import SettingsError  # noqa: E402
from colo_lab.settings import Settings  # noqa: E402
from colo_matrix.errors import BusyError, ConditionsError, ManifestError, StorageError  # noqa: E402
from colo_matrix.growth import fit, growths, ns_per_page  # noqa: E402
from colo_matrix.journal import DONE, FAILED, MANIFEST, Journal, Run  # noqa: E402
from colo_matrix.pictures import PANELS, VIEWS, figure  # noqa: E402
from colo_matrix.plan import Cell, Conditions, Task, grid, order  # noqa: E402
from colo_matrix.results import measure  # noqa: E402
from colo_matrix.seed import seed_results  # noqa: E402
from colo_matrix.table import as_object, remarks, results_table  # noqa: E402

from colotrace.checkpoint import Checkpoint, Outcome  # noqa: E402
from colotrace.phases import Phase, Role  # noqa: E402

CELL = Cell(4, 2048, 32)
PIDS = {Role.PRIMARY: 7, Role.SECONDARY: 8}
CONDITIONS = Conditions(checkpoints=3, warm_up=1)


ATTACHED = {
    "type": "attached", "schema_version": 1, "name": "vm", "qemu_version": "7.2", "build_id": "b", "roles": {},
    "meanings": {}, "clock": "CLOCK_MONOTONIC", "realtime_minus_monotonic_ns": 0, "host": "h", "kernel": "6.18",
}  # fmt: skip


def record(role: Role, sequence: int, ram_ns: int, outcome: Outcome = Outcome.COMPLETED) -> dict[str, object]:
    primary = role is Role.PRIMARY
    phases = {Phase.WAIT: 1000, Phase.STAT: 10, Phase.RAM: ram_ns, Phase.PUT: 30, Phase.RECV: 40, Phase.LOAD: 50}
    phases |= {Phase.DEV: 20, Phase.RESUME: 50} if primary else {}
    pages = ram_ns // 10 if primary else None
    one = Checkpoint(
        role, PIDS[role], PIDS[role], sequence, outcome, sequence * 10**9, 200 + ram_ns, phases, 0 if primary else 70,
        200, 19_000, pages and pages * 4104, pages, {}, "load" if outcome is Outcome.ABORTED else None,
    )  # fmt: skip
    return {"type": "checkpoint", **one.as_json()}


def write_recording(journal: Journal, task: Task, ram_ns: list[int]) -> None:
    lines: list[dict[str, object]] = [{**ATTACHED, "pid": pid} for pid in PIDS.values()]
    for role, pid in PIDS.items():
        init = {"role": role.value, "begin_ns": 0, "end_ns": 5000, "init_ns": 5000, "ready_ns": None}
        lines.append({"type": "note", "event": "init", "message": "", "pid": pid, **init})
    for number, each in enumerate(ram_ns, 1):
        lines += [record(role, number, each) for role in Role]
    lines.append(record(Role.PRIMARY, len(ram_ns) + 1, 10**9, Outcome.ABORTED))
    lines += [{"type": "summary", "pid": pid, "lost_records": 0, "roles": {}} for pid in PIDS.values()]
    path = journal.path(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_each_repetition_is_the_whole_grid_in_another_order() -> None:
    cells = grid([2, 1, 2], [512, 256], [0, 8])
    assert len(cells) == 8 and cells == tuple(sorted(cells))
    tasks = order(cells, 3)
    passes = [[task.cell for task in tasks if task.repetition == number] for number in (1, 2, 3)]
    assert [sorted(one) for one in passes] == [list(cells)] * 3
    assert [task.repetition for task in tasks] == [1] * 8 + [2] * 8 + [3] * 8
    assert passes[0] != passes[1] != passes[2] and passes[0] != list(cells)
    assert order(reversed(cells), 3) == tasks


def test_a_run_is_done_once_its_line_and_its_recording_are_there(tmp_path: Path) -> None:
    task, other = Task(CELL, 1), Task(CELL, 2)
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        write_recording(journal, task, [100])
        assert not journal.is_done(task)
        journal.add(Run(task, DONE, sweep_ms=1.5, load_before=(0.1, 0.2, 0.3), notes=("slow",)))
        journal.add(Run(other, FAILED, "did not reach COLO"))
    again = Journal(tmp_path)
    assert again.conditions == CONDITIONS and again.is_done(task) and not again.is_done(other)
    assert again.runs[task].load_before == (0.1, 0.2, 0.3) and again.runs[task].notes == ("slow",)
    assert again.runs[other].reason == "did not reach COLO"
    again.path(task).unlink()
    assert not again.is_done(task)


def test_a_line_cut_off_by_kill_is_a_run_to_repeat(tmp_path: Path) -> None:
    first, second = Task(CELL, 1), Task(CELL, 2)
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        for task in (first, second):
            write_recording(journal, task, [100])
            journal.add(Run(task, DONE))
    whole = (tmp_path / MANIFEST).read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for left in range(1, last):
        (tmp_path / MANIFEST).write_bytes(whole[:-left])
        assert Journal(tmp_path).is_done(first) and not Journal(tmp_path).is_done(second)
    with Journal(tmp_path, write=True) as journal:
        journal.add(Run(second, DONE))
    assert (tmp_path / MANIFEST).read_bytes() == whole


def test_two_at_once_and_other_conditions_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path, CONDITIONS, write=True):
        with pytest.raises(BusyError):
            Journal(tmp_path, CONDITIONS, write=True)
        assert Journal(tmp_path).conditions == CONDITIONS
    with pytest.raises(ConditionsError, match="checkpoints 3, not 30"):
        Journal(tmp_path, Conditions(checkpoints=30, warm_up=1))
    Journal(tmp_path, CONDITIONS, write=True).close()


@pytest.mark.parametrize("text", ["no json\n", "[]\n", '{"type": "attached"}\n', '{"type": "matrix"}\n',
    '{"type": "matrix", "schema_version": 1, "conditions": {}}\n'])  # fmt: skip
def test_what_is_no_manifest_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ManifestError, match="is no manifest"):
        Journal(tmp_path)


def test_the_seeds_columns_of_what_was_counted(tmp_path: Path) -> None:
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        for number, ram_ns in ((1, [9000, 100, 101, 103]), (2, [8000, 300, 301, 303])):
            write_recording(journal, Task(CELL, number), ram_ns)
            journal.add(Run(Task(CELL, number), DONE, load_before=(0.5, 0.0, 0.0)))
        (one,) = measure([CELL, Cell(1, 2048, 0)], journal)
        primary, secondary = (one.sides[role] for role in Role)
        assert primary.seed_columns() == {
            "tot_time": 6 * 200 + 1208, "tot_num": 6, "init_time": 5000, "wait_time": 1000, "avg_time": 401,
            "stat_time": 10, "dev_time": 20, "ram_time": 201, "put_time": 30, "recv_time": 40, "load_time": 50,
            "resume_time": 50, "dev_size": 19_000, "ram_size": (3 * 10 + 3 * 30) * 4104 // 6,
        }  # fmt: skip
        assert secondary.seed_columns()["dev_time"] is None and secondary.seed_columns()["ram_size"] is None
        assert primary.medians("ram_ns") == [101, 301] and secondary.first("ram_ns") == [9000, 8000]
        said = " ".join(remarks([one], journal))
        assert "differ by 66%" in said and "aborted or seen in part: 2" in said
        assert as_object([one], journal)["cells"][0]["roles"]["primary"]["tot_num"] == 6


def test_the_seeds_rows_stand_before_ours_of_the_same_size(tmp_path: Path) -> None:
    seed = seed_results()
    assert [(one.vcpus, one.memory_mib) for one in seed] == [
        (1, 2048), (2, 2048), (4, 2048), (8, 2048), (16, 2048), (4, 4096), (8, 4096), (16, 4096), (16, 4096),
    ]  # fmt: skip
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        for cell in (Cell(1, 512, 8), Cell(16, 4096, 8), Cell(16, 4096, 32)):
            write_recording(journal, Task(cell, 1), [1, 100, 100, 100])
            journal.add(Run(Task(cell, 1), DONE))
        measured = measure([task.cell for task in journal.runs], journal)
    table = results_table(measured, seed, Role.PRIMARY)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["1x512x8", "seed 16x4096", "seed 16x4096", "16x4096x8", "16x4096x32"]
    assert columns[1][1] == "20.1 s" and columns[2][1:3] == ["9", "7"] and columns[-1][1] == "-"
    assert [column.header for column in table.columns][:4] == ["cell", "tot", "num", "init"]


def test_a_plane_is_found_with_its_errors() -> None:
    axes = [{"vcpus": v, "memory_gib": m, "dirty_mib": 8.0} for v in (1.0, 2.0, 4.0) for m in (0.5, 2.0)]
    exact = fit([(one, 7 + 3 * one["vcpus"] - 2 * one["memory_gib"]) for one in axes])
    assert exact and exact.slopes["vcpus"].value == pytest.approx(3) and exact.r_squared == pytest.approx(1)
    assert exact.slopes["memory_gib"].value == pytest.approx(-2) and exact.slopes["vcpus"].error < 1e-9
    assert "dirty_mib" not in exact.slopes
    noisy = fit([(one, 3 * one["vcpus"] + (1 if i in (0, 3, 4) else -1)) for i, one in enumerate(axes)])
    assert noisy and 0 < noisy.slopes["vcpus"].error < 2 and noisy.r_squared < 1
    assert fit([]) is None and fit([(axes[0], 1.0), (axes[1], 2.0)]) is None and fit([(axes[0], 1.0)] * 9) is None


def test_the_seeds_own_growth(tmp_path: Path) -> None:
    """2,211 bytes of device state a vCPU, as its nine rows have it exactly; load grows with memory."""
    found = {(one.role, one.what): one for one in growths([], seed_results())}
    seeds = found[Role.PRIMARY, "device state"].seeds
    assert seeds and round(seeds.slopes["vcpus"].value) == 2211 and seeds.r_squared > 0.9999
    load = found[Role.PRIMARY, "load"].seeds
    assert load and load.slopes["memory_gib"].value > 5 * load.slopes["memory_gib"].error
    assert all(one.ours is None for one in found.values()) and ns_per_page([]) is None


def test_a_page_costs_what_the_records_say(tmp_path: Path) -> None:
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        write_recording(journal, Task(CELL, 1), [999, 100, 200, 300])
        journal.add(Run(Task(CELL, 1), DONE))
        per_page = ns_per_page(measure([CELL], journal))
    assert per_page and per_page.value == pytest.approx(10)


def matrix(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "colo_matrix"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)


def test_the_command_line(tmp_path: Path) -> None:
    listed = matrix("--list", "--results", tmp_path, "--only", "16x*x0")
    assert listed.returncode == 0 and listed.stdout.splitlines() == [
        f"16x{memory}x0{'':<{14 - len(f'16x{memory}x0')}} run 1  to do" for memory in (512, 2048, 4096)
    ]
    nothing = matrix("--no-run", "--results", tmp_path)
    assert nothing.returncode == 1 and "Nothing is measured yet" in nothing.stdout
    assert json.loads(matrix("--no-run", "--json", "--results", tmp_path).stdout)["cells"] == []
    assert list(tmp_path.iterdir()) == []
    for words, said in ((["--only", "3x*"], "no cell matches"), (["--vcpus", "1,x"], "whole numbers"),
                        (["--vcpus", "0"], "at least 1")):  # fmt: skip
        wrong = matrix(*words, "--results", tmp_path)
        assert wrong.returncode == 2 and said in wrong.stderr
    (tmp_path / MANIFEST).write_text("something else\n")
    foreign = matrix("--list", "--results", tmp_path)
    assert foreign.returncode == 11 and "is no manifest" in foreign.stderr and "Traceback" not in foreign.stderr


def test_a_picture_holds_every_cell_and_the_seeds(tmp_path: Path) -> None:
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        for cell in grid([1, 4], [2048], [0, 8]):
            for number, ram_ns in ((1, 100), (2, 300)):
                write_recording(journal, Task(cell, number), [1, ram_ns, ram_ns, ram_ns])
                journal.add(Run(Task(cell, number), DONE))
        picture = figure(VIEWS[0], Role.PRIMARY, measure(grid([1, 4], [2048], [0, 8]), journal), seed_results())
    panel = [panel.title for panel in PANELS if panel.role is Role.PRIMARY].index("ram")
    axis = "y" if panel == 0 else f"y{panel + 1}"
    lines = {trace.name: trace for trace in picture.data if trace.yaxis == axis}
    assert list(lines) == ["0 MiB dirtied", "8 MiB dirtied", "the seed (kernel build, mean)"]
    assert list(lines["8 MiB dirtied"].x) == [0, 2] and list(lines["8 MiB dirtied"].y) == [200, 200]
    assert list(lines["8 MiB dirtied"].error_y.array) == [100, 100]
    assert list(lines["the seed (kernel build, mean)"].x) == [0, 1, 2, 3, 4]
    assert len({(trace.name, trace.yaxis) for trace in picture.data}) == len(picture.data)


def test_damage_and_a_place_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    with Journal(tmp_path, CONDITIONS, write=True) as journal:
        write_recording(journal, Task(CELL, 1), [1, 100])
        journal.add(Run(Task(CELL, 1), DONE))
        whole = journal.path(Task(CELL, 1)).read_bytes()
        for damaged in (whole[:-3], b"".join(whole.splitlines(keepends=True)[:6]), b"\xff", b"[]\n", b""):
            journal.path(Task(CELL, 1)).write_bytes(damaged)
            with pytest.raises(ManifestError, match=r"run-1\.jsonl"):
                measure([CELL], journal)
    with pytest.raises(StorageError, match="Not a directory"):
        Journal(journal.path(Task(CELL, 1)) / "below", CONDITIONS, write=True)


def test_the_lab_takes_guests_beyond_three_gib_but_no_dirty_range_there() -> None:
    Settings(memory_mib=4096, dirty_mib=3071)._check_numbers()
    with pytest.raises(SettingsError, match="at most 3071"):
        Settings(memory_mib=8192, dirty_mib=3072)._check_numbers()
