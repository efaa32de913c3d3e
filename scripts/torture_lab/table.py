"""All scenarios, in the order in which they are run."""

from __future__ import annotations

from . import failovers, others, shapes, targets, tracers
from .scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *tracers.SCENARIOS, *targets.SCENARIOS, *failovers.SCENARIOS, *others.SCENARIOS, *shapes.SCENARIOS,
)  # fmt: skip
