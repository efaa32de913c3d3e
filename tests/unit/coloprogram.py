"""A synthetic QEMU: the skeleton of migration/colo.c as machine code in an ELF file, and where its boundaries are."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from .asm import Assembler
from .coloops import BODIES, MESSAGES, Op, Ops
from .elfwriter import FUNC, OBJECT, ElfWriter, Symbol

ROOTS = {"primary": "migrate_start_colo_process", "secondary": "colo_process_incoming_thread"}
VERSION_TEXT = "QEMU emulator version 9.9.9 (synthetic)\n"
_NUMBER_CALLS = ("qemu_put_be32", "qemu_get_be32", "vm_prepare_start", "trace_print", "visit_type_int", "clock_gettime")
_SEND_TEXT = "Can't send COLO message"
IMPORTS = ["g_realloc", "error_report", "timer_free"]
_PLT, _TEXT, _RODATA, _EH, _RELRO, _GOT, _BSS, _DYNAMIC = (
    0x20000, 0x41000, 0x63000, 0x80000, 0xA5000, 0xB7000, 0xC9000, 0xE0000,
)  # fmt: skip
_COUNTERS = {"transferred": 0, "duplicate": 24, "normal": 40, "dirty_sync_count": 56}


@dataclass(frozen=True)
class Recipe:
    """What to build. `seed` shuffles the layout; `bodies` replaces a role's operations.

    `numbers` are the messages' numbers, in the table and in the code alike; `stripped` symbols are left out.
    `counter_offset` is what the visitor adds to the member `normal` beyond what the user of ram_counters uses.
    """

    seed: int = 0
    bodies: Mapping[str, Ops] = field(default_factory=dict)
    numbers: tuple[int, ...] = tuple(range(len(MESSAGES)))
    stripped: frozenset[str] = frozenset()
    version: str = VERSION_TEXT
    skew: int = 0
    shift: int = 0
    """Added to all addresses of code."""
    counter_offset: int = 0
    counter_members: tuple[str, ...] = tuple(_COUNTERS)
    named_helpers: bool = False
    colo_text: bool = True
    """Whether colo.c's error text is in it, by which COLO is known where no name is left."""
    section_headers: bool = True
    dynamic: str = ""
    """"gnu" or "sysv": a PT_DYNAMIC, and this hash table, lead to the dynamic symbols as well."""


@dataclass(frozen=True)
class Program:
    """The file, and the truth about it: labels, and boundary -> address per role, and each call's (address, target)."""

    data: bytes
    labels: Mapping[str, int]
    truth: Mapping[str, Mapping[str, tuple[int, ...]]]
    calls: Mapping[str, tuple[tuple[int, Op], ...]]
    arguments: Mapping[int, int]
    """Call of a message -> the address of its number's 4 bytes, where they are an immediate."""
    text: tuple[int, int]
    """The address of .text, and its file offset."""

    def patched(self, address: int, new: bytes) -> bytes:
        """The file with other bytes at an address of its code."""
        at = address - self.text[0] + self.text[1]
        return self.data[:at] + new + self.data[at + len(new) :]

    def with_call(self, address: int, target: int) -> bytes:
        """The file with another target in the call at an address."""
        return self.patched(address + 1, struct.pack("<i", target - (address + 5)))


