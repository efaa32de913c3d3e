"""Where functions begin and end, without names: the unwinder's own index, .eh_frame_hdr, has them all."""

from __future__ import annotations

import bisect
import struct

from colotrace.binary.image import Image

_DATAREL_SDATA4 = 0x3B
_UDATA4 = 0x03
_ENTRY = struct.Struct("<ii")


class FunctionBounds:
    """The sorted starts of all functions and function pieces that have unwind information."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._starts: list[int] = []
        self._fdes: list[int] = []
        base, data = image.unwind_index() or (0, b"")
        # version 1, any eh_frame_ptr of 4 bytes, count as udata4, table as pairs of datarel sdata4: what ld, lld and
        # mold write. Anything else is left alone.
        if len(data) < 12 or data[0] != 1 or data[2] != _UDATA4 or data[3] != _DATAREL_SDATA4:
            return
        count = min(struct.unpack_from("<I", data, 8)[0], (len(data) - 12) // _ENTRY.size)
        for start, fde in _ENTRY.iter_unpack(data[12 : 12 + count * _ENTRY.size]):
            self._starts.append(base + start)
            self._fdes.append(base + fde)

    def __len__(self) -> int:
        return len(self._starts)

    def is_start(self, address: int) -> bool:
        """Whether a function, or a piece of one, begins at the address."""
        at = bisect.bisect_left(self._starts, address)
        return at < len(self._starts) and self._starts[at] == address

    def containing(self, address: int) -> tuple[int, int] | None:
        """The start and the end of the function (piece) around an address; None if the index has none."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        header = self._image.read(self._fdes[at], 16)  # length, CIE pointer, pc_begin (pcrel sdata4), pc_range
        if len(header) < 16:
            return None
        start, end = self._starts[at], self._starts[at] + struct.unpack_from("<I", header, 12)[0]
        return (start, end) if start <= address < end else None
