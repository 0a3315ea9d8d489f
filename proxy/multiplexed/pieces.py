"""Parts of the buffers that frames are read from, as outboxes take them: the twin in Python of pieces.pyx."""

from __future__ import annotations


class Pieces:
    """Without a state: a class, for that is what compiled code calls without a lookup."""

    __slots__ = ()

    def rest(self, buffer: bytearray, at: int) -> bytearray:
        """What is there from `at` on."""
        return buffer[at:]

    def joined(self, out: bytes | bytearray, buffer: bytearray, begun: int, end: int) -> bytes | bytearray:
        """An outbox with a part of a buffer behind it. The buffer is given away, for all of it may be the outbox."""
        piece = buffer if begun == 0 and end == len(buffer) else buffer[begun:end]
        if not out:
            return piece
        if isinstance(out, bytes):
            return bytearray(out) + piece
        out += piece
        return out
