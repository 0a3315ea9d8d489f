"""What the cells of a segment mean: records of shapes and members, appended by one process at a time, read by all.

For the bytes see `shm_metrics.layout`. Members go into the last block that has room for their record and their cells.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec

from shm_metrics.cells import fence
from shm_metrics.errors import SegmentCorrupt, SegmentFull
from shm_metrics.layout import A_MEMBER, A_SHAPE, DEFINITIONS, RECORD
from shm_metrics.shape import Shape

if TYPE_CHECKING:
    from shm_metrics.segment import Block, Segment

_encode = msgspec.msgpack.Encoder().encode
_shape = msgspec.msgpack.Decoder(Shape).decode
_member = msgspec.msgpack.Decoder(tuple[Annotated[int, msgspec.Meta(ge=0)], tuple[str, ...]]).decode

USED: Final = 0


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
        self.blocks: list[list[Place]] = []
        """The same by block, in the order of their definition."""
        self.taken: list[int] = []
        """How many cells of each block belong to somebody."""

    # ---- reading ----

    def follow(self) -> None:
        """Read what was appended. Raises `SegmentCorrupt`; what was read by then stays."""
        for number, block in enumerate(self._segment.blocks()):
            if number == len(self._read):
                self._read.append(DEFINITIONS)
                self.blocks.append([])
                self.taken.append(0)
            used = block.words[USED] or DEFINITIONS
            if used != self._read[number]:
                self._read_block(number, block, used)

    def _read_block(self, number: int, block: Block, used: int) -> None:
        at = self._read[number]
        if not at <= used <= len(block.text):
            raise SegmentCorrupt(f"block {number} is said to have {used} bytes of definitions")
        fence()
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
            elif kind != A_MEMBER:
                raise ValueError(f"there is no kind {kind}")  # a format that has one is another format
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
        end = first + shape.cells
        if not self.taken[block] <= first < end <= self._segment.geometry.cells or len(values) != len(shape.labels):
            raise ValueError(f"a member of {shape.name} that cannot be")
        place = Place(shape, values, block, first, record)
        self.places[shape, values] = place
        self.blocks[block].append(place)
        self.taken[block] = end

    # ---- writing, under the lock ----

    def define(self, shape: Shape, values: tuple[str, ...]) -> Place:
        """The place of that member, made if there is none. Raises `SegmentFull`."""
        self.follow()
        place = self.places.get((shape, values))
        if place is not None:
            return place
        if shape not in self._numbers:
            self._append(_encode(shape), A_SHAPE, 0)
        self._append(_encode((self._numbers[shape], values)), A_MEMBER, shape.cells)
        return self.places[shape, values]

    def _append(self, text: bytes, kind: int, cells: int) -> None:
        segment = self._segment
        size = RECORD.size + _padded(len(text))
        if DEFINITIONS + size > segment.geometry.definitions or cells > segment.geometry.cells:
            raise SegmentFull("a definition is larger than a block")
        number = len(segment.blocks()) - 1
        if not self._room(number, size, cells):
            segment.grow()
            self.follow()
            number += 1
        block = segment.blocks()[number]
        used, first = self._read[number], self.taken[number]
        begin = used + RECORD.size
        RECORD.pack_into(block.text, used, len(text), 0, first, kind, 1)
        block.text[begin : begin + len(text)] = text
        crc = zlib.crc32(block.text[used + 8 : used + 16], zlib.crc32(text))
        RECORD.pack_into(block.text, used, len(text), crc, first, kind, 1)
        segment.step("written")
        fence()
        block.words[USED] = used + size
        segment.step("defined")
        self._read_block(number, block, used + size)

    def _room(self, number: int, size: int, cells: int) -> bool:
        geometry = self._segment.geometry
        return self._read[number] + size <= geometry.definitions and self.taken[number] + cells <= geometry.cells

    # ---- what is shown ----

    def shown(self, place: Place) -> bool:
        """Readers are to see it."""
        return self._segment.blocks()[place.block].words[place.record // 8 + 2] == 1

    def show(self, place: Place, *, shown: bool) -> None:
        """Have it so."""
        self._segment.blocks()[place.block].words[place.record // 8 + 2] = int(shown)


def _padded(length: int) -> int:
    return -(-length // 8) * 8
