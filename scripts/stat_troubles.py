"""Makes the troubles of colo_lab.trouble_stat one after the other, and prints what attach finds in each."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

from colo_lab.pair import ColoPair
from colo_lab.settings import Settings
from colo_lab.trouble_stat import LockHog, slow_disk, start_backup

MS = 1_000_000


@contextlib.contextmanager
def lock(pair: ColoPair) -> Iterator[None]:
    """The primary's lock is held most of the time."""
    with LockHog(pair.primary, every_s=0.04) as hog:
        yield
    print(f"the lab: {len(hog.held_ns)} commands, each held the lock for {statistics.median(hog.held_ns) / MS:.1f} ms")


@contextlib.contextmanager
def disk(pair: ColoPair) -> Iterator[None]:
    """A backup of a disk whose requests take 30 ms."""
    start_backup(pair.primary)
    yield
    print("the lab: a request takes 30 ms")


@contextlib.contextmanager
def beat(pair: ColoPair) -> Iterator[None]:
    """The secondary's lock is held every 2 s, for longer than the checkpoint delay, so that a checkpoint meets it."""
    with LockHog(pair.secondary, every_s=2.0) as hog:
        yield
    print(f"the lab: every 2 s a command that held the lock for {statistics.median(hog.held_ns) / MS:.1f} ms")


TROUBLES: dict[str, tuple[Callable[[ColoPair], contextlib.AbstractContextManager[None]], float, int]] = {
    "lock": (lock, 30, 100),
    "disk": (disk, 30, 100),
    "beat": (beat, 130, 400),
}
"""Name -> the trouble, the slow disk's latency in milliseconds, how many checkpoints."""


def main(names: list[str]) -> None:
    """Prints the findings of both sides."""
    for name in names or list(TROUBLES):
        trouble, latency_ms, count = TROUBLES[name]
        print(f"== {name}: {trouble.__doc__}", flush=True)
        with ColoPair(Settings(dirty_mib=8, delay_ms=100, qemu_options=slow_disk(latency_ms))) as pair, trouble(pair):
            pids = [f"--pid={vm.pid}" for vm in (pair.primary, pair.secondary)]
            attach = [sys.executable, "-m", "colotrace", "attach", *pids, "-n", str(count), "--json"]
            done = subprocess.run(attach, capture_output=True, text=True, check=True)
        for summary in map(json.loads, done.stdout.splitlines()):
            for role, found in (summary.get("findings") or {}).items():
                for one in found["found"]:
                    print(f"{role}: {one['title']} ({one['confidence']} confidence)")
                    print("".join(f"    {line}\n" for line in one["evidence"]), end="")
        print(flush=True)


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(TROUBLES)
    if unknown:
        sys.exit(f"no such trouble: {', '.join(sorted(unknown))}; there are {', '.join(TROUBLES)}")
    main(sys.argv[1:])
