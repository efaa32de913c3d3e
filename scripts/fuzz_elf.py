"""A fuzzer for as long as it is given; see scripts/fuzz_elf. tests/unit/elffuzz.py says what is hurt, and must hold."""

from __future__ import annotations

import argparse
import functools
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.unit import elffuzz

REPORT_S = 60.0
_LARGE = 1 << 20
_LARGE_SHARE = 10
"""One in so many rounds is for the large files, which take a thousand times longer."""


def main() -> int:
    """Fuzzes; prints what came out; 1 if anything did not survive."""
    parser = argparse.ArgumentParser(description="Feeds damaged ELF files to the resolver.")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="the first round's number; default: any")
    parser.add_argument("--binary", action="append", default=[], help="a file to damage besides the synthetic ones")
    arguments = parser.parse_args()
    small: dict[str, Callable[[bytes], object]] = dict.fromkeys(elffuzz.seeds(), elffuzz.survives)
    data = {**elffuzz.seeds(), "debug file": elffuzz.debug_seed()[1]}
    small["debug file"] = elffuzz.survives_debug
    for name, seed in elffuzz.dwarf_seeds().items():
        data[name], small[name] = seed, functools.partial(elffuzz.survives_dwarf, name)
    large = {path: Path(path).read_bytes() for path in arguments.binary}
    number = first = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    began = told = time.monotonic()
    answers: Counter[str] = Counter()
    failures = 0
    while time.monotonic() - began < arguments.seconds:
        dice = random.Random(number)
        if large and number % _LARGE_SHARE == 0:
            name, survives = dice.choice(sorted(large)), elffuzz.survives
            hurt = elffuzz.hurt(large[name], dice)
        else:
            name = dice.choice(sorted(small))
            survives, hurt = small[name], elffuzz.hurt(data[name], dice, ".debug_" if name.startswith("dwarf") else "")
        try:
            answers[type(survives(hurt)).__name__] += 1
        except BaseException as error:  # a MemoryError and a deadline count, too
            if isinstance(error, KeyboardInterrupt):
                break
            failures += 1
            kept = Path(os.environ.get("COLOTRACE_CACHE", "~/.cache/colotrace")).expanduser() / "fuzz" / f"{number}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(hurt)
            print(f"round {number}, {name}: kept as {kept}\n{traceback.format_exc()}", flush=True)
        number += 1
        if time.monotonic() - told > REPORT_S:
            told = time.monotonic()
            print(f"{number - first} rounds in {told - began:.0f} s, {failures} failures: {dict(answers)}", flush=True)
    print(f"{number - first} rounds from {first} on, {failures} failures: {dict(answers)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
