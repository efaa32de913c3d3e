"""Runs external commands: quietly, with everything they print in a log whose end is quoted if they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .errors import PatchError

TAIL_LINES = 30
PLAIN = {"LC_ALL": "C.UTF-8"}


def say(line: str) -> None:
    """A progress line. On stderr: stdout has the paths of the binaries."""
    sys.stderr.write(f"patched_qemu: {line}\n")
    sys.stderr.flush()


def run(
    words: Sequence[str],
    log: Path,
    failure: type[PatchError],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    remedy: str = "",
    watch: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs to the end; what is printed is appended to `log`, and `watch` gets each line.

    Raises `failure`, with the log's tail, if the command does not succeed.
    """
    with log.open("a", encoding="utf-8", errors="replace") as out:
        start = out.tell()
        out.write(f"$ {' '.join(words)}\n")
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=cwd,
                env={**os.environ, **PLAIN, **(environment or {})},
            )
        except FileNotFoundError:
            raise failure(f"{words[0]} is missing", remedy) from None
        with process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    out.write(line)
                    watch(line)
            except BaseException:
                process.terminate()
                raise
    if process.returncode != 0:
        raise failure(f"failed with exit code {process.returncode}: {' '.join(words)}\n{tail(log, start)}", remedy)


def answer(words: Sequence[str], failure: type[PatchError], *, remedy: str = "") -> str:
    """What a command prints. Raises `failure` with its standard error if it does not succeed."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **PLAIN},
            check=False,
        )
    except FileNotFoundError:
        raise failure(f"{words[0]} is missing", remedy) from None
    if done.returncode != 0:
        raise failure(f"failed: {' '.join(words)}\n{done.stderr.rstrip()}", remedy)
    return done.stdout


def tail(log: Path, start: int = 0) -> str:
    """The last lines of a log from an offset in bytes on, indented, and where to find the rest."""
    lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    return "".join(f"  {line}\n" for line in lines[-TAIL_LINES:]) + f"the whole log: {log}"