class _Builder:
    """Emits the code of one recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.random = random.Random(recipe.seed)
        self.asm = Assembler(_TEXT + recipe.shift)
        self.bodies = {**BODIES, **recipe.bodies}
        self.truth: dict[str, dict[str, list[int]]] = {role: {} for role in self.bodies}
        self.calls: dict[str, list[tuple[int, Op]]] = {role: [] for role in self.bodies}
        self.arguments: dict[int, int] = {}
        self.functions: dict[str, tuple[int, int]] = {}
        self._serial = 0

    def unique(self) -> str:
        self._serial += 1
        return f"#{self._serial}"

    def function(self, name: str, emit: object) -> None:
        self.asm.align()
        start = self.asm.label(name)
        emit()  # type: ignore[operator]
        self.functions[name] = (start, self.asm.here)

    def stub(self) -> None:
        self.asm.endbr64()
        self.asm.xor("rax")
        self.asm.ret()

    def helper(self, calls: tuple[str, ...], text: str = "") -> None:
        """An unnamed helper that makes these calls, and one more, with its text, on its way of error."""
        asm, error = self.asm, self.unique()
        asm.endbr64()
        asm.push("rbx")
        asm.mov("rbx", "rdi")
        for name in calls:
            asm.mov("rdi", "rbx")
            asm.call(name)
        asm.test("rax")
        asm.jcc8("ne", error)
        asm.pop("rbx")
        asm.ret()
        asm.label(error)
        asm.pop("rbx")
        if text and self.recipe.colo_text:
            asm.lea("rdx", f"text {text}")
        asm.jmp("error_setg_internal")

    def check(self) -> None:
        """colo_receive_check_message: what comes is compared with the second argument."""
        asm, error = self.asm, self.unique()
        asm.endbr64()
        asm.push("rbx")
        asm.mov("rbx", "rsi", wide=False)
        asm.call("receive message")
        asm.cmp("rax", "rbx")
        asm.jcc8("ne", error)
        asm.pop("rbx")
        asm.ret()
        asm.label(error)
        asm.pop("rbx")
        asm.jmp("error_setg_internal")

    def vm_start(self) -> None:
        self.asm.endbr64()
        self.asm.sub_rsp(8)
        self.asm.label("takeover")
        self.asm.call("vm_prepare_start")
        self.asm.add_rsp(8)
        self.asm.ret()

    def visitor(self) -> None:
        asm = self.asm
        asm.push("rbx")
        asm.mov("rbx", "rsi")
        for name in self.recipe.counter_members:
            asm.lea("rsi", f"text {name}")
            more = self.recipe.counter_offset if name == "normal" else 0
            asm.lea_base("rdx", "rbx", _COUNTERS[name] + more)
            asm.call("visit_type_int")
        asm.pop("rbx")
        asm.ret()

    def counter_user(self) -> None:
        self.asm.call("count helper")
        self.asm.add_memory("ram_counters", _COUNTERS["transferred"])
        self.asm.ret()

    def counter_helper(self) -> None:
        self.asm.add_memory("ram_counters", _COUNTERS["duplicate"])
        self.asm.add_memory("ram_counters", _COUNTERS["normal"])
        self.asm.ret()

    def role(self, role: str) -> None:
        """One of the two COLO functions: blocks in shuffled order, the entry first."""
        blocks: list[tuple[str, list[Op], str | None]] = []
        label, body = "", list[Op]()
        for op in (*self.bodies[role], Op("label", "end of function")):
            if op.kind == "label":
                if label:
                    blocks.append((label, body, None if body and body[-1].kind in ("jump", "return") else op.name))
                label, body = op.name, [op]
            else:
                body.append(op)
                if op.kind in ("branch", "trace"):  # a block ends here
                    following = self.unique()
                    blocks.append((label, body, following))
                    label, body = following, []
        rest = blocks[1:]
        self.random.shuffle(rest)
        order = [blocks[0], *rest]
        late: list[tuple[str, str]] = []
        for n, (name, ops, target) in enumerate(order):
            self.asm.label(f"{role}: {name}")
            for op in ops:
                self.op(role, op, late)
            if target is not None and (n + 1 == len(order) or order[n + 1][0] != target):
                self.asm.jmp(f"{role}: {target}")
        for side, back in late:
            self.asm.label(side)
            self.asm.call("qemu_get_thread_id")
            self.asm.call("trace_print")
            self.asm.jmp(back)

    def mark(self, role: str, op: Op) -> None:
        for mark in op.marks:
            self.truth[role].setdefault(mark, []).append(self.asm.here)

    def op(self, role: str, op: Op, late: list[tuple[str, str]]) -> None:
        asm = self.asm
        if op.kind == "label" and op.name == "entry":
            asm.endbr64()
            self.mark(role, op)
            for register in ("r15", "rbx"):
                asm.push(register)
            asm.sub_rsp(24)
            asm.mov("rbx", "rdi")
        elif op.kind in ("call", "send", "check", "receive"):
            number_at = self.argument(op)
            asm.mov("rdi", "rbx")
            self.mark(role, op)
            self.calls[role].append((asm.here, op))
            if number_at is not None:
                self.arguments[asm.here] = number_at
            asm.call(op.name if op.kind == "call" else f"{op.kind} message")
        elif op.kind == "branch":
            asm.load_stack()
            asm.test("rax")
            self.mark(role, op)
            asm.jcc("ne", f"{role}: {op.name}")
        elif op.kind == "trace":
            side, back = self.unique(), self.unique()
            asm.load("trace_flag")
            asm.test("rax")
            self.mark(role, op)
            asm.jcc("ne", side)
            asm.label(back)
            late.append((side, back))
        elif op.kind == "jump":
            self.mark(role, op)
            asm.jmp(f"{role}: {op.name}")
        elif op.kind == "indirect":
            asm.jmp_register("rax")
        elif op.kind == "return":
            asm.add_rsp(24)
            asm.pop("rbx")
            asm.pop("r15")
            asm.ret()

    def argument(self, op: Op) -> int | None:
        if op.kind in ("call", "receive"):
            self.asm.mov("rsi", "rbx")
            return None
        number = self.recipe.numbers[MESSAGES.index(op.message)] if op.number is None else op.number
        if number < 0:
            self.asm.load_stack_top()
        elif number == 0:
            self.asm.xor("rsi")
        else:
            return self.asm.mov_imm("rsi", number) + 1
        return None


@cache
def _stub_names() -> tuple[str, ...]:
    named = {op.name for ops in BODIES.values() for op in ops if op.kind == "call"} | set(_NUMBER_CALLS)
    return tuple(sorted((named | {"error_setg_internal", "qemu_get_thread_id"}) - {"vm_start", *IMPORTS}))


def build(recipe: Recipe = Recipe()) -> Program:
    """The synthetic QEMU of a recipe."""
    builder, elf = _Builder(recipe), ElfWriter(
        skew=recipe.skew,
        section_headers=recipe.section_headers,
        dynamic_at=_DYNAMIC if recipe.dynamic else 0,
        gnu_hash=recipe.dynamic == "gnu",
    )
    asm = builder.asm
    work: list[tuple[str, object]] = [(name, builder.stub) for name in _stub_names()]
    work += [
        ("send message", lambda: builder.helper(("qemu_put_be32", "qemu_fflush", "qemu_file_get_error"), _SEND_TEXT)),
        ("receive message", lambda: builder.helper(("qemu_get_be32", "qemu_file_get_error"))),
        ("check message", builder.check),
        ("vm_start", builder.vm_start),
        ("visit_type_MigrationStats_members", builder.visitor),
        ("acct_update_position", builder.counter_user),
        ("count helper", builder.counter_helper),
        *((ROOTS[role], lambda role=role: builder.role(role)) for role in ROOTS),
    ]
    builder.random.shuffle(work)
    for name, emit in work:
        builder.function(name, emit)
    stubs = elf.plt(_PLT, _GOT, IMPORTS)
    texts, rodata = {}, bytearray(recipe.version.encode() + b"\0")
    for text in (*MESSAGES, *_COUNTERS, *([_SEND_TEXT] if recipe.colo_text else [])):
        texts[text] = _RODATA + len(rodata)
        rodata += text.encode() + b"\0"
    data = {f"text {name}": at for name, at in texts.items()} | {"ram_counters": _BSS, "trace_flag": _BSS + 0x100}
    data["COLOMessage_lookup"] = _RELRO
    elf.text(asm.base, asm.assemble({**stubs, **data}))
    elf.rodata(_RODATA, bytes(rodata))
    elf.relro(_RELRO, struct.pack("<QQI4x", 0, 0, len(MESSAGES)) + bytes(8 * len(MESSAGES)))
    elf.relative(_RELRO, _RELRO + 24)
    for message, number in zip(MESSAGES, recipe.numbers, strict=True):
        if number < len(MESSAGES):
            elf.relative(_RELRO + 24 + 8 * number, texts[message])
    elf.bss(_BSS, 0x200)
    elf.eh_frame(_EH, list(builder.functions.values()))
    helpers = {"send message": "colo_send_message", "receive message": "colo_receive_message.part.0",
               "check message": "colo_receive_check_message.constprop.0"}  # fmt: skip
    for name, (start, end) in builder.functions.items():
        known = helpers.get(name, name) if recipe.named_helpers else name
        if " " not in known and known not in recipe.stripped:
            elf.dynsym.append(Symbol(known, start, end - start, FUNC))
    for name, at, size in (("COLOMessage_lookup", _RELRO, 24), ("ram_counters", _BSS, 0x80)):
        if name not in recipe.stripped:
            elf.dynsym.append(Symbol(name, at, size, OBJECT))
    file = elf.build()
    offset = next(section.offset for section in elf.sections if section.name == ".text")
    truth = {role: {mark: tuple(sorted(at)) for mark, at in marks.items()} for role, marks in builder.truth.items()}
    calls = {role: tuple(found) for role, found in builder.calls.items()}
    labels = {**stubs, **data, **asm.labels}
    return Program(file, labels, truth, calls, builder.arguments, (asm.base, offset))
