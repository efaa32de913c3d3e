"""Measures how the cost of `colotrace attach` grows, in three directions; see scripts/bench_scale."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from colo_target.target import ColoTarget
from colo_target.tracer import Tracer, load

VMS, RATE_OF_A_VM = (1, 2, 4, 8, 16, 32), 10.0
RATES = (10.0, 100.0, 1000.0, 10_000.0, 0.0)
SETTLE_S = 2.0
RECORDING_RATE, RECORDING_LOOKS = 10_000.0, 6
USUAL_RATE = 10
"""Checkpoints per second of a busy pair: what a number of records is in hours."""
GROWTH_KIB = 2048
"""What may come and go in a Python process's memory without meaning anything."""


def last_line(path: str, kind: str) -> dict[str, Any]:
    """The last line of that type in a file of JSON lines."""
    objects = map(json.loads, reversed(Path(path).read_text().splitlines()))
    return next(one for one in objects if one["type"] == kind)


def own_us(before: dict[str, Any], after: dict[str, Any]) -> float:
    """The target's own mean time of a checkpoint between two of its answers, in microseconds."""
    took: int = after["total_ns"][0] - before["total_ns"][0]
    return took / max(1, int(after["completed"] - before["completed"])) / 1000


def with_vms(seconds: float) -> None:
    """One tracer, ever more VMs."""
    print(f"\nVMs in one attach, {RATE_OF_A_VM:g} checkpoints/s each, --json")
    print(f"{'VMs':>4} {'probes':>6} {'armed s':>7} {'CPU':>7} {'CPU/VM':>7} {'MiB':>6} {'kernel MiB':>10} {'lost':>5}")
    for count in VMS:
        with contextlib.ExitStack() as stack, tempfile.NamedTemporaryFile() as file:
            vms = [stack.enter_context(ColoTarget("primary", RATE_OF_A_VM)) for _ in range(count)]
            began = time.monotonic()
            pids = [word for vm in vms for word in ("--pid", str(vm.pid))]
            tracer = stack.enter_context(Tracer([*pids, "--json", "--output", file.name]))
            armed = time.monotonic() - began
            for vm in vms:
                vm.go()
            time.sleep(SETTLE_S)
            share, memory = tracer.cpu_share(seconds), tracer.memory_kib()
            tracer.close()
            lines = [json.loads(line) for line in Path(file.name).read_text().splitlines()]
            probes = sum(line["probes"] for line in lines if line["type"] == "attached")
            lost = sum(line["lost_records"] for line in lines if line["type"] == "summary")
            kernel = lines[0]["kernel_bytes"] / (1 << 20)
            figures = f"{share:>7.2%} {share / count:>7.2%} {memory / 1024:>6.1f} {kernel:>10.2f} {lost:>5}"
            print(f"{count:>4} {probes:>6} {armed:>7.2f} {figures}", flush=True)


def with_rates(seconds: float) -> None:
    """One VM, ever more checkpoints; what a checkpoint takes is by the VM's own account."""
    print("\ncheckpoints per second of one VM, --json, ring of 1 MiB")
    print(f"{'asked':>7} {'reached':>8} {'untraced us':>11} {'traced us':>9} {'CPU':>7} {'MiB':>6} {'lost':>7}")
    for rate in RATES:
        with ColoTarget("primary", rate) as vm, tempfile.NamedTemporaryFile() as file:
            vm.go()
            time.sleep(SETTLE_S / 2)
            start = vm.counts()
            time.sleep(SETTLE_S)
            plain = own_us(start, vm.counts())
            with Tracer(["--pid", str(vm.pid), "--json", "--output", file.name]) as tracer:
                before, began = vm.counts(), time.monotonic()
                share = tracer.cpu_share(seconds)
                after, took = vm.counts(), time.monotonic() - began
                memory = tracer.memory_kib()
                tracer.close()
            summary = last_line(file.name, "summary")
            lost = summary["lost_records"] / max(1, summary["checkpoints"])
            reached = (after["completed"] - before["completed"]) / took
            figures = f"{plain:>11.1f} {own_us(before, after):>9.1f} {share:>7.2%} {memory / 1024:>6.1f} {lost:>7.1%}"
            print(f"{rate or 'max':>7} {reached:>8,.0f} {figures}", flush=True)


def with_time(seconds: float) -> bool:
    """A recording that goes on and on; whether memory stays."""
    print(f"\na recording that goes on, --output FILE, in hours of {USUAL_RATE} checkpoints/s")
    print(f"{'hours':>6} {'records':>8} {'MiB':>7} {'file MiB':>8} {'bytes each':>10}")
    sizes = []
    with tempfile.NamedTemporaryFile() as file, ColoTarget("primary", RECORDING_RATE) as vm:
        words = ["--pid", str(vm.pid), "--output", file.name]
        with Tracer(words, terminal=True) as tracer:
            vm.go()
            for _ in range(RECORDING_LOOKS):
                time.sleep(seconds)
                size, records = Path(file.name).stat().st_size, vm.counts()["completed"]
                sizes.append(tracer.memory_kib())
                hours = records / USUAL_RATE / 3600
                figures = f"{sizes[-1] / 1024:>7.1f} {size / (1 << 20):>8.1f} {size / records:>10.0f}"
                print(f"{hours:>6.1f} {records:>8,} {figures}", flush=True)
            vm.stop()
            tracer.close()
        summary = last_line(file.name, "summary")
        print(f"of {summary['checkpoints']:,} records {summary['lost_records']:,} were lost")
    return sizes[-1] - sizes[len(sizes) // 2] < GROWTH_KIB


def main(seconds: float) -> int:
    """Prints the tables; 1 if memory grows with checkpoints."""
    print(f"# {load()}; {seconds:g} s each")
    with_vms(seconds)
    with_rates(seconds)
    if with_time(seconds):
        return 0
    print("memory GROWS with checkpoints")
    return 1


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:] or ["10"])[0])))
