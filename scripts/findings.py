"""Troubles provoked on real pairs, and what colotrace finds of them; see scripts/findings."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from colo_lab.trouble_modes import Dirty, Switch
from colo_lab.trouble_rate import paced
from colo_lab.trouble_stat import LockHog, slow_disk, start_backup

ROOT = Path(__file__).resolve().parents[1]
GIGABIT = 118_500_000
"""Bytes per second: what TCP carries of Ethernet's 1 Gb/s."""

Provoke = Callable[[ColoPair], contextlib.AbstractContextManager[object]]


@contextlib.contextmanager
def nothing(_pair: ColoPair) -> Iterator[None]:
    """A pair as it is."""
    yield


@contextlib.contextmanager
def backup(pair: ColoPair) -> Iterator[None]:
    """A block job that always has requests of a slow disk in flight."""
    start_backup(pair.primary)
    yield


def two_amounts(pair: ColoPair) -> Switch:
    """The guest overwrites one of two amounts, at random."""
    chance = random.Random(1)
    return Switch(pair, Dirty(pair).set_mib, "STOP", lambda _: chance.choice((4, 24)))


@contextlib.contextmanager
def more_and_more(pair: ColoPair) -> Iterator[None]:
    """The guest overwrites 4 MiB, and a little more each time."""
    dirty = Dirty(pair)
    dirty.set_mib(4)
    with Switch(pair, dirty.set_mib, "STOP", lambda n: min(28, 4 + n * 24 // 170)):
        yield


@dataclass(frozen=True)
class Trouble:
    """`rule` is what should speak (none: all should be silent), after `count` checkpoints of a pair of `settings`."""

    name: str
    rule: str | None
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    provoke: Provoke = nothing
    count: int = 60


TROUBLES = (
    Trouble("none", None, "none: a unix socket, 8 MiB dirtied", {"dirty_mib": 8, "delay_ms": 100}),
    Trouble("tcp", "delayed-ack", "TCP as QEMU opens it", {"transport": "tcp", "dirty_mib": 4, "delay_ms": 150}),
    Trouble(
        "slow-net", "bandwidth", "the stream paced at 118.5 MB/s, what 1 Gb/s carries",
        {"transport": "tcp", "dirty_mib": 16, "delay_ms": 250}, lambda pair: paced(pair, GIGABIT),
    ),
    Trouble("flush", "cache-flush", "96 MiB dirtied", {"dirty_mib": 96, "memory_mib": 256, "delay_ms": 400}, count=30),
    Trouble(
        "lock", "bql-wait", "a monitor command that holds QEMU's lock for 30 ms, every 40 ms",
        {"dirty_mib": 8, "delay_ms": 100, "qemu_options": slow_disk(30)}, lambda pair: LockHog(pair.primary, 0.04),
    ),
    Trouble(
        "slow-disk", "vm-stop-wait", "a backup job whose disk takes 30 ms a request",
        {"dirty_mib": 8, "delay_ms": 100, "qemu_options": slow_disk(30)}, backup,
    ),
    Trouble(
        "cron", "periodic-outliers", "the secondary's lock held for 150 ms, every 900 ms",
        {"dirty_mib": 4, "delay_ms": 100, "qemu_options": slow_disk(150)}, lambda pair: LockHog(pair.secondary, 0.9),
        count=200,
    ),
    Trouble(
        "two-amounts", "bimodal", "4 or 24 MiB dirtied, at random",
        {"dirty_mib": 24, "delay_ms": 100, "adjustable": True}, two_amounts, count=80,
    ),
    Trouble(
        "growing", "drift", "4 MiB dirtied, and more and more, up to 28",
        {"dirty_mib": 28, "delay_ms": 70, "adjustable": True}, more_and_more, count=170,
    ),
    Trouble(
        "tiny", "probe-cost", "a machine without a processor: hardly a pause",
        {"dirty_mib": 0, "delay_ms": 50, "memory_mib": 32, "qemu_options": ("-M", "none")},
    ),
)  # fmt: skip


def findings_of(trouble: Trouble) -> list[dict[str, Any]]:
    """What attach's summary finds on both sides, each with its `role`."""
    with (
        tempfile.TemporaryDirectory() as place,
        ColoPair(Settings(**trouble.settings)) as pair,
        trouble.provoke(pair),
    ):
        pids = [str(vm.pid) for vm in pair.vms]
        command = [sys.executable, "-m", "colotrace", "attach", "--pid", *pids, "-n", str(trouble.count), "--json"]
        done = subprocess.run(
            [*command, "--output", f"{place}/run.jsonl"], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
        )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        {"role": role, **one}
        for line in lines
        if line["type"] == "summary"
        for role, findings in line["findings"].items()
        for one in findings["found"]
    ]


@click.command()
@click.option("--only", multiple=True, type=click.Choice([one.name for one in TROUBLES]), help="Only this trouble.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line a trouble.")
def main(only: tuple[str, ...], as_json: bool) -> None:
    """Provokes troubles on real pairs, and prints what is found. Exit code 1 if a rule is silent about its own trouble,
    or one speaks where there is none."""
    missed = []
    for trouble in TROUBLES:
        if only and trouble.name not in only:
            continue
        found = findings_of(trouble)
        rules = {one["rule"] for one in found}
        if (trouble.rule not in rules) if trouble.rule else rules:
            missed.append(trouble.name)
        if as_json:
            click.echo(json.dumps({"trouble": trouble.name, "what": trouble.what, "found": found}))
            continue
        click.echo(f"{trouble.what}")
        for one in found:
            click.echo(f"  {one['role']}: {one['title']} ({one['confidence']})")
        if not found:
            click.echo("  nothing is found")
    if missed:
        raise click.ClickException(f"not as expected: {', '.join(missed)}")


if __name__ == "__main__":
    main()
