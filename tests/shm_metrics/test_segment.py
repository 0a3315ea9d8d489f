"""A segment: made whole or not at all, refused untouched, grown without stopping anybody."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

import pytest

from shm_metrics import layout, memory
from shm_metrics.errors import (
    SegmentBusy,
    SegmentCorrupt,
    SegmentForeign,
    SegmentFull,
    SegmentNewer,
    SegmentRefused,
    SegmentTruncated,
)
from shm_metrics.layout import BLOCKS, LIFE
from shm_metrics.segment import Segment
from tests.shm_metrics.children import SMALL, Child, child, finish, open_files


def joined(segment: Segment) -> Segment:
    return Segment.joined(memory.reopened(segment.fd))


def whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def test_what_one_has_made_another_joins(segment: Segment) -> None:
    other = joined(segment)
    assert other.geometry == SMALL
    other.blocks()[0].cells(2)[511] = 1.5
    assert segment.blocks()[0].cells(2)[511] == 1.5
    assert other.header[BLOCKS] == len(segment.blocks()) == 1
    other.close()


def test_the_areas_of_a_block_are_apart(segment: Segment) -> None:
    block = segment.blocks()[0]
    areas = [block.base(0), block.base(1), *(block.cells(slot) for slot in range(SMALL.slots))]
    for number, area in enumerate(areas, start=1):
        for at in (0, SMALL.cells - 1):
            area[at] = float(number)
    assert [area[at] for area in areas for at in (0, SMALL.cells - 1)] == [n for n in (1, 2, 3, 4, 5) for _ in "ab"]
    assert not any(block.words)


@pytest.mark.parametrize(
    ("at", "value", "refusal", "text"),
    [
        (0, b"SOMETHIN", SegmentForeign, "it begins with b'SOMETHIN'"),
        (0, bytes(8), SegmentForeign, "it begins with"),
        (8, b"\2\0\0\0", SegmentNewer, "its format is 2; this version knows 1"),
        (12, b"\1\2\3\4", SegmentForeign, "another byte order"),
        (28, b"\0\0\0\0", SegmentCorrupt, "its header is damaged"),
        (8 * BLOCKS, bytes(8), SegmentCorrupt, "it is said to have 0 blocks"),
        (8 * BLOCKS, b"\xff" * 8, SegmentCorrupt, "it is said to have 18446744073709551615 blocks"),
        (8 * BLOCKS, b"\2" + bytes(7), SegmentTruncated, "it has 32768 bytes instead of 57344"),
    ],
)
def test_what_is_refused_is_left_as_it_is(
    segment: Segment, at: int, value: bytes, refusal: type[SegmentRefused], text: str
) -> None:
    os.pwrite(segment.fd, value, at)
    before = whole(segment.fd), open_files(segment.fd)
    with pytest.raises(refusal, match=text) as raised:
        joined_or_closed(segment)
    assert type(raised.value) is refusal
    assert (whole(segment.fd), open_files(segment.fd)) == before


def joined_or_closed(segment: Segment) -> None:
    fd = memory.reopened(segment.fd)
    try:
        Segment.joined(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 47, 48, 4095, 4096, SMALL.size(1) - 1])
def test_a_short_one_is_refused(segment: Segment, size: int) -> None:
    short = os.memfd_create("short")
    os.write(short, whole(segment.fd)[:size])
    with pytest.raises(SegmentTruncated, match=f"it has {size} bytes"):
        Segment.joined(short)
    os.close(short)


def test_a_block_that_was_cut_off_is_missed(segment: Segment) -> None:
    with segment.locked():
        segment.grow()
    cut = os.memfd_create("cut")
    os.write(cut, whole(segment.fd))
    other = Segment.joined(cut)
    os.ftruncate(cut, SMALL.size(1))
    with pytest.raises(SegmentTruncated, match="its block 1 is missing"):
        other.blocks()
    assert len(other.mapped()) == 1
    other.close()


def test_others_see_a_block_more(segment: Segment) -> None:
    other = joined(segment)
    before = other.blocks()[0]
    with segment.locked():
        segment.grow().cells(1)[3] = 2.5
    assert other.blocks()[1].cells(1)[3] == 2.5
    assert other.blocks()[0] is before
    other.close()


def test_there_is_memory_for_whoever_has_a_slot_before_a_block_counts(segment: Segment) -> None:
    """Else a store into a full file system would end a process by SIGBUS."""
    for users in (0, 1, 2):
        before = os.fstat(segment.fd).st_blocks
        with segment.locked():
            segment.grow()
        there = 512 * (os.fstat(segment.fd).st_blocks - before)
        assert there == SMALL.definitions + (2 + users) * SMALL.area
        segment.write(users, layout.CLAIM, 1)


def test_blocks_come_to_an_end(segment: Segment) -> None:
    segment.header[BLOCKS] = layout.MOST_BLOCKS
    with segment.locked(), pytest.raises(SegmentFull, match="it has 1024 blocks, and cannot have more"):
        segment.grow()


def test_growth_that_failed_can_be_tried_again(segment: Segment) -> None:
    def work() -> None:
        limit = SMALL.size(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        own = joined(segment)
        with own.locked(), pytest.raises(SegmentFull, match="it cannot grow: File too large"):
            own.grow()

    assert finish(work) == 0
    assert segment.header[BLOCKS] == 1
    with segment.locked():
        segment.grow()
    assert len(segment.blocks()) == 2


# ---- the lock ----


def test_one_at_a_time_and_as_deep_as_one_likes(segment: Segment) -> None:
    other = joined(segment)
    with segment.locked():
        with segment.locked():
            pass
        with pytest.raises(SegmentBusy), other.locked():
            pass
    with other.locked():
        pass
    with pytest.raises(ZeroDivisionError), segment.locked():
        raise ZeroDivisionError
    with other.locked():
        pass
    other.close()


def test_a_child_that_was_forked_within_the_lock_does_not_have_it(segment: Segment) -> None:
    def work(me: Child) -> None:
        segment.forked()
        with pytest.raises(SegmentBusy), segment.locked():
            pass
        me.tell("refused")
        me.wait()
        with segment.locked():
            me.tell("taken")
            me.wait()

    with segment.locked():
        one = Child(work)
        assert one.hear() == "refused"
    one.go()
    assert one.hear() == "taken"
    with pytest.raises(SegmentBusy), segment.locked():
        pass
    one.go()
    assert one.end() == 0
    with segment.locked():
        pass


def test_a_child_that_leaves_the_block_it_was_forked_in_still_knows_how_to_lock(segment: Segment) -> None:
    other = joined(segment)

    def leave() -> None:
        with segment.locked():
            pid = os.fork()
            if not pid:
                segment.forked()
        if not pid:
            with other.locked():  # the parent let go of it, and this process has nothing
                with pytest.raises(SegmentBusy), segment.locked():
                    pass
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    assert finish(leave) == 0
    other.close()


def heir_of(segment: Segment) -> Callable[[Child], None]:
    def work(me: Child) -> None:
        segment.forked()
        me.tell("forked")
        me.wait()

    return work


def test_the_death_of_a_parent_is_seen_while_its_child_lives(segment: Segment) -> None:
    def work(me: Child) -> None:
        own = joined(segment)
        own.blocks()
        assert own.locks.take(LIFE)
        with child(heir_of(own)) as heir:
            assert heir.hear() == "forked"
            me.tell("ready")
            me.wait()

    with child(work) as one:
        assert one.hear() == "ready"
        assert segment.locks.held(LIFE)
        one.kill()
        assert not segment.locks.held(LIFE)


def test_who_closed_all_descriptors_harms_no_other_file(segment: Segment) -> None:
    def work(me: Child) -> None:
        own = joined(segment)
        fd = own.fd
        assert own.locks.take(LIFE)
        me.close_all()
        another = os.memfd_create("another")
        os.write(another, b"precious")
        os.dup2(another, fd)
        os.dup2(another, own.locks._fd)
        assert not own.usable
        with pytest.raises(SegmentForeign, match="closed its descriptor"), own.locked():
            pass
        with pytest.raises(SegmentForeign, match="closed its descriptor"):
            own.forked()
        own.close()
        assert os.pread(fd, 100, 0) == b"precious"
        me.tell("done")
        me.wait()

    with child(work) as one:
        assert one.hear() == "done"
        one.go()
        assert one.end() == 0


def test_closing_lets_go_of_locks_and_descriptors(segment: Segment) -> None:
    segment.blocks()
    before = open_files(segment.fd)
    other = joined(segment)
    view = other.blocks()[0].cells(0)
    assert other.locks.take(LIFE)
    other.close()
    assert not segment.locks.held(LIFE)
    assert not other.usable
    view[0] = 4.0
    assert segment.blocks()[0].cells(0)[0] == 4.0
    del view, other
    assert open_files(segment.fd) == before
