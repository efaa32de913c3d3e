"""Names that were made out from evidence, each for one function only, and the reasons for those that were not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from colotrace.binary.symbols import Symbol

SOURCE = "evidence in the code"


@dataclass
class Findings:
    """What has been made out, and why what has not could not be."""

    symbols: list[Symbol] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    of_colo: frozenset[int] = frozenset()
    """The functions, and pieces of them, that use colo.c's path or one of its texts."""

    def take(self, name: str, addresses: set[int], because: str, *, is_function: bool = True) -> int | None:
        """Keeps a name if there is one function for it; answers its address."""
        if len(addresses) == 1:
            (address,) = addresses
            self.symbols.append(Symbol(name, address, 0, is_function, SOURCE, because))
            return address
        self.reasons.append(
            f"{name}: {len(addresses) or 'no'} function{'s' * (len(addresses) > 1)} of which: {because}"
        )
        return None

    def confirm(self, name: str, addresses: set[int], because: str) -> None:
        """Keeps a name that may be known already; where the function is another one, neither is kept."""
        known = next((symbol for symbol in self.symbols if symbol.name == name), None)
        if known is None:
            self.take(name, addresses, because)
        elif addresses == {known.address}:
            self.symbols[self.symbols.index(known)] = replace(known, evidence=f"{known.evidence}; {because}")
        else:
            self.symbols.remove(known)
            self.reasons.append(f"{name}: one function of which: {known.evidence}; and another one: {because}")
