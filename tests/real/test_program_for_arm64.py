"""The kernel program, compiled by bcc for arm64: it takes arguments from that machine's registers. It is not loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BPF = Path(__file__).resolve().parents[2] / "bpf"
CODE = """
import os, sys
from bcc import BPF
bpf = BPF(src_file=os.fsencode(sys.argv[1]), cflags=["-I" + sys.argv[2], "-DRING_PAGES=16", "-DMAX_TARGETS=4"])
code = bpf.dump_func(b"on_boundary")
print(*sorted({int.from_bytes(code[at + 2 : at + 4], "little") for at in range(0, len(code), 8) if code[at] == 0x79
               and code[at + 1] >> 4 == 1}))
"""
"""Prints the offsets of its 64-bit loads (BPF_LDX | BPF_MEM | BPF_DW) from r1, where a program begins with pt_regs."""


@pytest.mark.parametrize(("arch", "third_argument"), [("x86", 12 * 8), ("arm64", 2 * 8)])
def test_where_the_third_argument_is_read(arch: str, third_argument: int) -> None:
    """rdx in x86-64's struct pt_regs, regs[2] in arm64's; libbcc takes ARCH for the machine to compile for."""
    environment = os.environ | {"ARCH": arch, "BCC_KERNEL_SOURCE": str(BPF / "headers")}
    command = [sys.executable, "-c", CODE, str(BPF / "colo_phases.bpf.c"), str(BPF)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    offsets = set(map(int, run.stdout.split()))
    assert third_argument in offsets and not {12 * 8, 2 * 8} - {third_argument} & offsets
