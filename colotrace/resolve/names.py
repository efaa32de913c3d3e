"""The names of a binary's functions: every source that it has, tried in the order of how much they tell."""

from __future__ import annotations

import os

from colotrace.binary import debugfiles
from colotrace.binary.image import Image
from colotrace.binary.symbols import Symbols
from colotrace.binary.tables import SymbolTable
from colotrace.errors import BinaryError
from colotrace.resolve.messages import Messenger
from colotrace.resolve.nameless import identify
from colotrace.resolve.nameoptions import ONLY_THIS_HOST, NameOptions
from colotrace.resolve.plan import KnownName, Unresolved
from colotrace.resolve.skeleton import COLO_TEXT, SKELETONS


def find_names(image: Image, options: NameOptions = ONLY_THIS_HOST) -> Symbols:
    """All the names that an image's own tables, its MiniDebugInfo and its separate debug file give; or else its code.

    A file that is found and is not the image's is left out, and Symbols.notes has the reason. Raises BinaryError if
    that is true of the file that `options` name, and ColotraceError if one is to be fetched and cannot be.
    """
    more: list[SymbolTable] = []
    notes: list[str] = []
    whole = image.section(".symtab") is not None
    debug_file = options.debug_file
    if debug_file is not None:
        more += debugfiles.tables_of_file(image, debug_file)
        whole = True
    if not whole:
        debug_file, found = _found(image, options.debug_root, notes)
        more += found
    if not whole and not more and options.fetch is not None and image.build_id is not None:
        debug_file = options.fetch(image.build_id)
        more += debugfiles.tables_of_file(image, debug_file)
    try:
        more += debugfiles.tables_inside(image)
    except BinaryError as error:
        notes.append(error.message)
    symbols = Symbols(image, more)
    symbols.notes += notes
    symbols.debug_file = debug_file
    if not any(symbols.find(skeleton.root) for skeleton in SKELETONS) and image.has_text(COLO_TEXT):
        findings = identify(image, symbols)
        symbols.add(symbol for symbol in findings.symbols if not symbols.find(symbol.name))
        symbols.of_colo = findings.of_colo
        symbols.notes += findings.reasons
    return symbols


def _found(image: Image, root: str, notes: list[str]) -> tuple[str | None, list[SymbolTable]]:
    """The first separate debug file on this host that is the image's, and its tables."""
    for path, link in debugfiles.candidates(image, root):
        if os.path.exists(path):
            try:
                return path, debugfiles.tables_of_file(image, path, link)
            except (BinaryError, OSError) as error:
                notes.append(error.message if isinstance(error, BinaryError) else f"cannot read {path}: {error}")
    return None, []


def provenance(symbols: Symbols) -> tuple[KnownName, ...]:
    """The functions of the skeletons that are known by name, each with its source, by address."""
    wanted = {skeleton.root for skeleton in SKELETONS}
    wanted = wanted.union(*(skeleton.names() for skeleton in SKELETONS))
    wanted |= {messenger.value for messenger in Messenger}
    found = [symbol for symbol in map(symbols.one, sorted(wanted)) if symbol is not None]
    return tuple(
        sorted((KnownName(s.name, s.address, s.source, s.evidence) for s in found), key=lambda known: known.address)
    )


def quarrels(symbols: Symbols) -> list[Unresolved]:
    """What the sources of names disagree on, and the sources that were left out."""
    return [Unresolved(None, f"name {name}", why) for name, why in symbols.conflicts.items()] + [
        Unresolved(None, "names", note) for note in symbols.notes
    ]
