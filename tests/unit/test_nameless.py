"""Names by evidence: all of them where the evidence is unique, and none where it is not."""

from __future__ import annotations

import pytest

from colotrace.binary.usdt import usdt_probes

from .decoding import image_of
from .evidenceprogram import FUNCTIONS, IDENTIFIED, PRIMARY, SECONDARY, Built, built, findings, named, stapsdt
from .nameless import with_section


def lies(program: Built) -> dict[str, int]:
    """The names that are given to other functions than theirs."""
    return {name: at for name, at in named(program).items() if program.functions[name] != at}


def without(name: str, *lines: str) -> tuple[str, ...]:
    return tuple(line for line in FUNCTIONS[name] if line not in lines)


def test_all_of_them() -> None:
    program = built()
    assert named(program) == {name: program.functions[name] for name in IDENTIFIED}
    found = findings(program)
    assert all(symbol.source == "evidence in the code" and symbol.evidence for symbol in found.symbols)
    assert [r for r in found.reasons if not r.startswith(("COLOMessage_lookup", "colo_flush_ram_cache"))] == []


COPIES = [
    "colo_send_message", "colo_receive_message", "colo_receive_check_message", "qapi_event_send_colo_exit",
    "qemu_loadvm_state_main",
]  # fmt: skip


@pytest.mark.parametrize("name", COPIES)
def test_a_text_that_is_used_elsewhere_proves_nothing(name: str) -> None:
    text = next(line for line in FUNCTIONS[name] if line.startswith("text"))
    program = built({"elsewhere": (text, "number 1")})
    assert name not in named(program) and not lies(program)
    assert any(reason.startswith(f"{name}: no function") for reason in findings(program).reasons)


def test_what_loads_device_state_is_known_by_what_it_calls_if_not_by_its_text() -> None:
    name, call = "qemu_load_device_state", "call qemu_loadvm_state_main"
    program = built({name: (call,)})
    assert named(program)[name] == program.functions[name] and not lies(program)
    program = built({name: (call,), "another": (call,), SECONDARY: (*FUNCTIONS[SECONDARY], "call another")})
    assert name not in named(program)


@pytest.mark.parametrize("root", [PRIMARY, SECONDARY])
def test_a_roots_text_in_two_functions_is_no_root(root: str) -> None:
    program = built({"elsewhere": (FUNCTIONS[root][0], "number 1")})
    assert root not in named(program) and not lies(program)


def test_no_root_no_names() -> None:
    program = built({root: FUNCTIONS[root][1:] for root in (PRIMARY, SECONDARY)})
    found = findings(program)
    assert found.symbols == []
    assert f"{PRIMARY}: no code uses its text 'COLO mode must be COLO_MODE_PRIMARY'" in found.reasons


def test_the_caller_in_colo_c_of_the_function_with_the_text_is_the_root() -> None:
    """Unoptimised: migrate_start_colo_process() calls colo_process_checkpoint(), which has the text."""
    program = built({
        PRIMARY: ("text ../migration/colo.c", "call bql_unlock", "call colo_process_checkpoint", "call bql_lock_impl"),
        "colo_process_checkpoint": FUNCTIONS[PRIMARY],
    })  # fmt: skip
    assert named(program) == {name: program.functions[name] for name in IDENTIFIED}


def test_two_such_callers_leave_the_function_with_the_text() -> None:
    caller = ("text ../migration/colo.c", "call inner")
    program = built({"one": caller, "two": caller, "inner": FUNCTIONS[PRIMARY], PRIMARY: ("number 1",)})
    assert named(program)[PRIMARY] == program.functions["inner"]


def test_without_the_unwinders_index_nothing_is_told() -> None:
    found = findings(built(bounds=False))
    assert found.symbols == [] and found.reasons == ["it has no .eh_frame_hdr to tell where functions begin"]


SECOND = {
    "failover_get_state": ("load failover_state",),
    "failover_init_state": ("clear failover_state",),
    "replication_start_all": ("load replication_states", "call at 0"),
    "replication_do_checkpoint_all": ("load replication_states", "call at 16"),
    "vm_start": ("call vm_prepare_start",),
    "vm_stop_force_state": ("call runstate_set",),
    "qemu_save_device_state": ("number 1363498573", "number 1"),
    "qemu_savevm_live_state": ("zero", "jump qemu_put_byte"),
    "qemu_put_buffer": ("call memcpy", "number 1"),
    "qemu_get_buffer": ("call memcpy", "number 1"),
    "qemu_get_be64": ("call qemu_get_be32", "shift", "call qemu_get_be32"),
    "colo_notify_compares_event": ("text ../net/colo-compare.c", "number 1"),
    "bql_unlock": ("assert bql_unlock",),
}
"""Another function that shows the same."""


