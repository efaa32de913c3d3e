"""A fuzzer for as long as it is given; see scripts/fuzz. tests/unit/fuzzing.py says what is hurt, and must hold."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from tests.unit.fuzzing import Parser

REPORT_S = 60.0
LARGE_SHARE = 10
"""One in so many rounds is for the files given, which take a thousand times longer than the synthetic ones."""
KEPT = Path(os.environ.get("COLOTRACE_CACHE", "~/.cache/colotrace")).expanduser() / "fuzz"


def main() -> int:
    """Fuzzes; prints what came out; not 0 if anything did not survive."""
    parser = argparse.ArgumentParser(description="Feeds damaged data to one of colotrace's parsers.")
    parser.add_argument("parser", help="a name in tests/unit/fuzzing.py")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="damage at random, from this round on, and not guided by coverage")
    parser.add_argument("--binary", action="append", default=[], help="a file to damage besides the synthetic ones")
    arguments = parser.parse_args()
    os.umask(0o077)
    is_guided = importlib.util.find_spec("atheris") is not None and arguments.seed is None and not arguments.binary
    if is_guided:
        import atheris

        loading: contextlib.AbstractContextManager[object] = atheris.instrument_imports(include=["colotrace"])
    else:
        loading = contextlib.nullcontext()
    with loading:  # nothing of colotrace may have been imported before
        from tests.unit.fuzzing import PARSERS
    if arguments.parser not in PARSERS:
        parser.error(f"PARSER is one of {', '.join(PARSERS)}")
    chosen, folder = PARSERS[arguments.parser], KEPT / arguments.parser
    folder.mkdir(parents=True, exist_ok=True)
    if is_guided:
        return guided(chosen, arguments.seconds, folder)
    return at_random(chosen, arguments.seconds, folder, arguments.seed, arguments.binary)


def guided(parser: Parser, seconds: float, folder: Path) -> int:
    """libFuzzer, by atheris: it exits by itself, and says how many executions there were."""
    import atheris

    seeds = list(parser.seeds().values())
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for data in seeds:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        dice = random.Random(number)
        if dice.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return parser.hurt(dice.choice(seeds) if parser.hurts_seeds_only else data, dice)[:most]

    most = 2 * max(map(len, seeds))
    options = [f"-max_total_time={seconds:.0f}", f"-max_len={most}", "-timeout=60", "-rss_limit_mb=0", "-verbosity=0"]
    options += ["-print_final_stats=1", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], parser.survives, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def at_random(parser: Parser, seconds: float, folder: Path, seed: int | None, binaries: list[str]) -> int:
    """Damages the seeds, each round by its number, so that a round can be had again."""
    small, large = dict(parser.seeds()), {path: Path(path).read_bytes() for path in binaries}
    number = first = random.randrange(1 << 32) if seed is None else seed
    began = told = time.monotonic()
    answers: Counter[str] = Counter()
    failures = 0
    while time.monotonic() - began < seconds:
        dice = random.Random(number)
        data = large if large and number % LARGE_SHARE == 0 else small
        name = dice.choice(sorted(data))
        hurt = parser.hurt(data[name], dice)
        try:
            answer = parser.holds(name, hurt) if parser.holds and data is small else parser.survives(hurt)
            answers[type(answer).__name__] += 1
        except BaseException as error:  # a MemoryError and a deadline count, too
            if isinstance(error, KeyboardInterrupt):
                break
            failures += 1
            kept = folder / str(number)
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
