"""What colotrace reads of others, parser by parser: seeds to begin with, and what must hold whatever the bytes are.

Shared by the tests, which take a bounded time, and by scripts/fuzz, which takes as long as it is given. A parser
survives if it answers, or raises an error for people, within a bound of time and memory.
"""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console

from colotrace.cli.verdicts import audit_view
from colotrace.crosscheck.audit import audit
from colotrace.crosscheck.capture import captures
from colotrace.diagnosis import Check, exit_code
from colotrace.errors import ColotraceError
from colotrace.kernel.consumers import parse_uprobe_events
from colotrace.kernel.host import Host
from colotrace.kernel.preflight import HOST_CHECKS, TARGET_CHECKS
from colotrace.plain import from_plain, to_plain
from colotrace.qmp.framing import MalformedError, MessageSplitter, decode
from colotrace.qmp.peer import parse_unix_sockets
from colotrace.resolve.plan import ProbePlan
from colotrace.target.discovery import looks_like_qemu, vm_name
from colotrace.target.process import Identity, Process

from . import elffuzz
from .coloprogram import Recipe, build
from .decoding import cpu_bound
from .elffuzz import memory_bound
from .fakeqmp import SEEDS as REPLIES
from .fakeqmp import ask_hostile
from .test_target import MAPS, STAT, STATUS
from .truth import plan_of

SECONDS, MEMORY_MIB = 5.0, 256
DATA = Path(__file__).resolve().parents[1] / "data"
INTERESTING = (
    b"\0", b"\n", b"\x1b[2J", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"[red]", b"{", b"[" * 2000, b"9" * 5000,
    b"-1", b"1e999", b"NaN", b'"', b"\\", b"0x", b":", b")", b" ",
)  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """`survives` gives the answer, and raises whatever is no answer; `hurt` damages data of this kind."""

    seeds: Callable[[], Mapping[str, bytes]]
    survives: Callable[[bytes], object]
    hurt: Callable[[bytes, random.Random], bytes]
    hurts_seeds_only: bool = False
    """Whether hurt() must be given whole data: it looks for the places that matter in it."""
    holds: Callable[[str, bytes], object] | None = None
    """More than `survives`, where the data is the seed of this name after hurt()."""


def hurt_text(data: bytes, dice: random.Random) -> bytes:
    """A few changes: bytes, what is often mishandled, parts cut out, doubled and moved."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at, end = sorted((dice.randint(0, len(out)), dice.randint(0, len(out))))
        kind = dice.randrange(6)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] = dice.randrange(256)
        elif kind == 1:
            out[at:at] = dice.choice(INTERESTING)
        elif kind == 2:
            out[at : at + 3] = dice.choice(INTERESTING)
        elif kind == 3:
            del out[at : min(end, at + 200)]
        elif kind == 4:
            out[at:at] = out[at : min(end, at + 200)]
        else:
            del out[end:]
    return bytes(out)


def bounded(work: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """The answer, or an error for people; whatever else is raised, where it is neither, takes too long or too much."""

    def survives(data: bytes) -> object:
        with cpu_bound(SECONDS), memory_bound(MEMORY_MIB):
            try:
                return work(data)
            except ColotraceError as error:
                assert str(error) and error.exit_code in range(3, 12)
                return error

    return survives


class _Saved(Process):
    """A process that is a saved text, whichever file is asked for."""

    def __init__(self, text: str) -> None:
        self.pid, self._text = 4711, text
        self.identity = Identity(84219, 0xFE01, 1056412)  # that of test_target's texts

    @property
    def exe(self) -> str:
        return "/proc/self/exe"

    def _read(self, _name: str) -> str:
        return self._text


class _SavedHost(Host):
    """A host whose every file is the same saved bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__("/nonexistent", data[:40].decode("utf-8", "replace"))
        self._data = data

    def text(self, path: str) -> str:
        return self._data.decode("utf-8", "replace")

    def data(self, path: str) -> bytes:
        return self._data