@pytest.mark.parametrize("name", sorted(SECOND))
def test_two_functions_that_fit_are_none(name: str) -> None:
    program = built({
        "another": SECOND[name],
        **{root: (*FUNCTIONS[root], "call another") for root in (PRIMARY, SECONDARY)},
    })  # fmt: skip
    assert name not in named(program) and not lies(program)
    assert any(reason.startswith(f"{name}: 2 functions") for reason in findings(program).reasons)


LESS = {
    "failover_get_state": ("load failover_state", "clear other_state"),
    "failover_init_state": ("load other_state",),
    "failover_set_state": ("clear other_state", "number 1"),
    "replication_start_all": ("load replication_states", "call at 8"),
    "vm_start": ("jump resume_all_vcpus",),
    "vm_stop_force_state": ("call bdrv_drain_all",),
    "qemu_save_device_state": ("number 1363498574", "zero", "jump qemu_put_byte"),
    "qemu_savevm_live_state": ("call bdrv_drain_all", "number 1", "jump qemu_put_byte"),
    "qemu_put_buffer": ("number 1",),
    "qemu_get_be64": ("call qemu_get_be32", "call qemu_get_be32"),
    "qemu_event_wait": ("assert qemu_event_wait", "assert somebody_else"),
    "bql_lock_impl": ("assert qemu_event_destroy",),
}
"""A function that does not show what it should."""


@pytest.mark.parametrize("name", sorted(LESS))
def test_what_does_not_fit_is_not_named(name: str) -> None:
    program = built({name: LESS[name]})
    assert not lies(program)
    if name == "failover_set_state":
        assert not {"failover_get_state", "failover_init_state"} & named(program).keys()
    else:
        assert name not in named(program)


def test_a_large_function_with_anothers_assertion_inlined_is_not_that_one() -> None:
    large = ("assert qemu_event_wait", *["number 1"] * 40)
    program = built({
        "qemu_event_wait": ("number 1",), "large": large, "elsewhere": large,
        PRIMARY: (*without(PRIMARY, "call qemu_event_wait"), "call large"),
    })  # fmt: skip
    assert "qemu_event_wait" not in named(program)


@pytest.mark.parametrize("name", ["colo_send_message", "colo_receive_message"])
def test_usdt_probes_are_a_second_witness(name: str) -> None:
    program = built({name: (f"probe {name}", *FUNCTIONS[name])})
    (symbol,) = (s for s in findings(program).symbols if s.name == name)
    assert symbol.address == program.functions[name] and symbol.evidence.endswith("; its USDT probe is in it")


def test_usdt_probes_tell_what_texts_do_not() -> None:
    name = "colo_send_message"
    elsewhere = ("text Can't send COLO message", "number 1")
    program = built({name: (f"probe {name}", *FUNCTIONS[name]), "elsewhere": elsewhere})
    assert named(program)[name] == program.functions[name]


def test_witnesses_that_contradict_each_other_cancel() -> None:
    name = "colo_send_message"
    program = built({"colo_receive_message": (f"probe {name}", *FUNCTIONS["colo_receive_message"])})
    found = findings(program)
    assert name not in {symbol.name for symbol in found.symbols}
    assert any(reason.startswith(f"{name}: one function of which") for reason in found.reasons)


def test_a_probe_in_a_function_that_only_traces_tells_nothing() -> None:
    name = "colo_send_message"
    program = built({
        name: ("call trace_it", *FUNCTIONS[name]), "trace_it": (f"probe {name}", "number 1"),
        PRIMARY: (*FUNCTIONS[PRIMARY], "call trace_it"),
    })  # fmt: skip
    assert named(program)[name] == program.functions[name]


def test_usdt_notes() -> None:
    program = built({"colo_send_message": ("probe one", "number 1", "probe two")})
    with image_of(program.data) as image:
        assert [(p.name, p.address) for p in usdt_probes(image, "qemu")] == list(program.probes)
        assert usdt_probes(image, "other") == []
    with image_of(built({"x": ("probe one", "number 1")}, provider=b"other").data) as image:
        assert usdt_probes(image, "qemu") == []


@pytest.mark.parametrize(
    ("notes", "count"),
    [
        (stapsdt(b"qemu", b"here", 0x41000), 1),
        (stapsdt(b"qemu", b"here", 0x41000) * 2, 1),
        (stapsdt(b"qemu", b"outside", 0x1), 0),
        (stapsdt(b"qemu", b"far", (1 << 64) - 1), 0),
        (stapsdt(b"qemu", b"here", 0x41000)[:-4], 0),
        (stapsdt(b"qemu", b"cut", 0x41000)[:30], 0),
        (stapsdt(b"qemu", b"here", 0x41000).replace(b"stapsdt", b"another"), 0),
        (b"\xff" * 100, 0),
        (b"", 0),
    ],
)
def test_notes_of_all_kinds(notes: bytes, count: int) -> None:
    with image_of(with_section(built().data, ".note.stapsdt", notes)) as image:
        assert len(usdt_probes(image, "qemu")) == count
