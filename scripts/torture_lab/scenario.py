"""What a scenario is: data, and one function that does it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bench import Bench


class Failed(Exception):
    """Something that must hold did not; `str()` says what."""


class Skipped(Exception):
    """This machine lacks what the scenario needs; `str()` says what."""


class After(enum.Enum):
    """Who must be there once the scenario is over."""

    COLO = "both VMs, checkpointing on"
    ALONE = "bench.survivor, running alone"


@dataclass(frozen=True)
class Scenario:
    """`run` does it and returns what it did, in a few words with numbers; it raises Failed or Skipped.

    `settings` are the lab's that differ from the bench's own. With `copy_of_qemu` the pair runs a copy of QEMU's file,
    bench.qemu, that the scenario may do with as it likes. `steps`: another tool's probes sit on instructions that the
    kernel must single-step, for which it maps a page into the VM that stays; colotrace's own never do on Debian's 7.2.
    """

    name: str
    what: str
    run: Callable[[Bench], str]
    after: After = After.COLO
    settings: Mapping[str, object] = field(default_factory=dict)
    copy_of_qemu: bool = False
    steps: bool = False
