from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm_agent.inspection.subjects import brief
from tests.vm_agent.releases import making
from vm_agent.inspection.disks import Disk, judge, judge_room, look, needed


def disk(**changes: Any) -> Disk:
    keys: dict[str, Any] = {"path": "/state", "uses": ("state",), "total": 1000, "free": 500}
    return Disk(**{**keys, "inodes": 100, "free_inodes": 50, **changes})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"free": 100}, []),
        ({"free": 99}, [("warning", "disk_full", "/state")]),
        ({"free": 50}, [("warning", "disk_full", "/state")]),
        ({"free": 49}, [("error", "disk_full", "/state")]),
        ({"free": 0}, [("error", "disk_full", "/state")]),
        ({"free": 0, "writable": False}, []),
        ({"free": 0, "total": 0}, []),  # /proc and its like
        ({"free_inodes": 9}, [("warning", "disk_full", "inodes of /state")]),
        ({"free_inodes": 0}, [("error", "disk_full", "inodes of /state")]),
        ({"free_inodes": 0, "inodes": 0}, []),  # btrfs
        ({"free": 0, "free_inodes": 0}, [("error", "disk_full", "/state"), ("error", "disk_full", "inodes of /state")]),
    ],
)
def test_a_disk_is_told_below_a_tenth_and_below_a_twentieth(
    changes: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge([disk(**changes)])) == found


@pytest.mark.parametrize(("size", "found"), [(0, 0), (500, 0), (501, 1)])
def test_the_next_release_has_to_fit(size: int, found: int) -> None:
    assert len(brief(judge_room(disk(), size))) == found


def test_places_on_one_disk_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = look([("state", tmp_path), ("specs", tmp_path / "a"), ("runtime_dir", tmp_path / "not" / "there")])
    assert len(found) == 1
    assert found[0].uses == ("state", "specs", "runtime_dir")
    assert found[0].total >= found[0].free > 0


def test_the_next_release_is_expected_to_be_like_the_last(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    made = making.directory(source, "1.0.0")
    (made / "lib" / "large").write_bytes(bytes(100_000))
    store = making.store(source, tmp_path / "state")
    assert needed(store) == 0
    asyncio.run(store.install("1.0.0"))
    assert 100_000 <= needed(store) < 200_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte and few inodes."""
    if os.geteuid():
        pytest.skip("not root")
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("tmpfs cannot be mounted")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.all
def test_a_real_disk_that_is_nearly_full_is_found(small: Path) -> None:
    assert brief(judge(look([("state", small)]))) == []
    (small / "file").write_bytes(bytes(950 * 1024))
    assert brief(judge(look([("state", small)]))) == [("warning", "disk_full", str(small))]
    (small / "file").write_bytes(bytes(1000 * 1024))
    assert brief(judge(look([("state", small)]))) == [("error", "disk_full", str(small))]


@pytest.mark.all
def test_a_real_disk_without_inodes_is_found(small: Path) -> None:
    while os.statvfs(small).f_favail:
        (small / uuid.uuid4().hex).touch()
    assert brief(judge(look([("state", small)]))) == [("error", "disk_full", f"inodes of {small}")]
