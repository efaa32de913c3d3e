"""The command line of scripts/torture: runs scenarios one after the other, and says how each of them went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from colo_lab import orphans
from colo_lab.errors import LabError
from colo_lab.signals import Signals, Stopped

from colotrace.errors import ColotraceError

from . import aftercare, traces
from .bench import Bench
from .scenario import Failed, Scenario, Skipped
from .table import SCENARIOS

EPILOG = """\b
After each scenario: the VM checkpoints on (or runs on alone after a failover), its guest has found all its memory as it
had written it, the code of both QEMUs is the file's, and no BPF program, map or link, no uprobe event and no process
that was not there before is left.

\b
Examples:
  sudo scripts/torture                          all of it, about ten minutes
  sudo scripts/torture --short                  few repetitions of each, about two minutes
  sudo scripts/torture gdb-first gdb-later      only these
  sudo scripts/torture --json | tee torture.jsonl

\b
Exit code: 0 all passed (or were skipped), 1 one failed, 2 bad request, 69 this machine cannot run a pair,
  128+N ended by signal N
"""
TRACEFS = Path("/sys/kernel/tracing")


@dataclass(frozen=True)
class Result:
    """How a scenario went: `passed`, `failed` or `skipped`, and in `said` what it did or what was wrong."""

    scenario: str
    result: str
    said: str
    seconds: float


@click.command(epilog=EPILOG, context_settings={"max_content_width": 110})
@click.option("--short", is_flag=True, help="Few repetitions.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line a scenario.")
@click.option("--list", "only_list", is_flag=True, help="Print the scenarios and end.")
@click.option("--seed", default=1, show_default=True, help="For the moments that are left to chance.")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1)
def main(short: bool, as_json: bool, only_list: bool, seed: int, names: tuple[str, ...]) -> None:
    """Does to tracers and VMs what may happen to them, on real COLO pairs, and looks whether the VM has been hurt."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"no scenario {', '.join(unknown)}; --list prints them")
    chosen = [known[name] for name in dict.fromkeys(names)] or list(SCENARIOS)
    if only_list:
        for scenario in chosen:
            click.echo(f"{scenario.name:<20} {scenario.what}")
        return
    if os.geteuid() != 0:
        raise click.UsageError("needs root: it arms probes, and other tools as well")
    signals = Signals()
    orphans.adopt()
    results = []
    try:
        with _tracefs():
            for number, scenario in enumerate(chosen, 1):
                if sys.stderr.isatty():
                    click.echo(f"\r[{number}/{len(chosen)}] {scenario.name} ...\033[K", err=True, nl=False)
                result = run(scenario, short, signals.check, seed)
                results.append(result)
                if sys.stderr.isatty():
                    click.echo("\r\033[K", err=True, nl=False)
                click.echo(json.dumps(asdict(result)) if as_json else line(result))
    except Stopped as stopped:
        click.echo(f"\ntorture: stopped by {stopped} after {len(results)} of {len(chosen)}", err=True)
        sys.exit(stopped.exit_code)
    except LabError as error:
        click.echo(f"torture: {error}\n{error.remedy}", err=True)
        sys.exit(error.exit_code)
    finally:
        orphans.end()
    counts = {word: sum(one.result == word for one in results) for word in ("passed", "failed", "skipped")}
    if not as_json:
        seconds = sum(result.seconds for result in results)
        click.echo(", ".join(f"{count} {word}" for word, count in counts.items()) + f" in {seconds:.0f} s")
    sys.exit(1 if counts["failed"] else 0)


def line(result: Result) -> str:
    """A scenario on one line."""
    return f"{result.result:<7} {result.scenario:<20} {result.seconds:5.1f} s  {' '.join(result.said.split())}"


def run(scenario: Scenario, short: bool, check: Callable[[], None], seed: int) -> Result:
    """One scenario from its pair to the proof that nothing is left. Raises what `check` does, and LabError without a
    machine that can run a pair."""
    begin = time.monotonic()

    def ended(result: str, said: str) -> Result:
        return Result(scenario.name, result, said, round(time.monotonic() - begin, 1))

    before = traces.look()
    with TemporaryDirectory(prefix="colotrace-torture-") as scratch:
        try:
            with Bench(scenario, short, Path(scratch), check, seed) as bench:
                with_pair = traces.look()
                said = scenario.run(bench)
                aftercare.check(bench, scenario, with_pair)
            left = traces.left_since(before)
            if left:
                raise Failed("left behind once the pair had ended: " + ", ".join(left))
            descriptors = traces.look().descriptors
            if descriptors > before.descriptors:
                raise Failed(f"{descriptors - before.descriptors} descriptors of ours are left open")
        except Skipped as skipped:
            return ended("skipped", str(skipped))
        except (Failed, AssertionError, ColotraceError) as failure:
            return ended("failed", str(failure))
        except LabError as error:
            if error.exit_code == 69:
                raise
            return ended("failed", str(error))
    return ended("passed", said)


@contextmanager
def _tracefs() -> Iterator[None]:
    """tracefs, mounted for as long as the run: perf needs it, and what is looked for could not be seen otherwise."""
    mounted = (TRACEFS / "uprobe_events").exists()
    if not mounted:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", str(TRACEFS)], check=True)
    try:
        yield
    finally:
        if not mounted:
            subprocess.run(["umount", str(TRACEFS)], check=True)
