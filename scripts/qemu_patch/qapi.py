"""The two commands in QEMU's QAPI schema and our C file in its build: text files that are not C."""

from __future__ import annotations

import re

from .errors import MismatchError

TYPE = "CheckpointRecorder"
COMMANDS = ("info_checkpoint", "reset_checkpoint")
EXCEPTIONS = {"command-name-exceptions": COMMANDS, "member-name-exceptions": (TYPE,)}
"""The lists in qapi/pragma.json that permit underscores, and what they have to permit."""
BUILD_LIST = "softmmu_ss"


def with_schema(name: str, text: str, addition: str) -> str:
    """The schema with `addition` at its end. MismatchError if it defines one of our names already, or not what we use.

    `name` is the file's, for messages, here and below.
    """
    for ours in (TYPE, *COMMANDS):
        if re.search(rf"'(?:struct|command)'\s*:\s*'{ours}'", text):
            raise MismatchError(f"{name}: {ours} is defined already: the source is patched")
    if not re.search(r"'struct'\s*:\s*'MigrationInfo'", text):
        raise MismatchError(f"{name}: the struct MigrationInfo was looked for: there is none")
    return text + addition


def with_exceptions(name: str, text: str) -> str:
    """The pragmas with our names in both lists of EXCEPTIONS. MismatchError if a list is not there exactly once."""
    for pragma, ours in EXCEPTIONS.items():
        found = list(re.finditer(rf"(?m)^[^#\n]*'{pragma}'\s*:\s*\[", text))
        if len(found) != 1:
            raise MismatchError(f"{name}: the list {pragma} was looked for: found {len(found)}, expected 1")
        end = found[0].end()
        entries = "".join(f"\n        '{one}'," for one in ours)
        text = text[:end] + entries + text[end:]
    return text


def with_file(name: str, text: str, file: str) -> str:
    """The meson.build with a C file of ours in QEMU's system emulators. MismatchError if colo.c is not among theirs."""
    found = re.findall(rf"(?m)^{BUILD_LIST}\.add\(files\(([^)]*)\)", text)
    if sum("'colo.c'" in files for files in found) != 1:
        raise MismatchError(f"{name}: colo.c was looked for among the files of {BUILD_LIST}: it is not there once")
    return f"{text.rstrip()}\n\n{BUILD_LIST}.add(files('{file}'))\n"
