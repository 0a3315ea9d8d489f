"""What the cells of a segment mean: records of shapes and members, appended by one process at a time, read by all.

For the bytes see `shm_metrics.layout`. Members go into the last block that has room for their record and their cells.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from shm_metrics.errors import SegmentCorrupt, SegmentFull
from shm_metrics.layout import A_MEMBER, A_SHAPE, DEFINITIONS, RECORD
from shm_metrics.shape import MOST_LABELS, Shape

if TYPE_CHECKING:
    from shm_metrics.segment import Block, Segment

_encode = msgspec.msgpack.Encoder().encode
_shape = msgspec.msgpack.Decoder(Shape).decode
_member = msgspec.msgpack.Decoder(tuple[int, tuple[str, ...]]).decode

USED: Final = 0
CELLS: Final = 1


class Place(NamedTuple):
    """A member, and where its cells are."""

    shape: Shape
    values: tuple[str, ...]
    block: int
    first: int
    record: int
    """Where its record begins, bytes from the beginning of the block."""


class Definitions:
    """The index of one segment, as far as it was read."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._read: list[int] = []
        """How many bytes of each block were."""
        self.shapes: list[Shape] = []
        self._numbers: dict[Shape, int] = {}
        self.places: dict[tuple[Shape, tuple[str, ...]], Place] = {}

    # ---- reading ----

    def follow(self) -> None:
        """Read what was appended. Raises `SegmentCorrupt`; what was read by then stays."""
        for number, block in enumerate(self._segment.blocks()):
            if number == len(self._read):
                self._read.append(DEFINITIONS)
            used = block.words[USED]
            if used > self._read[number]:
                self._read_block(number, block, used)

    def _read_block(self, number: int, block: Block, used: int) -> None:
        if used > len(block.text):
            raise SegmentCorrupt(f"block {number} is said to have {used} bytes of definitions")
        at = self._read[number]
        while at < used:
            at = self._read_record(number, block, at, used)
            self._read[number] = at

    def _read_record(self, number: int, block: Block, at: int, used: int) -> int:
        if at + RECORD.size > used:
            raise SegmentCorrupt(f"block {number} ends within a definition")
        length, crc, first, kind, _ = RECORD.unpack_from(block.text, at)
        begin = at + RECORD.size
        text = bytes(block.text[begin : begin + length])
        if begin + length > used or crc != zlib.crc32(block.text[at + 8 : at + 16], zlib.crc32(text)):
            raise SegmentCorrupt(f"block {number}, byte {at}: a definition is damaged")
        try:
            if kind == A_SHAPE:
                self._know(_shape(text))
            else:
                which, values = _member(text)
                self._place(self.shapes[which], values, number, first, at)
        except (msgspec.MsgspecError, IndexError, ValueError) as error:
            raise SegmentCorrupt(f"block {number}, byte {at}: no definition: {error}") from None
        return begin + _padded(length)

    def _know(self, shape: Shape) -> None:
        problem = shape.problem()
        if problem:
            raise ValueError(problem)
        self._numbers[shape] = len(self.shapes)
        self.shapes.append(shape)

    def _place(self, shape: Shape, values: tuple[str, ...], block: int, first: int, record: int) -> None:
        if first + shape.cells > self._segment.geometry.cells or len(values) != len(shape.labels) > MOST_LABELS:
            raise ValueError(f"a member of {shape.name} that cannot be")
        self.places[shape, values] = Place(shape, values, block, first, record)

    # ---- writing, under the lock ----

    def define(self, shape: Shape, values: tuple[str, ...]) -> Place:
        """The place of that member, made if there is none. Raises `SegmentFull`."""
        self.follow()
        place = self.places.get((shape, values))
        if place is not None:
            return place
        if shape not in self._numbers:
            self._append(_encode(shape), A_SHAPE, 0)
            self.follow()
        self._append(_encode((self._numbers[shape], values)), A_MEMBER, shape.cells)
        self.follow()
        return self.places[shape, values]

    def _append(self, text: bytes, kind: int, cells: int) -> None:
        segment = self._segment
        size = RECORD.size + _padded(len(text))
        block = segment.blocks()[-1]
        if not _room(block, size, cells, segment.geometry.cells):
            block = segment.grow()
            if not _room(block, size, cells, segment.geometry.cells):
                raise SegmentFull("a definition is larger than a block")
        used, first = block.words[USED] or DEFINITIONS, block.words[CELLS]
        begin = used + RECORD.size
        RECORD.pack_into(block.text, used, len(text), 0, first, kind, 1)
        block.text[begin : begin + len(text)] = text
        crc = zlib.crc32(block.text[used + 8 : used + 16], zlib.crc32(text))
        RECORD.pack_into(block.text, used, len(text), crc, first, kind, 1)
        segment.step("written")
        block.words[CELLS] = first + cells
        segment.step("taken")
        block.words[USED] = used + size
        segment.step("defined")

    # ---- what is shown ----

    def shown(self, place: Place) -> bool:
        """Readers are to see it."""
        return self._segment.blocks()[place.block].words[place.record // 8 + 2] == 1

    def show(self, place: Place, *, shown: bool) -> None:
        """Have it so."""
        self._segment.blocks()[place.block].words[place.record // 8 + 2] = int(shown)


def _room(block: Block, size: int, cells: int, capacity: int) -> bool:
    used = block.words[USED] or DEFINITIONS
    return used + size <= len(block.text) and block.words[CELLS] + cells <= capacity


def _padded(length: int) -> int:
    return -(-length // 8) * 8
