"""Where a binary's texts are, and which of them a function refers to."""

from __future__ import annotations

from colotrace.binary.code import Code, Function
from colotrace.resolve.values import values_of


class Texts:
    """Looks texts up in the read-only data; each once."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._at: dict[bytes, frozenset[int]] = {}
        self._referenced: dict[int, frozenset[bytes]] = {}

    def has(self, text: bytes) -> bool:
        """Whether the binary holds a text, to its end."""
        return bool(self._addresses(text))

    def referenced(self, function: Function) -> frozenset[bytes]:
        """Those of the texts asked for so far that a function takes the address of."""
        known = self._referenced.get(function.entry)
        if known is None:
            addresses = {address: text for text, places in self._at.items() for address in places}
            known = frozenset(addresses[a] for a in values_of(self._code, function).addresses() if a in addresses)
            self._referenced[function.entry] = known
        return known

    def _addresses(self, text: bytes) -> frozenset[int]:
        if text not in self._at:
            found = set()
            image = self._code.image
            for section in image.sections:
                if not section.name.startswith(".rodata") or section.kind == "SHT_NOBITS":
                    continue
                data = image.contents(section)
                at = data.find(text + b"\0")
                while at >= 0:
                    found.add(section.address + at)
                    at = data.find(text + b"\0", at + 1)
            self._at[text] = frozenset(found)
            self._referenced.clear()
        return self._at[text]
