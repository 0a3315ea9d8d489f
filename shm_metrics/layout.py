"""The bytes of a segment, format 1. Numbers are in the byte order of the machine, which alone can map it.

    0     header       4096 bytes
    4096  slots        SLOT bytes each, one a process
    ...   blocks       from the next multiple of 4096; equal in size; appended, never moved nor taken away

Header::

    0   8  magic "SHMETRIC"           24  4  bytes of definitions in a block, a multiple of 4096
    8   4  format                     28  4  CRC-32 of bytes 0 to 27 and 32 to 47
    12  4  0x01020304                 32  8  made when, nanoseconds since the epoch
    16  4  number of slots            40  8  random
    20  4  cells in a block, a        48     nothing
           multiple of 512

    64  8  blocks    how many there are
    72  8  folds     how many there were; odd: the second base of each block counts, else the first
    80  8  reign     lower half: the claim of the process for which gauges count, 0: for all; upper half: how many
                     reigns there were. Written by a single store, so that no reader sees both of two, or neither
    88  8  claims    how many slots were ever given out

Slot::

    0   8  claim     0: free; else which of all claims this is
    8   8  folding   the number of the fold that takes (or took) it in; 0: none does
    16  8  reign     in which its gauges count as well
    24  8  pid       as its own namespace has it: for people only
    32  8  number    what the process calls itself, a generation; 0: nothing
    40  8 doubles    started (seconds since the epoch), CPU seconds, resident bytes, open descriptors, their limit
    80     nothing, up to SLOT

Block::

    definitions     8 bytes used, 8 nothing, then records (from 16); members take cells in the order of their records
    base, base      cells of what the dead have counted, twice: one counts, the other is made by the next fold
    cells           for each slot; a double each

Record of a definition, padded to a multiple of 8::

    0   4  length of the text         16  8  shown: 1, hidden: 0
    4   4  CRC-32 of the text,        24     text: MessagePack; a shape (`shm_metrics.shape.Shape`), or the number of
           then of bytes 8 to 15             a shape and the values of its labels
    8   4  first cell in this block
    12  4  1: a shape, 2: a member

Shapes are numbered in the order of their records. A record counts once `used` covers it, and a block once `blocks`
does. Words from 64 on, those of slots, `used`, `shown` and cells are written by single stores of 8 aligned bytes, which
nobody sees half done. Everything but cells, the reigns and what a process says of itself is written under the lock.

Locks are open file description locks (fcntl_locking(2)) on bytes of the file: 0 for the segment, 64 + n for the life of
the process in slot n. The kernel lets go of them when the process is dead and can write no more.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from shm_metrics.errors import SegmentCorrupt, SegmentForeign, SegmentNewer, SegmentTruncated

MAGIC: Final = b"SHMETRIC"
FORMAT: Final = 1
ORDER: Final = 0x01020304
PAGE: Final = 4096
SLOT: Final = 128
MOST_BLOCKS: Final = 1024
MOST_SLOTS: Final = 4096

BLOCKS, FOLDS, REIGN, CLAIMS = 8, 9, 10, 11
"""Words of the header, by number."""
CLAIM, FOLDING, SLOT_REIGN, PID, NUMBER, FIGURES = 0, 1, 2, 3, 4, 5
"""Words of a slot, by number; FIGURES is the first of five doubles."""

LOCK: Final = 0
LIFE: Final = 64

HEAD = struct.Struct("=8s5I")
MADE = struct.Struct("=2Q")
RECORD = struct.Struct("=4IQ")
A_SHAPE, A_MEMBER = 1, 2
DEFINITIONS: Final = 16
"""Where the first record of a block begins."""


class Geometry(NamedTuple):
    """How large the parts of a segment are, and with that where they begin. Sizes in bytes."""

    slots: int = 62
    cells: int = 1024
    definitions: int = 65536

    @property
    def blocks_at(self) -> int:
        """Where the first block begins."""
        return PAGE + -(-self.slots * SLOT // PAGE) * PAGE

    @property
    def block(self) -> int:
        """The size of a block."""
        return self.definitions + (self.slots + 2) * self.area

    @property
    def area(self) -> int:
        """The size of one slot's cells in a block."""
        return 8 * self.cells

    def base_at(self, which: int) -> int:
        """Where a base begins in its block."""
        return self.definitions + which * self.area

    def cells_at(self, slot: int) -> int:
        """Where the cells of a slot begin in a block."""
        return self.definitions + (slot + 2) * self.area

    def size(self, blocks: int) -> int:
        """Of a segment with so many blocks."""
        return self.blocks_at + blocks * self.block


def header(geometry: Geometry, made: int, random: int) -> bytes:
    """The first 48 bytes."""
    head = HEAD.pack(MAGIC, FORMAT, ORDER, geometry.slots, geometry.cells, geometry.definitions)
    tail = MADE.pack(made, random)
    return head + struct.pack("=I", zlib.crc32(head + tail)) + tail


def checked(head: bytes, size: int) -> Geometry:
    """What the first 48 bytes of a file of that size say. Raises `SegmentRefused`."""
    if len(head) < 48:
        raise SegmentTruncated(f"it has {size} bytes, and a header alone has {PAGE}")
    magic, form, order, *sizes = HEAD.unpack_from(head)
    if magic != MAGIC:
        raise SegmentForeign(f"it begins with {magic!r}, not with {MAGIC!r}")
    if order != ORDER:
        raise SegmentForeign("a machine of another byte order made it")
    if form > FORMAT:
        raise SegmentNewer(f"its format is {form}; this version knows {FORMAT}")
    geometry = Geometry(*sizes)
    (crc,) = struct.unpack_from("=I", head, 28)
    sane = 1 <= geometry.slots <= MOST_SLOTS and 0 < geometry.cells <= 1 << 20 and geometry.cells % 512 == 0
    sane = sane and 0 < geometry.definitions <= 1 << 24 and geometry.definitions % PAGE == 0
    if form < 1 or crc != zlib.crc32(head[:28] + head[32:48]) or not sane:
        raise SegmentCorrupt("its header is damaged")
    if size < geometry.size(1):
        raise SegmentTruncated(f"it has {size} bytes instead of {geometry.size(1)} or more")
    return geometry
