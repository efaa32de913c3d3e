"""The vocabulary against bpf/colo_phases.h: the kernel program reads cookies with that header's macros."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from colotrace.kernel import layout
from colotrace.phases import (
    BOUNDARIES,
    MARKS,
    MESSAGES,
    PHASES,
    ROLE_PHASES,
    TAKEOVER,
    Boundary,
    Effect,
    Mark,
    Phase,
    Role,
    phase_ends,
)

HEADER = (Path(__file__).resolve().parents[2] / "bpf" / "colo_phases.h").read_text()
DEFINES = dict(re.findall(r"^#define (\w+) +(.+?)(?: +/\*.*)?$", HEADER, re.MULTILINE))
FIELDS = {
    name: (int(shift or 0), int(mask, 16))
    for name, shift, mask in re.findall(r"#define COOKIE_(\w+)\(c\) \(\(c\)(?: >> (\d+))? & (0x[0-9a-f]+)\)", HEADER)
}
EVERY = [(role, boundary) for role in Role for boundary in BOUNDARIES[role].values()] + [(None, TAKEOVER)]


def define(name: str) -> int:
    """The value of a #define of the form N, 1 << N or 1u << N."""
    base, _, shift = DEFINES[name].strip("()").replace("u", "").partition(" << ")
    return int(base) << int(shift or 0)


def read(cookie: int, field: str) -> int:
    shift, mask = FIELDS[field]
    return cookie >> shift & mask


def test_macros_are_all_read() -> None:
    assert sorted(FIELDS) == ["CLOSES", "EFFECTS", "MARK", "OPENS", "ROLE", "TARGET", "TRIGGER"]


@pytest.mark.parametrize("target", [0, 1, 0xFFFF])
@pytest.mark.parametrize(("role", "boundary"), EVERY, ids=lambda x: getattr(x, "name", "none"))
def test_cookie_round_trip(role: Role | None, boundary: Boundary, target: int) -> None:
    cookie = boundary.cookie(role, target)
    assert 0 <= cookie < 1 << 64
    assert read(cookie, "CLOSES") == (boundary.closes.number if boundary.closes else 0)
    assert read(cookie, "OPENS") == (boundary.opens.number if boundary.opens else 0)
    assert read(cookie, "MARK") == (boundary.mark.number if boundary.mark else 0)
    assert read(cookie, "ROLE") == (role.number if role else 0)
    assert read(cookie, "EFFECTS") == boundary.effects
    assert read(cookie, "TARGET") == target
    assert sum(read(cookie, name) << FIELDS[name][0] for name in FIELDS) == cookie, "no bit lies outside the macros"


@pytest.mark.parametrize("target", [-1, 1 << 16])
def test_a_target_that_does_not_fit_is_refused(target: int) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        TAKEOVER.cookie(None, target)


@pytest.mark.parametrize("effect", [e for e in Effect if e], ids=lambda e: e.name)
def test_effects_are_the_headers(effect: Effect) -> None:
    assert define(f"EFFECT_{effect.name}") == effect


def test_the_header_has_no_other_effect() -> None:
    assert {name for name in DEFINES if name.startswith("EFFECT_")} == {f"EFFECT_{e.name}" for e in Effect if e}


def test_numbers_are_the_headers() -> None:
    assert define("PHASES") == len(PHASES)
    assert define("MARKS") == len(MARKS)
    assert define("PHASE_INIT") == Phase.INIT.number
    assert define("PHASE_WAIT") == Phase.WAIT.number
    assert [phase.number for phase in PHASES] == list(range(1, 10))
    assert [mark.number for mark in MARKS] == list(range(1, 14))
    assert [role.number for role in (Role.PRIMARY, Role.SECONDARY)] == [1, 2]
    assert max(*FIELDS["CLOSES"]) >= len(PHASES) and max(*FIELDS["MARK"]) >= len(MARKS)


@pytest.mark.parametrize("name", sorted(n for n in DEFINES if n.startswith(("SEEN_", "KIND_"))))
def test_bits_and_kinds_are_the_headers(name: str) -> None:
    assert getattr(layout, name) == define(name)


