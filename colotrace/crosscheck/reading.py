"""One answer of `info_checkpoint`: its numbers, taken as they are, and what is wrong with their shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from colotrace.crosscheck.fields import FIELDS, PARTS, Kind
from colotrace.crosscheck.interval import Interval
from colotrace.phases import Role

INT64 = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True)
class Reading:
    """The fields that are numbers, by name; `missing` names those that are absent or null, `wrong` what the others are.

    `unknown` are members that the seed's struct has not; `info` is QEMU's MigrationInfo, if it came along.
    """

    values: Mapping[str, int]
    missing: tuple[str, ...] = ()
    wrong: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    info: Mapping[str, object] | None = None

    @property
    def num(self) -> int | None:
        """tot_num; None if it is not there or counts nothing."""
        num = self.values.get("tot_num", 0)
        return num if num > 0 else None

    def total(self, name: str, kind: Kind | None = None) -> Interval | None:
        """The sum behind a field: exact, or what its truncated average leaves possible. None if it is not known.

        `kind` takes the field for one of another kind than it should be.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if (kind or FIELDS[name].kind) is not Kind.MEAN:
            return Interval.exact(value)
        return Interval.of_average(value, self.num) if self.num else None

    def parts_sum(self) -> int | None:
        """The sum of the phases within avg_time, as reported; None if one of them is not there."""
        parts = [self.values.get(part.name) for part in PARTS]
        return sum(value for value in parts if value is not None) if None not in parts else None


def parse_reading(answer: object) -> Reading:
    """The `return` member of an answer. Raises ValueError if it is no object, or has none of the fields."""
    if not isinstance(answer, Mapping) or not FIELDS.keys() & answer.keys():
        raise ValueError("this is no answer of info_checkpoint")
    values: dict[str, int] = {}
    wrong: dict[str, str] = {}
    for name in FIELDS:
        value = answer.get(name)
        if isinstance(value, bool) or not isinstance(value, int | None):
            wrong[name] = _type_name(value)
        elif value is not None and value not in INT64:
            wrong[name] = "a number beyond int64"
        elif value is not None:
            values[name] = value
    info = answer.get("info")
    return Reading(
        values,
        tuple(name for name in FIELDS if answer.get(name) is None),
        wrong,
        tuple(str(name) for name in answer if name not in FIELDS and name != "info"),
        info if isinstance(info, Mapping) else None,
    )


def likely_role(reading: Reading) -> Role:
    """The role that an answer seems to come from: only a primary saves device state and resumes in a phase."""
    return Role.PRIMARY if reading.values.get("dev_time") or reading.values.get("resume_time") else Role.SECONDARY


def _type_name(value: object) -> str:
    names: dict[type, str] = {bool: "a boolean", float: "a float", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "no number")
