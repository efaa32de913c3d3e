"""A program without names whose functions show what colo.c's neighbours show: texts, assertions, data, calls.

FUNCTIONS is what nameless.py looks for, one line each; tests change lines and see what is still made out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from colotrace.binary.image import Image
from colotrace.binary.symbols import Symbols
from colotrace.resolve.nameless import Findings, identify

from .asm import Assembler
from .elfwriter import ElfWriter, Section, file_of

_PLT, _TEXT, _RODATA, _EH, _GOT, _BSS = 0x20000, 0x41000, 0x63000, 0x80000, 0xB7000, 0xC9000
_IMPORTS = ["__assert_fail", "memcpy"]
_VARIABLES = ("failover_state", "replication_states", "other_state")

PRIMARY, SECONDARY = "migrate_start_colo_process", "colo_process_incoming_thread"
_PATH = "text ../migration/colo.c"
_COMMON = (
    "call colo_send_message", "call colo_receive_check_message", "call failover_init_state", "call failover_get_state",
    "call replication_start_all", "call replication_do_checkpoint_all", "call vm_start", "call vm_stop_force_state",
    _PATH, "call bql_lock_impl", "call bql_unlock", "call qapi_event_send_colo_exit",
)  # fmt: skip
_LIST = ("load replication_states",)
FUNCTIONS: dict[str, tuple[str, ...]] = {
    PRIMARY: (
        "text COLO mode must be COLO_MODE_PRIMARY", *_COMMON, "call qemu_event_wait", "call qemu_save_device_state",
        "call qemu_savevm_live_state", "call qemu_put_buffer", "call colo_notify_compares_event",
    ),
    SECONDARY: (
        "text COLO mode must be COLO_MODE_SECONDARY", *_COMMON, "call colo_receive_message", "call qemu_get_be64",
        "call qemu_loadvm_state_main", "call qemu_get_buffer", "call qemu_load_device_state", "call failover_set_state",
    ),
    "colo_send_message": ("call qemu_put_be32", "text Can't send COLO message"),
    "colo_receive_message": ("call qemu_get_be32", "text Can't receive COLO message"),
    "colo_receive_check_message": ("call colo_receive_message", "text Unexpected COLO message %d, expected %d"),
    "failover_init_state": ("clear failover_state",),
    "failover_get_state": ("load failover_state",),
    "failover_set_state": ("exchange failover_state",),
    "replication_start_all": (*_LIST, "call at 0"),
    "replication_do_checkpoint_all": (*_LIST, "call at 16"),
    "vm_start": ("call vm_prepare_start", "jump resume_all_vcpus"),
    "vm_prepare_start": ("call qapi_event_send_resume",),
    "qapi_event_send_resume": ("text RESUME",),
    "vm_stop_force_state": ("call runstate_set",),
    "runstate_set": ("text invalid runstate transition: '%s' -> '%s'",),
    "bql_lock_impl": ("assert bql_lock_impl",),
    "bql_unlock": ("assert bql_unlock",),
    "qemu_event_wait": ("assert qemu_event_wait",),
    "qapi_event_send_colo_exit": ("text COLO_EXIT",),
    "qemu_save_device_state": ("number 1363498573", "zero", "jump qemu_put_byte"),
    "qemu_savevm_live_state": ("call bdrv_drain_all", "zero", "jump qemu_put_byte"),
    "qemu_put_buffer": ("call memcpy",),
    "qemu_get_buffer": ("call memcpy", "call bdrv_drain_all"),
    "qemu_get_be64": ("call qemu_get_be32", "shift", "call qemu_get_be32"),
    "qemu_loadvm_state_main": ("text Unknown savevm section type %d",),
    "qemu_load_device_state": ("call qemu_loadvm_state_main", "text Failed to load device state: %d"),
    "colo_notify_compares_event": ("text ../net/colo-compare.c", "call bdrv_drain_all"),
    "bdrv_drain_all": ("number 7",), "qemu_put_byte": ("number 8",), "qemu_put_be32": ("number 9",),
    "qemu_get_be32": ("number 10",), "resume_all_vcpus": ("number 11",),
}  # fmt: skip
IDENTIFIED = frozenset(FUNCTIONS) - {
    "failover_set_state", "vm_prepare_start", "qapi_event_send_resume", "runstate_set", "bdrv_drain_all",
    "qemu_put_byte", "qemu_put_be32", "resume_all_vcpus",
}  # fmt: skip
"""What nameless.py names, of these."""


@dataclass(frozen=True)
class Built:
    """The file, where its functions are, and its nops at "probe NAME"."""

    data: bytes
    functions: Mapping[str, int]
    probes: tuple[tuple[str, int], ...]


def built(
    changed: Mapping[str, tuple[str, ...]] | None = None, *, bounds: bool = True, provider: bytes = b"qemu"
) -> Built:
    """The program, with some functions replaced or added."""
    functions = {**FUNCTIONS, **(changed or {})}
    elf, asm = ElfWriter(), Assembler(_TEXT)
    stubs = elf.plt(_PLT, _GOT, _IMPORTS)
    texts, rodata = dict[str, int](), bytearray()
    ranges, probes = [], []
    for name, lines in functions.items():
        asm.align()
        start = asm.label(name)
        for line in lines:
            what, _, rest = line.partition(" ")
            if what in ("text", "assert") and rest not in texts:
                texts[rest] = _RODATA + len(rodata)
                rodata += rest.encode() + b"\0"
            if what == "probe":
                probes.append((rest, asm.nop()))
            else:
                _emit(asm, what, rest)
        if not lines[-1].startswith("jump"):
            asm.ret()
        ranges.append((start, asm.here))
    data = {f"text {text}": at for text, at in texts.items()} | {v: _BSS + 8 * n for n, v in enumerate(_VARIABLES)}
    elf.text(asm.base, asm.assemble({**stubs, **data}))
    elf.rodata(_RODATA, bytes(rodata))
    elf.bss(_BSS, 0x100)
    if bounds:
        elf.eh_frame(_EH, ranges)
    notes = b"".join(stapsdt(provider, name.encode(), at) for name, at in probes)
    if notes:
        elf.sections.append(Section(".note.stapsdt", 7, notes))
    return Built(elf.build(), {name: asm.labels[name] for name in functions}, tuple(probes))


def _emit(asm: Assembler, what: str, rest: str) -> None:
    if what == "text":
        asm.lea("rdi", f"text {rest}")
    elif what == "assert":
        past = f"past {asm.here:#x}"
        asm.test("rax")
        asm.jcc("ne", past)
        asm.lea("rcx", f"text {rest}")
        asm.call("__assert_fail")
        asm.label(past)
    elif what == "call" and rest.startswith("at "):
        asm.raw(b"\x48\x8b\x40" + bytes((int(rest[3:]),)))  # mov N(%rax), %rax
        asm.test("rax")
        asm.raw("ffd0")  # call *%rax
    elif what == "call":
        asm.call(rest)
    elif what == "jump":
        asm.jmp(rest)
    elif what == "load":
        asm.load(rest)
    elif what == "clear":
        asm._relative(b"\xc7\x05", rest, 4, -4)
        asm.raw(bytes(4))
    elif what == "exchange":
        asm._relative(b"\xf0\x0f\xb1\x35", rest)  # lock cmpxchg %esi, var(%rip)
    elif what == "number":
        asm.mov_imm("rsi", int(rest))
    elif what == "zero":
        asm.xor("rsi")
    elif what == "shift":
        asm.raw("48c1e020")  # shl $32, %rax
    else:
        raise ValueError(what)


def stapsdt(provider: bytes, name: bytes, address: int, base: int = 0) -> bytes:
    """A note as sys/sdt.h writes it."""
    content = struct.pack("<QQQ", address, base, 0) + provider + b"\0" + name + b"\0-4@%edi\0"
    return struct.pack("<III", 8, len(content), 3) + b"stapsdt\0" + content + bytes(-len(content) % 4)


def findings(program: Built) -> Findings:
    """What is made out in it."""
    with file_of(program.data) as path, Image(path) as image:
        return identify(image, Symbols(image))


def named(program: Built) -> dict[str, int]:
    """Name -> address of what is made out."""
    return {symbol.name: symbol.address for symbol in findings(program).symbols}
