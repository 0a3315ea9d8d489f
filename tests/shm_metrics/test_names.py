"""Segments by name: found again, refused and left alone, removed only if nobody counts in them."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm_metrics import Registry, SegmentBusy, layout, memory, names
from shm_metrics.errors import SegmentForeign, SegmentRefused
from shm_metrics.layout import BLOCKS, Geometry
from shm_metrics.locks import lock
from shm_metrics.names import FOLDER, PREFIX, Found, open_by_name, remove
from tests.shm_metrics.children import SMALL, Child, child, close, finish, open_files, read, slots


@pytest.fixture
def name() -> Iterator[str]:
    one = f"test-{uuid.uuid4().hex}"
    yield one
    for path in files(one):
        path.unlink()


def files(name: str) -> list[Path]:
    return sorted(path for path in FOLDER.iterdir() if path.name.startswith(f"{PREFIX}{name}."))


def found(name: str) -> list[Found]:
    return [one for one in names.found() if name in one.name]


def left_behind(name: str, count: float = 1.0) -> Path:
    """The file of a segment whose only process has died."""
    registry = Registry.open(name, SMALL)
    registry.counter("a_total", "A.").inc(count)
    close(registry)
    return files(name)[-1]


def test_counters_go_on_under_their_name(name: str) -> None:
    left_behind(name, 2)
    registry = Registry()
    assert registry.move_to(name, SMALL) == []
    registry.counter("a_total", "A.").inc(3)
    assert read(registry) == {("a_total",): 5.0}
    assert [path.name for path in files(name)] == [f"shm_metrics.{name}.1"]
    assert files(name)[0].stat().st_mode & 0o777 == 0o600
    close(registry)


def test_its_own_geometry_stays(name: str) -> None:
    left_behind(name)
    opened = open_by_name(name, Geometry())
    assert (opened.segment.geometry, opened.in_place) == (SMALL, True)
    opened.segment.close()


@pytest.mark.parametrize("bad", ["", "a/b", "..\0", "a b", "é", "x" * 151])
def test_names_that_are_none(bad: str) -> None:
    with pytest.raises(ValueError, match="is no name for a segment"):
        Registry.open(bad)


def damaged(path: Path, how: str) -> None:
    with path.open("r+b") as file:
        if how == "truncated":
            file.truncate(5000)
        elif how == "foreign":
            file.write(b"somebody")
        elif how == "newer":
            file.seek(8)
            file.write(b"\x09")
        elif how == "corrupt":
            file.seek(16)
            file.write(b"\xff\xff\xff\xff")
        elif how == "blocks":
            file.seek(8 * BLOCKS)
            file.write(bytes(8))
        elif how == "definitions":
            file.seek(SMALL.blocks_at + layout.DEFINITIONS + layout.RECORD.size)
            file.write(b"\xff")
        elif how == "no magic":
            file.write(bytes(8))


REASONS = {
    "truncated": "it has 5000 bytes instead of",
    "foreign": "it begins with b'somebody', not with b'SHMETRIC'",
    "newer": "its format is 9; this version knows 1",
    "corrupt": "its header is damaged",
    "blocks": "it is said to have 0 blocks",
    "definitions": "block 0, byte 16: a definition is damaged",
    "no magic": r"it begins with b'\x00\x00\x00\x00\x00\x00\x00\x00', not with b'SHMETRIC'",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_bad_one_is_refused_and_left_as_it_is_and_a_fresh_one_made_beside(name: str, how: str) -> None:
    path = left_behind(name)
    damaged(path, how)
    gc.collect()  # what is still mapped of it by the process before
    before, descriptors = path.read_bytes(), open_files(path)
    with pytest.raises(SegmentRefused):
        names._open(path.name, SMALL)
    assert open_files(path) == descriptors
    registry = Registry()
    (reason,) = registry.move_to(name, SMALL)
    assert reason.startswith(f"{path.name}: ")
    assert REASONS[how] in reason
    registry.counter("a_total", "A.").inc()
    assert read(registry) == {("a_total",): 1.0}
    assert [one.name for one in files(name)] == [f"shm_metrics.{name}.{n}" for n in (1, 2)]
    assert path.read_bytes() == before
    close(registry)
    # The next one finds the fresh one, and needs not look at the other.
    again = Registry()
    assert again.move_to(name, SMALL) == []
    assert read(again) == {("a_total",): 1.0}
    close(again)
    assert [bool(one.refused) for one in found(name)] == [how not in {"blocks", "definitions"}, False]


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "open to others"])
def test_what_is_no_segment_under_its_name_is_passed_by(name: str, kind: str, tmp_path: Path) -> None:
    path = FOLDER / f"{PREFIX}{name}.1"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path)
    else:
        path.touch()
        path.chmod(0o666)
    registry = Registry()
    assert len(registry.move_to(name, SMALL)) == 1
    close(registry)
    expected = ["open to others"] if kind == "open to others" else []
    assert [one.name for one in found(name)][: len(expected)] == [path.name] * len(expected)
    if kind == "directory":
        path.rmdir()


def test_two_that_come_at_once_share_one(name: str) -> None:
    def work(me: Child) -> None:
        me.tell("ready")
        me.wait()
        registry = Registry.open(name, Geometry(slots=8, cells=512, definitions=4096))
        registry.counter("a_total", "A.").inc()
        me.tell("counted")
        me.wait()

    with child(work) as one, child(work) as two, child(work) as three, child(work) as four:
        racing = (one, two, three, four)
        for each in racing:
            assert each.hear() == "ready"
        for each in racing:
            each.go()
        for each in racing:
            assert each.hear() == "counted"
        reader = Registry.open(name, SMALL)
        assert read(reader) == {("a_total",): 4.0}
        close(reader)
    assert len(files(name)) == 1


def test_one_that_is_unlinked_while_others_come_keeps_nobody(name: str) -> None:
    """Whoever has come is in a segment that others find, or the last one to leave took the name away from all."""

    def work(me: Child) -> None:
        me.tell("ready")
        me.wait()
        for _ in range(60):
            registry = Registry.open(name, SMALL)
            registry.counter("a_total", "A.").inc()
            assert read(registry)["a_total",] >= 1
            registry.unlink()
            close(registry)
        me.tell("done")

    with child(work) as one, child(work) as two:
        for each in (one, two):
            assert each.hear() == "ready"
        for each in (one, two):
            each.go()
        assert [one.hear(), two.hear()] == ["done", "done"]
        assert [one.end(), two.end()] == [0, 0]
    assert files(name) == []


def test_a_name_that_went_before_there_was_a_slot_is_taken_anew(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind(name)
    whole = names.open_by_name
    taken: list[Path] = []

    def open_and_lose(*arguments: object) -> names.Opened:
        opened = whole(*arguments)  # type: ignore[arg-type]
        if not taken:
            taken.extend(files(name))
            assert remove(taken[0].name)  # nobody has a slot in it yet
        return opened

    monkeypatch.setattr(names, "open_by_name", open_and_lose)
    registry = Registry.open(name, SMALL)
    registry.counter("a_total", "A.").inc(3)
    assert len(files(name)) == 1
    monkeypatch.undo()
    other = Registry.open(name, SMALL)
    assert read(other) == {("a_total",): 3.0}
    close(other)
    close(registry)


def test_who_unlinks_takes_its_own_name_alone(name: str) -> None:
    registry = Registry.open(name, SMALL)
    (path,) = files(name)
    path.unlink()
    other = Registry.open(name, SMALL)
    registry.unlink()
    assert len(files(name)) == 1
    other.unlink()
    other.unlink()
    assert files(name) == []
    close(registry)
    close(other)


def test_a_stopped_holder_of_the_lock_makes_it_busy(name: str) -> None:
    left_behind(name)
    fd = memory.open_named(f"{PREFIX}{name}.1", make=False)
    lock(fd, layout.LOCK)
    with pytest.raises(SegmentBusy):
        Registry.open(name, SMALL)
    with pytest.raises(SegmentBusy):
        remove(f"{PREFIX}{name}.1")
    os.close(fd)
    close(Registry.open(name, SMALL))


# ---- those that nobody counts in ----


def test_found_says_who_counts_and_since_when_nobody_does(name: str) -> None:
    registry = Registry.open(name, SMALL)
    one, other = Registry.open(name, SMALL), Registry.open(name, SMALL)
    (there,) = found(name)
    assert (there.name, there.size, there.users, there.refused) == (
        f"{PREFIX}{name}.1",
        SMALL.size(1),
        3,
        "",
    )
    assert not there.stale
    for each in (registry, one, other):
        close(each)
    os.utime(files(name)[0], (5.0, 5.0))
    (there,) = found(name)
    assert (there.users, there.stale, there.touched) == (0, True, 5.0)


def test_looking_disturbs_nobody_and_changes_nothing(name: str) -> None:
    path = left_behind(name)
    before = path.read_bytes(), path.stat()
    fd = memory.open_named(path.name, make=False)
    lock(fd, layout.LOCK)
    assert len(found(name)) == 1
    os.close(fd)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before[0], before[1].st_mtime_ns)


def test_one_in_use_is_not_removed(name: str) -> None:
    registry = Registry.open(name, SMALL)
    (path,) = files(name)
    assert not remove(path.name)
    assert path.exists()
    close(registry)
    assert remove(path.name)
    assert not path.exists()
    assert remove(path.name)


def test_a_refused_one_can_be_removed_unless_a_newer_version_counts_in_it(name: str) -> None:
    registry = Registry.open(name, SMALL)
    (path,) = files(name)
    damaged(path, "newer")
    assert not remove(path.name)
    assert [(one.users, one.refused) for one in found(name)] == [(1, REASONS["newer"])]
    close(registry)
    assert remove(path.name)


def test_one_made_since_under_the_same_name_is_not_removed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left_behind(name)

    def make_anew(fd: int, byte: int) -> None:
        path.unlink()
        monkeypatch.undo()
        left_behind(name, 7)
        lock(fd, byte)

    monkeypatch.setattr(names, "lock", make_anew)
    assert remove(path.name)
    registry = Registry.open(name, SMALL)
    assert read(registry) == {("a_total",): 7.0}
    close(registry)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_that_of_another_user_is_refused(name: str) -> None:
    path = left_behind(name)

    def other() -> None:
        os.setuid(65534)
        assert found(name) == []
        with pytest.raises(SegmentForeign, match="belongs to another user"):
            remove(path.name)
        registry = Registry()
        (reason,) = registry.move_to(name, SMALL)
        assert "belongs to another user" in reason
        assert slots(registry).own == 0

    assert finish(other) == 0
