"""Names as the source has them: compilers append to the names of clones."""

from __future__ import annotations

import re
from collections.abc import Iterable

from colotrace.binary.code import Instruction

_CLONE = re.compile(r"(\.(isra|constprop|lto_priv|llvm)\.\d+)+$")
"""What marks a copy of a whole function. `.part.0` and `.cold` are pieces, and no copies: they keep their names."""


def plain(names: Iterable[str]) -> frozenset[str]:
    """Names without what compilers append to the names of copies."""
    return frozenset(_CLONE.sub("", name) for name in names)


def calls_any(call: Instruction, names: Iterable[str]) -> bool:
    """Whether a call leads to a function of one of these names, or to a copy of it."""
    return bool(call.names) and not plain(call.names).isdisjoint(names)
