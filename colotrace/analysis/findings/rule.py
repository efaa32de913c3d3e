"""What a rule is. A rule's file defines RULE; nothing else needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from colotrace.analysis.findings.finding import Finding
from colotrace.analysis.findings.sample import Sample
from colotrace.phases import Role

BOTH = (Role.PRIMARY, Role.SECONDARY)
SEVERAL_CLOCKS = "CLOCK_MONOTONIC goes back: the checkpoints are of more than one boot, or out of order"
"""Why a rule that looks at moments may be unable to."""


class Unknowable(Exception):
    """A rule cannot tell: str() says why, in words that fit behind a colon."""


@dataclass(frozen=True)
class Rule:
    """`look` gives what it finds in a sample of at least `least` checkpoints of one of `roles`, or raises Unknowable.

    `needs` are columns (recent.NUMERIC) of which at least half of the checkpoints must have a value. `title` says in a
    few words what the rule looks for.
    """

    name: str
    title: str
    look: Callable[[Sample], Iterable[Finding]]
    roles: tuple[Role, ...] = BOTH
    needs: tuple[str, ...] = ()
    least: int = 20


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule in colotrace.analysis.findings.rules, by name. They are looked for once: later on, with privileges
    given up, the directory might not be readable any more."""
    from colotrace.analysis.findings import rules

    names = sorted(module.name for module in iter_modules(rules.__path__))
    return tuple(import_module(f"{rules.__name__}.{name}").RULE for name in names)
