"""A Markdown table: binary by binary, how many phases of each role are exact, partial or none, and by what means."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from colotrace.errors import ColotraceError
from colotrace.phases import Role
from colotrace.resolve.plan import ProbePlan, Quality, RolePlan
from colotrace.resolve.resolver import resolve

_HEAD = ("QEMU", "binary", *(f"{role.value}: exact / partial / none" for role in Role), "RAM counters", "names", "CPU")


def _row(path: Path) -> Iterator[str]:
    begin = time.process_time()
    try:
        plan = resolve(path)
    except ColotraceError as error:
        yield from (f"refused: {type(error).__name__}", _name(path), "-", "-", "-", "-")
    else:
        yield from (plan.qemu_version.split()[0], _name(path))
        yield from (_phases(plan.roles[role]) for role in Role)
        yield _counters(plan)
        yield ", ".join(plan.sources)
    yield f"{time.process_time() - begin:.2f} s"


def _name(path: Path) -> str:
    """The file's name with its directory's, which tells release or build."""
    return f"{path.parent.name}/{path.name}"


def _phases(role: RolePlan) -> str:
    found = Counter(role.phases.values())
    return " / ".join(str(found[quality]) for quality in (Quality.EXACT, Quality.PARTIAL, None))


def _counters(plan: ProbePlan) -> str:
    return plan.ram_counters.evidence.split(":")[0] if plan.ram_counters.known else "not known"


def main() -> None:
    """Prints the table for the binaries named on the command line."""
    rows = [_HEAD, ["---"] * len(_HEAD), *(list(_row(Path(name))) for name in sys.argv[1:])]
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
