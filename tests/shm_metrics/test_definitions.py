"""Definitions: what one process appends, others read; whatever is damaged, nobody crashes or believes it."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shm_metrics import memory
from shm_metrics.definitions import USED, Definitions
from shm_metrics.errors import SegmentCorrupt, SegmentFull
from shm_metrics.layout import A_MEMBER, A_SHAPE, BLOCKS, DEFINITIONS, RECORD, Geometry
from shm_metrics.segment import Segment
from shm_metrics.shape import Shape
from tests.shm_metrics.children import SMALL

COUNTER = Shape("events_total", "counter", "Events.", ("what",))
PLAIN = Shape("plain_total", "counter", "Without labels.")
HISTOGRAM = Shape("size", "histogram", "Sizes.", ("what",), (1.0, 2.0))
LAST = Shape("last", "gauge", "Set last.", combine="last")

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
shapes = st.builds(
    lambda name, about, labels, kind, bounds: Shape(
        name, kind[0], about, tuple(labels), tuple(sorted(bounds)) if kind[0] == "histogram" else (), kind[1]
    ),
    names,
    text,
    st.lists(st.from_regex(r"a[a-z0-9_]{1,9}", fullmatch=True), max_size=4, unique=True),
    st.sampled_from([("counter", ""), ("gauge", "sum"), ("gauge", "max"), ("gauge", "last"), ("histogram", "")]),
    st.sets(st.floats(-1e300, 1e300, allow_nan=False).map(lambda n: n + 0.0), min_size=1, max_size=20),
)
members = shapes.flatmap(lambda shape: st.tuples(st.just(shape), st.tuples(*(text for _ in shape.labels))))


def fresh(geometry: Geometry = SMALL) -> Segment:
    return Segment.made(memory.unnamed(), geometry, 1)


def define(segment: Segment, *members: tuple[Shape, tuple[str, ...]]) -> Definitions:
    one = Definitions(segment)
    with segment.locked():
        for member in members:
            one.define(*member)
    return one


def reread(segment: Segment) -> Definitions:
    one = Definitions(segment)
    one.follow()
    return one


def append(segment: Segment, text: bytes, kind: int, first: int = 0) -> None:
    """A record as no process would write it, with a checksum that is right."""
    words = segment.blocks()[0].words
    used = words[USED] or DEFINITIONS
    crc = zlib.crc32(struct.pack("=2I", first, kind), zlib.crc32(text))
    record = RECORD.pack(len(text), crc, first, kind, 1) + text + bytes(-len(text) % 8)
    segment.blocks()[0].text[used : used + len(record)] = record
    words[USED] = used + len(record)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.lists(members, max_size=25))
def test_what_was_defined_is_read(all_members: list[tuple[Shape, tuple[str, ...]]]) -> None:
    segment = fresh()
    written = define(segment, *all_members)
    written.follow()
    read = reread(segment)
    assert read.places == written.places
    assert [*read.places] == [*dict.fromkeys(all_members)]
    assert read.shapes == [*dict.fromkeys(shape for shape, _ in all_members)]
    assert (read.blocks, read.taken) == (written.blocks, written.taken)
    taken = sorted((one.block, one.first, one.first + one.shape.cells) for one in read.places.values())
    for before, after in pairwise(taken):
        assert before[0] < after[0] or before[2] <= after[1]
    assert all(end <= SMALL.cells for _, _, end in taken)
    assert all(read.shown(one) for one in read.places.values())
    segment.close()


def test_two_processes_define_the_same_once(segment: Segment) -> None:
    one, other = Definitions(segment), Definitions(segment)
    with segment.locked():
        place = one.define(COUNTER, ("a",))
        assert other.define(COUNTER, ("a",)) == place
        assert other.define(HISTOGRAM, ("a",)).first == 1
        assert one.define(COUNTER, ("b",)).first == 5
    one.follow()
    other.follow()
    assert one.places == other.places
    assert other.shapes == [COUNTER, HISTOGRAM]


def test_shapes_that_differ_are_apart_also_by_one_name(segment: Segment) -> None:
    other = msgspec.structs.replace(COUNTER, labels=("other",))
    places = define(segment, (COUNTER, ("a",)), (other, ("a",)))
    assert len({one.first for one in places.places.values()}) == 2


def test_shown_until_hidden(segment: Segment) -> None:
    one = define(segment, (COUNTER, ("a",)), (COUNTER, ("b",)))
    other = reread(segment)
    place = other.places[COUNTER, ("a",)]
    one.show(place, shown=False)
    assert not other.shown(place)
    assert other.shown(other.places[COUNTER, ("b",)])
    other.show(place, shown=True)
    assert one.shown(place)


def test_what_fits_no_block_makes_none(segment: Segment) -> None:
    one = Definitions(segment)
    large = Shape("large_total", "counter", "é" * 400, tuple(f"l{n:0>199}" for n in range(12)))
    assert not large.problem()
    before = bytes(segment.blocks()[0].text)
    for _ in range(3):
        with segment.locked(), pytest.raises(SegmentFull, match="larger than a block"):
            one.define(large, ("é" * 200,) * 12)
    with segment.locked(), pytest.raises(SegmentFull, match="larger than a block"):
        one.define(COUNTER, ("é" * 2100,))
    assert segment.header[BLOCKS] == 1
    assert bytes(segment.blocks()[0].text)[24:] != before[24:]  # the shape of the second is there
    assert reread(segment).places == {}


def test_a_block_ends_where_either_kind_of_room_does(segment: Segment) -> None:
    wide = Shape("wide", "histogram", "", ("n",), tuple(float(n) for n in range(198)))
    cells = define(segment, *((wide, (str(n),)) for n in range(5)))
    assert [one.block for one in cells.places.values()] == [0, 0, 1, 1, 2]
    other = fresh()
    texts = define(other, *((COUNTER, ("x" * 200 + str(n),)) for n in range(40)))
    assert [one.block for one in texts.places.values()] == [0] * 17 + [1] * 17 + [2] * 6
    assert reread(other).places == texts.places
    other.close()


def small() -> Segment:
    one = fresh(Geometry(slots=1, cells=512, definitions=4096))
    define(one, (COUNTER, ("a",)), (PLAIN, ()), (HISTOGRAM, ("é",)), (LAST, ()))
    return one


def spoken_for(definitions: Definitions, segment: Segment) -> set[int]:
    """Bytes that mean nothing: of padding, or whether a member is shown, which is a value and no definition."""
    free: set[int] = set()
    at, block = DEFINITIONS, segment.blocks()[0]
    while at < block.words[USED]:
        length, *_ = RECORD.unpack_from(block.text, at)
        end = at + RECORD.size + length
        free |= {*range(at + 16, at + 24), *range(end, -(-end // 8) * 8)}
        at = -(-end // 8) * 8
    return free | {*range(8, 16), *range(at, len(block.text))}


def test_no_bit_of_a_definition_may_be_wrong() -> None:
    segment = small()
    right = reread(segment)
    text = segment.blocks()[0].text
    free = spoken_for(right, segment)
    end = segment.blocks()[0].words[USED]
    for at in range(end + 8):
        for bit in range(8):
            text[at] ^= 1 << bit
            if at in free:
                assert reread(segment).places == right.places
            else:
                damaged = Definitions(segment)
                try:
                    damaged.follow()
                except SegmentCorrupt:
                    pass
                else:
                    assert at < 8  # the word that says how much there is: that it is less cannot always be seen
                known = [*damaged.places.items()]
                assert known == [*right.places.items()][: len(known)]
            text[at] ^= 1 << bit
    assert reread(segment).places == right.places
    segment.close()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 4096))
def test_whatever_is_written_over_definitions_nobody_crashes(noise: bytes, at: int) -> None:
    segment = small()
    right = reread(segment)
    text = segment.blocks()[0].text
    text[at : at + len(noise)] = noise[: max(0, len(text) - at)]
    damaged = Definitions(segment)
    with suppress(SegmentCorrupt):
        damaged.follow()
    known = [*damaged.places.items()]
    assert known == [*right.places.items()][: len(known)]
    segment.close()


def encoded(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    ("text", "kind", "first"),
    [
        pytest.param(b"", A_SHAPE, 0, id="nothing"),
        pytest.param(b"\xc1", A_SHAPE, 0, id="no MessagePack"),
        pytest.param(encoded(["a b", "counter", ""]), A_SHAPE, 0, id="no name"),
        pytest.param(encoded(["a", "novelty", ""]), A_SHAPE, 0, id="no kind"),
        pytest.param(encoded(["a", "histogram", "", [], [2.0, 1.0]]), A_SHAPE, 0, id="bounds that fall"),
        pytest.param(encoded(["a", "histogram", "", [], [float("nan")]]), A_SHAPE, 0, id="bounds that are none"),
        pytest.param(encoded([0, ["a"]]), 3, 1, id="no kind of record"),
        pytest.param(encoded([7, ["a"]]), A_MEMBER, 1, id="of no shape"),
        pytest.param(encoded([-1, ["a"]]), A_MEMBER, 1, id="of a shape before the first"),
        pytest.param(encoded([0, []]), A_MEMBER, 1, id="too few labels"),
        pytest.param(encoded([0, ["a", "b"]]), A_MEMBER, 1, id="too many labels"),
        pytest.param(encoded([0, ["b"]]), A_MEMBER, 0, id="cells of another"),
        pytest.param(encoded([0, ["b"]]), A_MEMBER, SMALL.cells, id="cells beyond the end"),
        pytest.param(encoded([0, ["b"]]), A_MEMBER, (1 << 32) - 1, id="cells far beyond the end"),
    ],
)
def test_what_no_process_would_write_is_refused(segment: Segment, text: bytes, kind: int, first: int) -> None:
    right = define(segment, (COUNTER, ("a",)))
    append(segment, text, kind, first)
    read = Definitions(segment)
    with pytest.raises(SegmentCorrupt, match="no definition"):
        read.follow()
    assert read.places == right.places
    with pytest.raises(SegmentCorrupt), segment.locked():
        right.define(COUNTER, ("c",))


@pytest.mark.parametrize("used", [1, 8, 15, 17, 39, 4097, (1 << 64) - 1])
def test_an_extent_that_cannot_be_is_refused(segment: Segment, used: int) -> None:
    define(segment, (COUNTER, ("a",)))
    segment.blocks()[0].words[USED] = used
    with pytest.raises(SegmentCorrupt):
        reread(segment)


def test_definitions_that_vanish_are_missed(segment: Segment) -> None:
    """Else the next one would be written over what others count in."""
    one = define(segment, (COUNTER, ("a",)))
    segment.blocks()[0].words[USED] = 0
    with segment.locked(), pytest.raises(SegmentCorrupt, match="is said to have 16 bytes"):
        one.define(COUNTER, ("b",))


def test_a_record_that_was_not_finished_is_written_over(segment: Segment) -> None:
    define(segment, (COUNTER, ("a",)))
    block = segment.blocks()[0]
    end = block.words[USED]
    block.text[end : end + 100] = os.urandom(100)
    again = define(segment, (COUNTER, ("b",)))
    assert reread(segment).places == again.places
    assert again.places[COUNTER, ("b",)].first == 1


def test_a_version_with_a_field_more_in_a_shape_can_be_read(segment: Segment) -> None:
    """Fields are only ever appended."""
    append(segment, encoded(["a_total", "counter", "", [], [], "", "something new"]), A_SHAPE)
    assert reread(segment).shapes == [Shape("a_total", "counter", "")]
