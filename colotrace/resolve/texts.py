"""Where a binary's texts are, and which of them a function refers to."""

from __future__ import annotations

from capstone import x86_const

from colotrace.binary.code import Code, Function


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
            known = frozenset(addresses[a] for a in addresses_in(self._code, function) if a in addresses)
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


def addresses_in(code: Code, function: Function) -> set[int]:
    """The addresses in a function's operands: relative to rip, or absolute where the program is not relocated."""
    taken = set()
    for instruction in function.instructions.values():
        raw = code.raw(instruction.address)
        for operand in raw.operands if raw is not None else ():
            if operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
                taken.add(instruction.end + operand.mem.disp)
            elif operand.type == x86_const.X86_OP_MEM and not operand.mem.base and not operand.mem.index:
                taken.add(operand.mem.disp)
            elif operand.type == x86_const.X86_OP_IMM:
                taken.add(operand.imm)
    return taken