def test_messages_are_in_qemus_order() -> None:
    assert [message.value for message in MESSAGES] == [
        "checkpoint-ready", "checkpoint-request", "checkpoint-reply", "vmstate-send", "vmstate-size",
        "vmstate-received", "vmstate-loaded",
    ]  # fmt: skip


@pytest.mark.parametrize(("role", "phase"), [(role, phase) for role in Role for phase in ROLE_PHASES[role]])
def test_every_phase_opens_once_and_closes_once(role: Role, phase: Phase) -> None:
    opening = [b for b in BOUNDARIES[role].values() if b.opens is phase]
    closing = [b for b in BOUNDARIES[role].values() if b.closes is phase]
    assert [len(opening), len(closing)] == [1, 1]
    assert phase_ends(role, phase) == (opening[0], closing[0])
    order = list(BOUNDARIES[role].values())
    assert order.index(opening[0]) < order.index(closing[0])


@pytest.mark.parametrize("phase", [Phase.DEV, Phase.RESUME])
def test_the_secondary_has_neither_dev_nor_resume(phase: Phase) -> None:
    assert phase not in ROLE_PHASES[Role.SECONDARY]
    with pytest.raises(KeyError, match=phase.value):
        phase_ends(Role.SECONDARY, phase)


@pytest.mark.parametrize("role", list(Role))
def test_no_two_phases_are_open_at_once(role: Role) -> None:
    """In the order in which a checkpoint passes them, each boundary closes what is open and only then opens another."""
    opened: Phase | None = None
    for boundary in BOUNDARIES[role].values():
        if boundary.closes:
            assert boundary.closes is opened, boundary.name
            opened = None
        if boundary.opens:
            assert opened is None, boundary.name
            opened = boundary.opens
    assert opened is None


@pytest.mark.parametrize("role", list(Role))
def test_phases_open_in_their_own_order(role: Role) -> None:
    assert tuple(b.opens for b in BOUNDARIES[role].values() if b.opens) == ROLE_PHASES[role]


@pytest.mark.parametrize("role", list(Role))
def test_marks_are_set_once_and_messages_in_order(role: Role) -> None:
    marks = [b.mark for b in BOUNDARIES[role].values() if b.mark]
    flush = [Mark.CACHE_FLUSH, Mark.CACHE_FLUSHED] if role is Role.SECONDARY else []
    wanted = [mark for mark in MARKS if mark in flush or mark not in (Mark.CACHE_FLUSH, Mark.CACHE_FLUSHED)]
    assert sorted(marks, key=MARKS.index) == wanted, "every mark, each at one boundary; only the secondary has a cache"
    assert [mark for mark in marks if mark in MESSAGES] == list(MESSAGES)
    changes = [mark for mark in marks if mark not in MESSAGES]
    assert changes == [Mark.VM_STOP, Mark.VM_STOPPED, *flush, Mark.VM_START, Mark.VM_STARTED]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    "effect",
    [Effect.TRANSACTION_BEGIN, Effect.TRANSACTION_END, Effect.COMPLETES, Effect.PAUSE_BEGIN, Effect.PAUSE_END,
     Effect.DEVICE_BYTES, Effect.WAIT_BEGIN, Effect.COLO_EXIT],
    ids=lambda e: e.name,
)  # fmt: skip
def test_effects_happen_at_one_boundary(role: Role, effect: Effect) -> None:
    assert len([b for b in BOUNDARIES[role].values() if b.effects & effect]) == 1


def test_only_the_primary_counts_ram() -> None:
    both = Effect.RAM_BEGIN | Effect.RAM_END
    assert [b.name for b in BOUNDARIES[Role.PRIMARY].values() if b.effects & both] == ["ram-begin", "put-begin"]
    assert not [b for b in BOUNDARIES[Role.SECONDARY].values() if b.effects & both]


def test_completion_is_the_designs() -> None:
    """Primary: its own vm_start is called. Secondary: LOADED is sent."""
    at = {role: next(b.name for b in BOUNDARIES[role].values() if b.effects & Effect.COMPLETES) for role in Role}
    assert at == {Role.PRIMARY: "vm-start", Role.SECONDARY: "loaded"}
