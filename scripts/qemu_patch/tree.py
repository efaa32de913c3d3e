"""Patches an unpacked QEMU source tree."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import hooks, insertion, qapi
from .errors import MismatchError

HERE = Path(__file__).parent
RECORDER = ("checkpoint_recorder.c", "checkpoint_recorder.h")
SCHEMA_ADDITION = "checkpoint_recorder.json"
VARIANT_HEADER = "migration/checkpoint_recorder_variant.h"


def patch(tree: Path) -> None:
    """Puts the accounting into a pristine tree. MismatchError if the tree is not as expected: then nothing is written.

    The variant's header, VARIANT_HEADER, is not there yet.
    """
    every_hook = hooks.PRIMARY + hooks.SECONDARY
    addition = (HERE / SCHEMA_ADDITION).read_text()
    changed = {
        name: change(name, _read(tree, name))
        for name, change in {
            "migration/colo.c": lambda name, text: insertion.insert(name, text, every_hook, hooks.HEADER),
            "migration/meson.build": lambda name, text: qapi.with_file(name, text, RECORDER[0]),
            "qapi/migration.json": lambda name, text: qapi.with_schema(name, text, addition),
            "qapi/pragma.json": qapi.with_exceptions,
        }.items()
    }
    for name, text in changed.items():
        (tree / name).write_text(text)
    for name in RECORDER:
        shutil.copy(HERE / name, tree / "migration" / name)


def _read(tree: Path, name: str) -> str:
    try:
        return (tree / name).read_text()
    except FileNotFoundError:
        raise MismatchError(f"{name} was looked for in the QEMU source: it is not there") from None