def _read_process(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    vm_name(text.rstrip("\0").split("\0"))
    looks_like_qemu(text)
    list(parse_uprobe_events(text))
    parse_unix_sockets(text, "/run/vm/qmp.sock")
    process = _Saved(text)
    process.command_line()
    process.mappings()
    process.is_same()
    checks = [check(process) for check in TARGET_CHECKS]
    assert all(isinstance(check, Check) for check in checks)
    return process.load_bias([(0x34C000, 0x34C000)])


def _read_host(data: bytes) -> object:
    checks = [check(_SavedHost(data)) for check in HOST_CHECKS]
    return exit_code(checks)


def _read_capture(data: bytes) -> object:
    found = captures(data.decode("utf-8", "replace"), "file")
    if not found:
        return None
    judged = audit(found)
    json.dumps(judged.as_json(), allow_nan=False)
    console = Console(file=io.StringIO(), width=100, highlight=False, color_system=None)
    console.print(audit_view(judged))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(c.isprintable() or c == "\n" for c in shown), "what was read gets at the terminal"
    return judged


def _read_request(data: bytes) -> object:
    splitter, found = MessageSplitter(1 << 16), 0
    for at in range(0, len(data), 1000):
        for message in splitter.feed(data[at : at + 1000]):
            try:
                if isinstance(message, bytes):
                    found += bool(decode(message))
            except MalformedError as error:
                assert str(error)
    return found


def _read_plan(data: bytes) -> object:
    """As a kept plan is read: these exceptions, and no others, mean that it is not used."""
    try:
        return from_plain(ProbePlan, json.loads(data))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _hurt_dwarf(data: bytes, dice: random.Random) -> bytes:
    return elffuzz.hurt(data, dice, ".debug_")


@cache
def _texts() -> dict[str, bytes]:
    return {
        "maps": MAPS.encode(), "stat": STAT.format(name="a (b) c").encode(), "status": STATUS.encode(),
        "command line": b"qemu-system-x86_64\0-name\0guest=web,,1,process=x\0-incoming\0defer\0",
        "uprobe_events": b"p:uprobes/p_x /usr/bin/qemu with space:0x00000000003b1 \nr:g/e /x:0x1\n",
        "unix": b"Num RefCount Protocol Flags Type St Inode Path\n"
        b"0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/vm/qmp.sock\n",
    }  # fmt: skip


@cache
def _host_texts() -> dict[str, bytes]:
    config = b"CONFIG_BPF_SYSCALL=y\nCONFIG_UPROBES=y\n# CONFIG_X is not set\n"
    return {"config": config, "config.gz": gzip.compress(config, mtime=0), "status": STATUS.encode(), "sysctl": b"2\n",
            "lockdown": b"none [integrity] confidentiality\n", "release": b"6.12.9-amd64"}  # fmt: skip


@cache
def _captures() -> dict[str, bytes]:
    lines = (DATA / "seed_results.jsonl").read_bytes().splitlines(keepends=True)
    raw = str(json.loads(lines[0])["raw"]).encode()
    return {"lines": b"".join(lines[:3]), "one line": lines[0], "a session": b"(QEMU) info\r\n" + raw + b"\r\n" + raw}


@cache
def _requests() -> dict[str, bytes]:
    plain = b'{"execute": "x", "arguments": {"enable": ["oob"]}}\n{"exec-oob": "x", "id": [1, {"a": null}]}'
    return {"plain": plain, "escapes": b'{"a": "\\u00e9\\ud83d\\ude00 \\" }"}{"b": 1e9}', "stray": b"]} xyz {"}


@cache
def _plans() -> dict[str, bytes]:
    plan = plan_of(build(Recipe(seed=3)).data)
    return {"plan": json.dumps(to_plain(plan)).encode()}


PARSERS: dict[str, Parser] = {
    "elf": Parser(elffuzz.seeds, elffuzz.survives, elffuzz.hurt, True),
    "debug-file": Parser(lambda: {"debug file": elffuzz.debug_seed()[1]}, elffuzz.survives_debug, elffuzz.hurt, True),
    "dwarf": Parser(elffuzz.dwarf_seeds, elffuzz.survives, _hurt_dwarf, True, elffuzz.survives_dwarf),
    "proc": Parser(_texts, bounded(_read_process), hurt_text),
    "host": Parser(_host_texts, bounded(_read_host), hurt_text),
    "capture": Parser(_captures, bounded(_read_capture), hurt_text),
    "qmp-request": Parser(_requests, bounded(_read_request), hurt_text),
    "qmp-reply": Parser(lambda: REPLIES, bounded(ask_hostile), hurt_text),
    "plan": Parser(_plans, bounded(_read_plan), hurt_text),
}
