"""Text from outside (names of VMs and files, command lines) on its way to a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters: it can neither steer a terminal nor pretend to be further lines.

    What is not printable is shown as in a Python literal: also those that turn the direction of writing, and blanks
    that only look like one.
    """
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
