"""What the bridge adds to query-commands and query-qmp-schema (qapi/introspect.json in QEMU). Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

INFO_CHECKPOINT = "info_checkpoint"
RESET_CHECKPOINT = "reset_checkpoint"
COMMANDS = (INFO_CHECKPOINT, RESET_CHECKPOINT)
QEMU_GONE = "__COLOTRACE_QEMU_GONE"
"""The event that clients get when QEMU has gone; downstream extensions begin so (docs/interop/qmp-spec)."""
MISSING = "x-missing"
"""The member of info_checkpoint's answer that gives the reason for each null, by the other's name."""
ALWAYS_KNOWN = ("tot_time", "tot_num")
NULLABLE = (
    "init_time", "wait_time", "avg_time", "stat_time", "dev_time", "ram_time", "put_time", "recv_time", "load_time",
    "resume_time", "dev_size", "ram_size",
)  # fmt: skip

Entity = dict[str, Any]
"""A SchemaInfo, or a CommandInfo."""


def is_patched(commands: object) -> bool:
    """Whether query-commands' answer has info_checkpoint, and QEMU so the patch."""
    listed = commands if isinstance(commands, list) else []
    return any(isinstance(one, dict) and one.get("name") == INFO_CHECKPOINT for one in listed)


def with_commands(commands: Sequence[Entity]) -> list[Entity]:
    """query-commands' answer with ours in it, once."""
    return [*(one for one in commands if one["name"] not in COMMANDS), *({"name": name} for name in COMMANDS)]


def with_schema(schema: Sequence[Entity]) -> list[Entity]:
    """query-qmp-schema's answer with our commands, our event and their types in it.

    QEMU's own types are used where they are there. QEMU numbers its types and names only built-in ones, so that a
    clash with ours is unlikely; should a name be in use, another one is taken.
    """
    kept = [one for one in schema if not (one["meta-type"] == "command" and one["name"] in COMMANDS)]
    return [*kept, *_Additions(kept).made]


class _Additions:
    """Our entities for one schema."""

    def __init__(self, schema: Sequence[Entity]) -> None:
        self._by_name = {one["name"]: one for one in schema}
        self.made: list[Entity] = []
        number = self._builtin("int", "int")
        text = self._builtin("str", "string")
        nullable = self._make(
            "alternate", "int-or-null", members=[{"type": number}, {"type": self._builtin("null", "null")}]
        )
        empty = self._empty_object()
        reasons = self._make(
            "object", "missing", members=[{"name": name, "type": text, "default": None} for name in NULLABLE]
        )
        members: list[Entity] = [
            *({"name": name, "type": number} for name in ALWAYS_KNOWN),
            *({"name": name, "type": nullable} for name in NULLABLE),
            {"name": MISSING, "type": reasons, "default": None},
        ]
        migration = self._by_name.get("query-migrate")
        if migration:
            members.append({"name": "info", "type": migration["ret-type"], "default": None})
        recorder = self._make("object", "checkpoint-recorder", members=members)
        gone = self._make("object", "qemu-gone", members=[{"name": "desc", "type": text}])
        self._add("command", INFO_CHECKPOINT, **{"arg-type": empty, "ret-type": recorder})
        self._add("command", RESET_CHECKPOINT, **{"arg-type": empty, "ret-type": empty})
        self._add("event", QEMU_GONE, **{"arg-type": gone})

    def _add(self, meta_type: str, name: str, **members: object) -> str:
        entity = {"name": name, "meta-type": meta_type, **members}
        self._by_name[name] = entity
        self.made.append(entity)
        return name

    def _make(self, meta_type: str, stem: str, **members: object) -> str:
        """Adds a type under a name that nothing else has."""
        names = itertools.chain([f"x-colotrace-{stem}"], (f"x-colotrace-{stem}-{n}" for n in itertools.count(2)))
        return self._add(meta_type, next(name for name in names if name not in self._by_name), **members)

    def _builtin(self, name: str, json_type: str) -> str:
        """A built-in type; QEMU lists only those that its commands use."""
        if name in self._by_name:
            return name
        return self._add("builtin", name, **{"json-type": json_type})

    def _empty_object(self) -> str:
        """The type of no arguments and of no return value: that of `stop`, which has neither."""
        stop = self._by_name.get("stop", {})
        named = self._by_name.get(stop.get("arg-type", ""), {})
        if named.get("members") == []:
            return str(named["name"])
        return self._make("object", "empty", members=[])
