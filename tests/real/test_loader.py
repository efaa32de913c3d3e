"""The kernel program without its compiler: compiled in a child, kept, loaded by bpf(2), read through libbpf."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from colo_target.target import ColoTarget
from support import colotrace as colotrace_cli
from support import colotrace_running, json_lines, wait_for

import colotrace as library
from colotrace import session
from colotrace.errors import EnvironmentFault, PlanError
from colotrace.kernel import loader, objectcache, ring
from colotrace.kernel.compiler import FUNCTION, MAPS, compile_object
from colotrace.kernel.layout import STRUCTS
from colotrace.kernel.loader import Loaded, LoadError, Map
from colotrace.kernel.object import KernelObject
from colotrace.kernel.objectcache import kernel_object
from colotrace.kernel.program import Program
from colotrace.resolve.resolver import resolve
from colotrace.target.process import Process
from colotrace.target.sites import SiteState, site_states

_ATTACH = """
import colotrace, json, os, sys
with colotrace.attach(int(sys.argv[1])) as session:
    os.setresuid(65534, 65534, 65534)  # no capability is left: what follows goes through what is open
    checkpoints = [checkpoint.completed for checkpoint, _ in zip(session, range(5))]
    session.detach()
    (summary,) = session.summaries()
    print(json.dumps({
        "completed": sum(checkpoints),
        "hits": summary.hits,
        "heavy": sorted({"bcc", "capstone", "elftools", "pandas", "rich", "asyncio"} & sys.modules.keys()),
    }))
"""


@pytest.fixture(scope="module")
def compiled() -> KernelObject:
    return compile_object()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, which the commands that it runs have as well."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/colotrace/objects"


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def never(_defines: object) -> KernelObject:
        raise AssertionError("it was compiled again")

    with monkeypatch.context() as patch:
        patch.setattr(objectcache, "compile_object", never)
        yield


def test_the_object_is_the_sources(compiled: KernelObject) -> None:
    assert compile_object() == compiled, "no descriptor, address or time is in it"
    maps = {one.name: one for one in compiled.maps}
    assert tuple(maps) == MAPS and compiled.license == "GPL"
    assert maps["targets"].value_size == len(bytes(STRUCTS["target"]()))
    assert maps["totals"].value_size == len(bytes(STRUCTS["totals"]()))


def test_kept_for_every_size(cache: Path, compiled: KernelObject, request: pytest.FixtureRequest) -> None:
    assert kernel_object() == compiled
    request.getfixturevalue("no_compiler")
    for ring_bytes, targets in ((4096, 1), (1 << 22, 500)):
        with Program(ring_bytes, max_targets=targets) as program:
            assert program.target(targets - 1).hits == 0 and program.poll(0) == []
            with pytest.raises(KeyError):
                program.target(targets)
            assert ring_bytes < program.memory_bytes < ring_bytes + (1 << 20)


def test_attaching_without_a_compiler_or_a_decoder(cache: Path) -> None:
    """Once plan and program are kept; and what is armed is read without a capability."""
    with ColoTarget("primary", 50) as target:
        target.go()
        runs = [
            subprocess.run([sys.executable, "-c", _ATTACH, str(target.pid)], capture_output=True, text=True, timeout=60)
            for _ in range(2)
        ]
    assert [run.returncode for run in runs] == [0, 0], runs[-1].stderr
    first, second = (json_lines(run.stdout)[0] for run in runs)
    assert "bcc" not in first["heavy"] and second["heavy"] == []
    assert first["completed"] >= 4 and second["completed"] >= 4 and second["hits"] > 50


def test_what_clang_says() -> None:
    with pytest.raises(EnvironmentFault, match="could not be loaded") as caught:
        compile_object(["-DBOOT_NS()=no_such_name"])
    assert "use of undeclared identifier 'no_such_name'" in str(caught.value.remedy)
    assert "Linux 6.6" in str(caught.value.remedy)


def test_what_the_verifier_says(compiled: KernelObject, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = replace(compiled, code=bytes.fromhex("9500000000000000"))  # ends without a result
    monkeypatch.setattr("colotrace.kernel.program.kernel_object", lambda _defines, fresh=False: damaged)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(EnvironmentFault, match="program on_boundary: Permission denied, errno 13") as caught:
        Program()
    assert "R0 !read_ok" in str(caught.value.remedy)
    assert len(os.listdir("/proc/self/fd")) == before, "no map is left"


def test_a_map_that_the_kernel_will_not_have(compiled: KernelObject) -> None:
    wrong = replace(compiled, maps=(*compiled.maps, replace(compiled.maps[0], name="more", kind=9999)))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LoadError, match="map more: Invalid argument, errno 22"):
        Loaded(wrong, FUNCTION, {})
    assert len(os.listdir("/proc/self/fd")) == before


def test_keys_and_values_of_another_size(compiled: KernelObject) -> None:
    targets = Map(next(one for one in compiled.maps if one.name == "targets"))
    try:
        for key in (b"\0" * 8, b""):
            with pytest.raises(ValueError, match="a key of"):
                targets.read(key)
        with pytest.raises(ValueError, match="a value of"):
            targets.write(0, b"\0" * 95)
        assert targets.read(targets.definition.entries) is None
    finally:
        targets.close()


def test_structs_that_differ(compiled: KernelObject, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = tuple(replace(one, value_size=one.value_size + (one.name == "totals") * 8) for one in compiled.maps)
    other = replace(compiled, maps=maps)
    monkeypatch.setattr("colotrace.kernel.program.kernel_object", lambda _defines, fresh=False: other)
    with pytest.raises(EnvironmentFault, match="struct of totals differs"):
        Program()


def test_libbpf_missing_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_LIBRARY", "libbpf-of-nowhere.so.1")
    ring.libbpf.cache_clear()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(EnvironmentFault, match=r"libbpf cannot be loaded \(libbpf-of-nowhere") as caught:
        Program()
    assert "libbpf1" in str(caught.value.remedy)
    assert len(os.listdir("/proc/self/fd")) == before, "neither program nor map is left"


def test_closed_is_closed() -> None:
    program = Program()
    program.close()
    program.close()
    assert program.poll(0) == program.drain() == []


def compilers(parent: int) -> list[int]:
    """The children of a process that compile."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"colotrace.kernel.compiler" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_ctrl_c_while_it_compiles(cache: Path) -> None:
    """As a terminal sends it, to the whole process group: the run ends as any other, and no child is left."""
    with ColoTarget("primary", 50) as target:
        target.go()
        with colotrace_running("attach", "--pid", target.pid, "--json", start_new_session=True) as run:
            (child,) = wait_for("compiling", lambda: compilers(run.pid))
            os.killpg(run.pid, signal.SIGINT)
            output, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        assert errors == "" and json_lines(output)[-1]["type"] == "summary"
        assert not Path(f"/proc/{child}").exists()
        assert colotrace_cli("attach", "--pid", target.pid, "-n", 1, "--json").returncode == 0


