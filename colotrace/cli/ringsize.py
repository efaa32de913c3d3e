"""--ring-size: how much may lie between the kernel program and this process."""

from __future__ import annotations

import re

import click

from colotrace.kernel.program import DEFAULT_RING_BYTES, RECORD_ROOM

SMALLEST, LARGEST = 256 << 10, 64 << 20
_UNITS = {"": 0, "k": 10, "m": 20}


def ring_bytes(text: str) -> int:
    """The size in bytes that a text such as 4M or 262144 means. Raises ValueError with what is wrong about it."""
    found = re.fullmatch(r"([0-9]{1,12})([km]?)", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is no size; give a number of bytes, or of K or M, such as 4M")
    size = int(found[1]) << _UNITS[found[2].lower()]
    if not SMALLEST <= size <= LARGEST or size & (size - 1):
        raise ValueError(f"{text!r} is not a power of two from 256K to 64M")
    return size


def _convert(_context: click.Context, _option: click.Parameter, text: str) -> int:
    try:
        return ring_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


RING_SIZE = click.option(
    "--ring-size", callback=_convert, default=f"{DEFAULT_RING_BYTES >> 20}M", show_default=True, metavar="SIZE",
    help=f"The buffer in which the kernel keeps records, {RECORD_ROOM} bytes a checkpoint, until this process takes "
    "them: a power of two from 256K to 64M. All of it is taken from the kernel's memory at the start, and half a MiB "
    "for everything else. A record for which there is no room is counted as lost, and is in all totals.",
)  # fmt: skip
