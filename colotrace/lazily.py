"""A package whose names are imported when they are asked for: importing it costs nothing that is not used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def importer(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are in the modules `homes`, by name."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get
