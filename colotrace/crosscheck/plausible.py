"""What a single answer of `info_checkpoint` gives away about itself, with nothing to hold it against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from colotrace.crosscheck.fields import FIELDS, PARTS, is_of_role
from colotrace.crosscheck.findings import Code, Finding, finding, grouped, negative
from colotrace.crosscheck.reading import Reading, likely_role
from colotrace.phases import Role

ROUND_TRIP_FLOOR_NS = 5_000
"""Waiting for a peer takes system calls and a wake-up on each side, even over a unix socket on one host; a tenth
of the shortest recv that the README shows."""
_NS_PER_MS = 1_000_000
_NEARLY = 0.95
"""What lies between phases is little: the share of avg_time that the phases sum to at least."""


def check_shape(reading: Reading, role: Role) -> Iterator[Finding]:
    """Members that are absent, null or of another type; what the role has not may be absent."""
    missing = tuple(name for name in reading.missing if is_of_role(FIELDS[name], role))
    if missing:
        yield finding(
            Code.MISSING, missing, f"the answer lacks {_listed(missing)}", "absent or null: not to be told from unknown"
        )
    if reading.wrong:
        what = ", ".join(f"{name} is {how}" for name, how in reading.wrong.items())
        yield finding(Code.WRONG_TYPE, tuple(reading.wrong), f"{what} instead of a whole number", "int64 was expected")


def check_signs(reading: Reading) -> Iterator[Finding]:
    """Figures below zero."""
    for name, value in reading.values.items():
        if value < 0:
            stem = FIELDS[name].stem
            yield negative(name, stem, value, f"{name} = {grouped(value)}; end minus begin is never below 0")


def check_average(reading: Reading) -> Iterator[Finding]:
    """avg_time must be tot_time / tot_num, truncated."""
    total, average, num = (reading.values.get(name) for name in ("tot_time", "avg_time", "tot_num"))
    if total is None or average is None or not num or num < 0:
        return
    expected = abs(total) // num * (1 if total >= 0 else -1)
    if average != expected:
        yield finding(
            Code.AVERAGE,
            ("avg_time", "tot_time", "tot_num"),
            "avg_time is not tot_time / tot_num",
            f"{grouped(total)} / {num} = {grouped(expected)}, but avg_time = {grouped(average)}",
            expected=expected,
            reported=average,
        )


def check_parts(reading: Reading) -> Iterator[Finding]:
    """The phases cannot sum to more than the checkpoint; and if one alone does, it may be a sum among averages."""
    average, num, parts = reading.values.get("avg_time"), reading.num, reading.parts_sum()
    if average is None or num is None or parts is None or any(reading.values[part.name] < 0 for part in PARTS):
        return
    excess = parts - average
    if excess <= 0:
        return
    for part in PARTS:
        value = reading.values[part.name]
        fitted = parts - value + value // num
        if num > 1 and value > average and _NEARLY * average <= fitted <= average:
            yield finding(
                Code.MIXED,
                (part.name,),
                f"{part.name} is a sum over all checkpoints among averages",
                f"{grouped(value)} is more than avg_time, {grouped(average)}; divided by tot_num = {num} it fits",
                value=value,
                average=average,
            )
            return
    yield finding(
        Code.PARTS_EXCEED,
        tuple(part.name for part in PARTS),
        f"the phases sum to {grouped(excess)} ns more than avg_time",
        f"{' + '.join(str(part.phase.value) for part in PARTS if part.phase)} = {grouped(parts)}, avg_time = "
        f"{grouped(average)}; truncating the averages explains less than 1 ns of {grouped(excess)}",
        excess=excess,
        parts=parts,
        average=average,
    )


def check_zeros(reading: Reading, role: Role) -> Iterator[Finding]:
    """What every checkpoint has cannot be 0."""
    if reading.num is None:
        return
    ram = reading.info.get("ram") if reading.info else None
    sent = ram.get("transferred") if isinstance(ram, dict) else None
    for name, value in reading.values.items():
        if value or not is_of_role(FIELDS[name], role):
            continue
        arithmetic = f"{name} = 0 over {reading.num} checkpoints"
        if name == "ram_size" and isinstance(sent, int) and sent:
            arithmetic += f", yet info.ram.transferred = {grouped(sent)} bytes"
        yield finding(Code.ALWAYS_ZERO, (name,), f"{name} is 0", arithmetic)


def check_round_trip(reading: Reading, role: Role) -> Iterator[Finding]:
    """On the primary, recv waits for an answer of the secondary."""
    recv = reading.values.get("recv_time")
    if role is Role.PRIMARY and reading.num and recv is not None and 0 < recv < ROUND_TRIP_FLOOR_NS:
        yield finding(
            Code.RECV_TOO_SHORT,
            ("recv_time",),
            "recv_time is shorter than any round trip to the secondary",
            f"recv_time = {grouped(recv)} ns; an answer takes at least {grouped(ROUND_TRIP_FLOOR_NS)} ns on one host",
            recv=recv,
        )


def check_run(reading: Reading) -> Iterator[Finding]:
    """Checkpoints and waits lie within the migration, whose time QEMU itself reports in `info`, in milliseconds."""
    whole_ms = reading.info.get("total-time") if reading.info else None
    total, wait, num = reading.values.get("tot_time"), reading.values.get("wait_time"), reading.num
    if not isinstance(whole_ms, int) or total is None or wait is None or num is None or total < 0 or wait < 0:
        return
    spent, whole = total + wait * num, (whole_ms + 1) * _NS_PER_MS
    if spent > whole:
        yield finding(
            Code.EXCEEDS_RUN,
            ("tot_time", "wait_time"),
            "the checkpoints and their waits take longer than the migration has lasted",
            f"tot_time + wait_time * tot_num = {grouped(spent)} ns, info.total-time = {grouped(whole_ms)} ms",
            spent=spent,
            whole=whole,
        )


def judge(reading: Reading, role: Role | None = None) -> list[Finding]:
    """All that one answer gives away; the role is guessed from the answer unless it is known."""
    role = role or likely_role(reading)
    findings = [*check_shape(reading, role), *check_signs(reading), *check_average(reading)]
    return [
        *findings,
        *check_parts(reading),
        *check_zeros(reading, role),
        *check_round_trip(reading, role),
        *check_run(reading),
    ]


def check_torn(readings: Sequence[Reading]) -> Iterator[Finding]:
    """Two answers after the same number of checkpoints must be the same answer."""
    seen: dict[tuple[int | None, ...], Reading] = {}
    for reading in readings:
        values = reading.values
        key = tuple(values.get(name) for name in ("init_time", "tot_num", "tot_time"))
        first = seen.setdefault(key, reading)
        changed = tuple(name for name in values if values[name] != first.values.get(name))
        if reading.num and changed:
            name = changed[0]
            yield finding(
                Code.TORN,
                changed,
                f"{_listed(changed)} changed while no checkpoint was added: an answer mixes in half a checkpoint",
                f"tot_num = {reading.num} both times, {name} = {first.values.get(name)} and then {values[name]}",
            )
            return


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
