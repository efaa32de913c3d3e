"""What must hold after every scenario: the VM checkpoints on, its memory is whole, and nothing of ours is left."""

from __future__ import annotations

from pathlib import Path

from colo_lab.errors import LabError
from colo_lab.guest import looks_at_itself, memory_is_whole
from colo_lab.vm import Vm

from colotrace.resolve.resolver import resolve
from colotrace.target.process import Process
from colotrace.target.sites import SiteState, site_states

from .bench import Bench
from .scenario import After, Failed, Scenario
from .traces import Traces, left_since

CHECKPOINTS = 3


def check(bench: Bench, scenario: Scenario, before: Traces) -> None:
    """Raises Failed with the first thing that does not hold, while the VMs are still there."""
    try:
        if scenario.after is After.COLO:
            trouble = bench.pair.trouble()
            if trouble:
                raise Failed("; ".join(trouble))
            bench.checkpoints(CHECKPOINTS)
            living = [bench.pair.primary, bench.pair.secondary]
        else:
            living = [bench.survivor]
        for vm in living:
            vm.must_live("after the scenario")
            looks_at_itself(vm)
            code_is_whole(vm, scenario.steps)
        if scenario.after is After.ALONE:
            bench.survivor.execute("stop")
            memory_is_whole(bench.survivor, bench.pair.settings, bench.pair.run.path)
            bench.survivor.execute("cont")
            looks_at_itself(bench.survivor)
    except LabError as error:
        raise Failed(str(error)) from error
    left = left_since(before, mine=bench.processes_of_the_lab())
    if left:
        raise Failed("left behind: " + ", ".join(left))


def code_is_whole(vm: Vm, steps: bool) -> None:
    """Every place that colotrace would probe holds the file's bytes again; and unless somebody's probes `steps`, the
    kernel has mapped nothing there."""
    process = Process(vm.pid)
    plan = resolve(process.exe)
    bias = process.load_bias([(plan.code_address, plan.code_offset)])
    states = site_states(process, bias, plan.probes)
    changed = [f"{p.boundary.name} at {p.address:#x}" for p, state in states.items() if state is not SiteState.CLEAN]
    if changed:
        raise Failed(f"the code of the {vm.name} still differs from its file: {', '.join(changed)}")
    maps = Path(f"/proc/{vm.pid}/maps").read_text()
    if "[uprobes" in maps and not steps:
        raise Failed(f"the kernel has mapped a page for single steps or trampolines into the {vm.name}")