def test_killed_while_it_compiles(cache: Path) -> None:
    """Its child ends by itself, and leaves nothing in the kernel."""
    with ColoTarget("primary", 50) as target:
        with colotrace_running("attach", "--pid", target.pid, "--json") as run:
            (child,) = wait_for("compiling", lambda: compilers(run.pid))
            run.kill()
        wait_for("the child's end", lambda: not Path(f"/proc/{child}").exists())


def test_a_signal_during_the_load_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier gives way to a pending signal with EAGAIN."""
    real, tries = loader.bpf, []

    def interrupted(command: int, attr: object) -> int:
        if command == loader._PROG_LOAD:
            tries.append(command)
            if len(tries) <= 3:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(command, attr)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "bpf", interrupted)
    with Program():
        assert len(tries) == 4


def test_a_debugger_that_comes_while_the_program_is_made_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the checks and the arming lies the compiler: seconds, the first time."""
    with ColoTarget("primary", 100) as target:
        debuggers = []

        class Late(Program):
            def __init__(self, *arguments: object, **options: object) -> None:
                super().__init__(*arguments, **options)  # type: ignore[arg-type]
                command = ["gdb", "-nx", "-q", "-p", str(target.pid)]
                debuggers.append(
                    subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                )
                wait_for("the debugger", lambda: Process(target.pid).tracer())

        monkeypatch.setattr(session, "Program", Late)
        try:
            with pytest.raises(PlanError, match="traced by process"):
                library.attach(target.pid)
        finally:
            for debugger in debuggers:
                debugger.kill()
                debugger.communicate()
        process = Process(target.pid)
        plan = resolve(process.exe)
        bias = process.load_bias([(plan.code_address, plan.code_offset)])
        assert set(site_states(process, bias, plan.probes).values()) == {SiteState.CLEAN}


def test_what_was_kept_and_the_kernel_refuses_is_compiled_anew(
    compiled: KernelObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = replace(compiled, code=bytes.fromhex("9500000000000000"))
    monkeypatch.setattr(
        "colotrace.kernel.program.kernel_object", lambda _defines, fresh=False: compiled if fresh else damaged
    )
    with Program() as program:
        assert program.memory_bytes > 1 << 20
