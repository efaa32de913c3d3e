"""Text from outside (names of VMs and files, command lines) on its way to a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters: it can neither steer a terminal nor pretend to be further lines."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
