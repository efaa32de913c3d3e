"""The judgement of pasted answers alone: findings, what holds in all, and how device state grows with vCPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from colotrace.crosscheck import plausible
from colotrace.crosscheck.capture import Capture
from colotrace.crosscheck.findings import Finding
from colotrace.crosscheck.reading import likely_role
from colotrace.phases import Role


@dataclass(frozen=True)
class Judged:
    """One answer and what it gives away. `role` is a guess: only a primary has dev and resume."""

    capture: Capture
    role: Role
    findings: tuple[Finding, ...]
    average_holds: bool | None
    """Whether avg_time is tot_time / tot_num; None where one of them is not there."""

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "label": self.capture.label,
            "role": self.role.value,
            "vcpus": self.capture.vcpus,
            "about": dict(self.capture.about or {}),
            "tot_num": self.capture.reading.values.get("tot_num"),
            "average_holds": self.average_holds,
            "findings": [finding.as_json() for finding in self.findings],
            "garbage": list(self.capture.garbage),
            "unknown_members": list(self.capture.reading.unknown),
        }


@dataclass(frozen=True)
class Slope:
    """A straight line through device-state bytes over vCPUs: least squares over `points` (vCPUs, bytes).

    `residual` is the largest distance of a point from it, in bytes.
    """

    bytes_per_vcpu: float
    bytes_at_zero: float
    residual: float
    points: tuple[tuple[int, int], ...]

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "bytes_per_vcpu": self.bytes_per_vcpu,
            "bytes_at_zero": self.bytes_at_zero,
            "largest_residual": self.residual,
            "points": [list(point) for point in self.points],
        }


@dataclass(frozen=True)
class Audit:
    """All answers judged. `across` are findings that it takes two answers to see."""

    judged: tuple[Judged, ...]
    across: tuple[Finding, ...]
    slope: Slope | None

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for one in self.judged for finding in one.findings] + list(self.across)

    def as_json(self) -> dict[str, object]:
        """An object of JSON types."""
        return {
            "answers": [one.as_json() for one in self.judged],
            "across": [finding.as_json() for finding in self.across],
            "device_state": self.slope.as_json() if self.slope else None,
            "average_holds": sum(one.average_holds is True for one in self.judged),
        }


def audit(captures: Sequence[Capture]) -> Audit:
    """Judges each answer by itself, and those of one run against each other."""
    across = tuple(plausible.check_torn([capture.reading for capture in captures]))
    return Audit(tuple(map(_judge, captures)), across, device_slope(captures))


def _judge(capture: Capture) -> Judged:
    reading = capture.reading
    role = likely_role(reading)
    known = reading.num is not None and {"tot_time", "avg_time"} <= reading.values.keys()
    holds = not list(plausible.check_average(reading)) if known else None
    return Judged(capture, role, tuple(plausible.judge(reading, role)), holds)


def device_slope(captures: Sequence[Capture]) -> Slope | None:
    """How device state grows with vCPUs; None unless two numbers of vCPUs are told. Exact fractions until the end."""
    points = sorted(
        {
            (c.vcpus, c.reading.values["dev_size"])
            for c in captures
            if c.vcpus and c.reading.values.get("dev_size", 0) > 0
        }
    )
    if len({vcpus for vcpus, _ in points}) < 2:
        return None
    mean_x = Fraction(sum(x for x, _ in points), len(points))
    mean_y = Fraction(sum(y for _, y in points), len(points))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    start = mean_y - slope * mean_x
    residual = max(abs(y - start - slope * x) for x, y in points)
    return Slope(float(slope), float(start), float(residual), tuple(points))
