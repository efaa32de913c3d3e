"""Builds the guest's firmware (firmware.S) with binutils, once for each range; the image is cached by content."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from .errors import MachineError

SOURCE = Path(__file__).with_name("firmware.S")
IMAGE_BYTES = 64 * 1024
RANGE_BEGIN_MIB = 1
"""The guest writes from here upwards: the first MiB holds a PC's ROMs and holes."""
SWEEP_WORD_ADDRESS = RANGE_BEGIN_MIB << 20
"""Guest physical address of the 32-bit number of the sweep under way: the first word of the range."""
FAULT_WORD_ADDRESS = 0x7000
"""Where a guest that checks itself leaves the address of the first page that was not as it had written it; else 0."""
END_WORD_ADDRESS = 0x7004
"""Where an adjustable guest finds the end of its range."""
PATTERN_MASK = 0x5A5A5A5A
LINK_ADDRESS = 0x1_0000_0000 - IMAGE_BYTES


def build(dirty_mib: int, self_check: bool = False, adjustable: bool = False) -> Path:
    """The path of the image whose guest overwrites `dirty_mib` MiB for ever, and with `self_check` looks each time
    whether what it wrote is still there; if `adjustable`, the range's end is the word at END_WORD_ADDRESS. Raises
    MachineError if it cannot be built."""
    symbols = {
        "RANGE_BEGIN": SWEEP_WORD_ADDRESS,
        "RANGE_BYTES": dirty_mib << 20,
        "SELF_CHECK": int(self_check),
        "ADJUSTABLE": int(adjustable),
    }
    key = hashlib.sha256(SOURCE.read_bytes() + repr((symbols, LINK_ADDRESS)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("COLOTRACE_CACHE") or Path.home() / ".cache" / "colotrace")
    image = cache / f"firmware-{key}.bin"
    if not image.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="firmware-") as scratch:
            built = _assemble(symbols, Path(scratch))
            os.replace(built, image)  # two labs may build at once: each sees a whole image or none
    return image


def _assemble(symbols: dict[str, int], scratch: Path) -> Path:
    defined = [word for name, value in symbols.items() for word in ("--defsym", f"{name}={value:#x}")]
    objects, linked, image = scratch / "firmware.o", scratch / "firmware.elf", scratch / "firmware.bin"
    _run(["as", "--32", *defined, "-o", str(objects), str(SOURCE)])
    _run(["ld", "-m", "elf_i386", "-Ttext", f"{LINK_ADDRESS:#x}", "-e", "_start", "-o", str(linked), str(objects)])
    _run(["objcopy", "-O", "binary", "-j", ".text", str(linked), str(image)])
    size = image.stat().st_size
    if size != IMAGE_BYTES:
        raise MachineError(f"the firmware came out {size} bytes long, not {IMAGE_BYTES}", "see scripts/colo_lab")
    return image


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise MachineError(
            f"{command[0]} is missing: the guest's firmware cannot be built", "install binutils"
        ) from None
    if done.returncode != 0:
        raise MachineError(f"building the firmware failed: {' '.join(command)}\n{done.stderr.rstrip()}")
