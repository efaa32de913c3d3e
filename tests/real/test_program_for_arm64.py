"""The kernel program, compiled by bcc for arm64: it takes arguments from that machine's registers. It is not loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

BPF = Path(__file__).resolve().parents[2] / "bpf"
CODE = """
import os, sys
from bcc import BPF
bpf = BPF(src_file=os.fsencode(sys.argv[1]), cflags=["-I" + sys.argv[2], "-DRING_PAGES=16", "-DMAX_TARGETS=4"])
code = bpf.dump_func(b"on_boundary")
print(*(int.from_bytes(code[at + 2 : at + 4], "little") for at in range(0, len(code), 8) if code[at] == 0x79))
"""
"""Prints the offsets of its 64-bit loads (BPF_LDX | BPF_MEM | BPF_DW), those from pt_regs among them."""
X86_THIRD, ARM64_THIRD = 12 * 8, 2 * 8
"""rdx in x86-64's struct pt_regs, regs[2] in arm64's."""


def loads(arch: str) -> Counter[int]:
    """How often it loads from each offset; libbcc takes ARCH for the machine to compile for."""
    environment = os.environ | {"ARCH": arch, "BCC_KERNEL_SOURCE": str(BPF / "headers")}
    command = [sys.executable, "-c", CODE, str(BPF / "colo_phases.bpf.c"), str(BPF)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return Counter(map(int, run.stdout.split()))


def test_where_the_third_argument_is_read() -> None:
    """What the two programs read is the same but for the arguments' places."""
    x86, arm64 = loads("x86"), loads("arm64")
    assert (x86 - arm64)[X86_THIRD] == (arm64 - x86)[ARM64_THIRD] >= 1
    assert (x86 - arm64).keys() & {0, 8, ARM64_THIRD} == set() == (arm64 - x86).keys() & {X86_THIRD, 13 * 8, 14 * 8}
