"""A look from outside: what it tells is exact, and nobody notices it."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm_metrics import Registry, SegmentBusy, SegmentRefused, Shape, layout, names, reading
from shm_metrics.layout import BLOCKS, FOLDS
from shm_metrics.reading import Glance
from tests.shm_metrics.children import ROOM, Child, child, close, finish, open_files, slots

Read = dict[tuple[str, ...], list[float]]


@pytest.fixture
def name() -> Iterator[str]:
    """One that nobody else has. What is left under it goes at the end."""
    made = f"test-{uuid.uuid4().hex}"
    yield made
    for path in names.FOLDER.glob(f"{names.PREFIX}{made}.*"):
        path.unlink()


@pytest.fixture
def shop(name: str) -> Iterator[Registry]:
    registry = Registry.open(name, ROOM)
    yield registry
    close(registry)


def file(name: str, number: int = 1) -> Path:
    return names.FOLDER / f"{names.PREFIX}{name}.{number}"


def spoil(name: str, at: int, word: bytes = b"nonsense") -> None:
    with file(name).open("r+b") as stream:
        stream.seek(at)
        stream.write(word)


def look(name: str) -> Read:
    found = reading.collect(name)
    assert found is not None
    return {(shape.name, *values): cells for shape, members in found for values, cells in members}


def test_it_tells_what_a_registry_tells(name: str, shop: Registry) -> None:
    orders = shop.counter("orders_total", "Orders.", ("kind",))
    orders.labels("new").inc(3)
    orders.labels("old").inc()
    shop.histogram("order_seconds", "How long.", bounds=(0.1, 1.0)).observe(0.5)
    shop.gauge("open_orders", "Now.").set(7)
    assert reading.collect(name) == [one for one in shop.collect() if one.shape.kind != "gauge"]
    assert look(name) == {
        ("order_seconds",): [0.5, 0.0, 1.0, 0.0],
        ("orders_total", "new"): [3.0],
        ("orders_total", "old"): [1.0],
    }


def test_where_nobody_counts_there_is_nothing(name: str) -> None:
    assert reading.collect(name) is None
    registry = Registry.open(name, ROOM)
    assert reading.collect(name) == []
    close(registry)
    assert file(name).exists()
    assert reading.collect(name) is None, "left by one that was killed"
    assert [path.name for path in names.FOLDER.glob(f"*{name}*")] == [file(name).name]


def test_a_name_that_cannot_be_is_told(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a segment"):
        reading.collect(f"../{name}")


def test_it_takes_no_slot_and_changes_no_byte(name: str, shop: Registry) -> None:
    shop.counter("orders_total", "Orders.").inc()
    before, status = file(name).read_bytes(), file(name).stat()
    files = open_files(file(name))
    for _ in range(3):
        assert look(name) == {("orders_total",): [1.0]}
    assert file(name).read_bytes() == before
    assert file(name).stat().st_mtime_ns == status.st_mtime_ns
    assert shop.alone
    assert open_files(file(name)) == files


def test_it_does_not_wait_for_the_lock(name: str, shop: Registry) -> None:
    counter = shop.counter("orders_total", "Orders.")

    def hold(holder: Child) -> None:
        with Registry.open(name).defining():
            holder.tell("held")
            holder.wait()

    with child(hold) as one:
        assert one.hear() == "held"
        counter.inc(2)
        assert look(name) == {("orders_total",): [2.0]}


def test_the_dead_count_whether_they_are_folded_or_not(name: str, shop: Registry) -> None:
    def count() -> None:
        Registry.open(name).counter("orders_total", "Orders.").inc(10)

    for number in range(1, 4):
        assert finish(count) == 0
        assert look(name) == {("orders_total",): [10.0 * number]}
    slots(shop).fold()
    assert look(name) == {("orders_total",): [30.0]}


def test_what_is_defined_later_is_found_also_in_later_blocks(name: str, shop: Registry) -> None:
    family = shop.counter("orders_total", "Orders.", ("number",))
    for number in range(700):
        family.labels(number).inc(number)
        if number in {0, 699}:
            assert look(name) == {("orders_total", str(n)): [float(n)] for n in range(number + 1)}


def test_what_is_hidden_is_told_so_that_a_sum_never_falls(name: str, shop: Registry) -> None:
    family = shop.counter("orders_total", "Orders.", ("kind",))
    family.labels("new").inc(3)
    family.remove("new")
    assert shop.collect() == []
    assert look(name) == {("orders_total", "new"): [3.0]}


def test_every_shape_of_a_name_is_told(name: str, shop: Registry) -> None:
    shop.histogram("order_seconds", "How long.", bounds=(0.1, 1.0)).observe(0.5)
    other = Registry.open(name)
    other.histogram("order_seconds", "How long.", bounds=(0.2, 2.0)).observe(5.0)
    found = reading.collect(name)
    close(other)
    assert found is not None
    assert [(shape.bounds, members[0].cells) for shape, members in found] == [
        ((0.1, 1.0), [0.5, 0.0, 1.0, 0.0]),
        ((0.2, 2.0), [5.0, 0.0, 0.0, 1.0]),
    ]


def test_the_newest_sound_one_is_taken(name: str, shop: Registry) -> None:
    shop.counter("orders_total", "Orders.").inc()
    descriptor = os.open(file(name, 7), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, b"nonsense" * 1000)
    os.close(descriptor)
    assert look(name) == {("orders_total",): [1.0]}
    spoil(name, 0)
    newer = Registry.open(name, ROOM)
    newer.counter("orders_total", "Orders.").inc(5)
    assert file(name, 8).exists()
    assert look(name) == {("orders_total",): [5.0]}
    close(newer)


@pytest.mark.parametrize(
    ("at", "word", "why"),
    [
        (0, b"nonsense", "begins with"),
        (28, b"\1\2\3\4", "its header is damaged"),
        (8 * BLOCKS, struct.pack("=Q", 0), "is said to have 0 blocks"),
        (8 * BLOCKS, struct.pack("=Q", 900), "it ends at byte"),
        (ROOM.blocks_at, struct.pack("=Q", 1 << 40), "bytes of definitions"),
        (ROOM.blocks_at + 24, b"\xff" * 4, "a definition is damaged"),
    ],
)
def test_what_is_damaged_is_an_error_and_stays_as_it_is(
    name: str, shop: Registry, at: int, word: bytes, why: str
) -> None:
    shop.counter("orders_total", "Orders.").inc()
    spoil(name, at, word)
    before = file(name).read_bytes()
    with pytest.raises(SegmentRefused, match=why):
        reading.collect(name)
    assert file(name).read_bytes() == before


def test_one_that_shrinks_under_its_reader_is_an_error(name: str, shop: Registry) -> None:
    shop.counter("orders_total", "Orders.").inc()
    with file(name).open("rb") as stream:
        glance = Glance(stream.fileno())
        os.truncate(file(name), layout.PAGE)
        with pytest.raises(SegmentRefused, match="it ends at byte 4096"):
            glance.collect()
    with pytest.raises(SegmentRefused, match="instead of"):
        reading.collect(name)


def test_what_others_may_write_and_what_is_no_file_is_refused(name: str, shop: Registry) -> None:
    file(name).chmod(0o666)
    with pytest.raises(SegmentRefused, match="others may write it"):
        reading.collect(name)
    file(name).unlink()
    file(name).symlink_to("/dev/zero")
    with pytest.raises(SegmentRefused, match="cannot be opened"):
        reading.collect(name)
    file(name).unlink()
    os.mkfifo(file(name))
    with pytest.raises(SegmentRefused, match="no shared memory"):
        reading.collect(name)


def test_a_fold_in_the_middle_is_noticed(name: str, shop: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it does between two looks at the number of folds, what was read then does not count."""
    counter = shop.counter("orders_total", "Orders.")
    counter.inc(5)

    def count() -> None:
        Registry.open(name).counter("orders_total", "Orders.").inc(10)

    there = Glance._living
    folds: list[int] = []

    def living(glance: Glance, number: int) -> list[int]:
        found = there(glance, number)
        if len(folds) < 3:
            assert finish(count) == 0
            folds.append(slots(shop).fold())
        return found

    monkeypatch.setattr(Glance, "_living", living)
    assert look(name) == {("orders_total",): [35.0]}
    assert len(folds) == 3
    assert all(folds)


def test_one_that_is_folded_for_ever_is_told(name: str, shop: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.counter("orders_total", "Orders.").inc()
    there = Glance._word

    def word(glance: Glance, at: int) -> int:
        if at == 8 * FOLDS:
            slots(shop)._segment.header[FOLDS] += 1
        return there(glance, at)

    monkeypatch.setattr(Glance, "_word", word)
    with pytest.raises(SegmentBusy):
        reading.collect(name)


def test_a_cell_is_read_before_or_after_a_store_and_never_in_between(name: str) -> None:
    """Two values of which no byte is the same, set in turn by another process, as fast as it can."""
    one, other = struct.unpack("=2d", bytes(range(1, 9)) + bytes(range(17, 25)))

    def flip(writer: Child) -> None:
        registry = Registry.open(name, ROOM)
        assert registry._shared is not None
        cells, at = registry._shared.place(Shape("orders_total", "counter", "Orders."), ())
        cells[at] = one
        writer.tell("counts")
        while True:
            for _ in range(1000):
                cells[at] = one
                cells[at] = other

    with child(flip) as writing:
        assert writing.hear() == "counts"
        seen = {look(name)["orders_total",][0] for _ in range(2000)}
    assert seen <= {one, other}
