"""What a rule has found, as data: every format renders this. Times are integer nanoseconds."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Confidence(enum.Enum):
    """How far the evidence goes."""

    HIGH = "high"
    """The numbers fit this cause and no other that is known."""
    MEDIUM = "medium"
    """The numbers fit; another cause could have made them, and the finding says which."""
    LOW = "low"
    """A hint: worth looking at."""


@dataclass(frozen=True)
class Finding:
    """A trouble, with its evidence.

    `rule` is the rule's name. `phase` is the phase (or `pause`, `total`, `wait`) that it is in. `title` is one sentence
    with its most important number; `numbers` has all of them, with units in their names, None where unknown.
    `cost_ns` is what it adds to a checkpoint's pause, on the average over all checkpoints looked at; None if that
    cannot be told. `confidence_reason` says what the confidence rests on, `advice` what to do. Texts may hold what came
    from outside: escape them as the medium needs.
    """

    rule: str
    phase: str
    title: str
    numbers: Mapping[str, int | float | None]
    evidence: tuple[str, ...]
    confidence: Confidence
    confidence_reason: str
    advice: str
    cost_ns: int | None = None

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "rule": self.rule,
            "phase": self.phase,
            "title": self.title,
            "numbers": dict(self.numbers),
            "evidence": list(self.evidence),
            "confidence": self.confidence.value,
            "confidence_reason": self.confidence_reason,
            "advice": self.advice,
            "cost_ns": self.cost_ns,
        }


@dataclass(frozen=True)
class Findings:
    """All that the rules had to say of one series: `found`, the most costly first; the names of the rules that have
    looked and not found anything; and the reason of each that could not look, by name. `looked_at` says at what."""

    found: tuple[Finding, ...] = ()
    not_found: tuple[str, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    looked_at: str = ""

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "found": [one.as_json() for one in self.found],
            "not_found": list(self.not_found),
            "unknown": dict(self.unknown),
            "looked_at": self.looked_at,
        }
