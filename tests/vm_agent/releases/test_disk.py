"""Full, read-only and forbidden disks: a clear error each, and all as it was before."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.programs import program
from tests.vm_agent.releases import making
from tests.vm_agent.releases.making import install, left
from vm_agent.errors import ReleaseError
from vm_agent.releases.disk import refusal, require_room
from vm_agent.releases.store import Releases

NOBODY = 65534
Mount = Callable[[str], Path]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may everything; so be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that everybody can enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts small file systems in memory."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    mounted: list[Path] = []

    def tmpfs(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        subprocess.run([program("mount"), "-t", "tmpfs", "-o", f"mode=755,{options}", "small", place], check=True)
        mounted.append(place)
        return place

    try:
        yield tmpfs
    finally:
        for place in mounted:
            subprocess.run([program("umount"), "-l", place], check=True)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, r"/x: the disk is full .*releases\.keep"),
        (errno.EDQUOT, "/x: the disk is full"),
        (errno.EROFS, "/x: the file system is mounted read-only; mount it for writing"),
        (errno.EACCES, "/x: no permission for uid .*chown"),
        (errno.EPERM, "/x: no permission"),
        (errno.EIO, "/x: Input/output error"),
    ],
)
def test_each_refusal_has_its_remedy(number: int, text: str) -> None:
    with pytest.raises(ReleaseError, match=f"it failed: {text}"):
        raise refusal(OSError(number, os.strerror(number), "/x"), "it failed")


def test_room_is_looked_for_before(tmp_path: Path) -> None:
    require_room(tmp_path, 1, "it")
    with pytest.raises(ReleaseError, match=r"it: .* MiB free and about 1073741824\.0 MiB are needed; free some space"):
        require_room(tmp_path, 1 << 50, "it")


def test_a_huge_release_is_refused_before_anything_is_copied(source: Path, store: Releases) -> None:
    with (making.directory(source, "1.0") / "huge").open("wb") as sparse:
        sparse.truncate(1 << 42)
    with pytest.raises(ReleaseError, match="are needed"):
        install(store, "1.0")
    assert left(store) == []


def test_without_permission_for_the_state_nothing_happens(open_folder: Path) -> None:
    source, state = open_folder / "source", open_folder / "state"
    source.mkdir()
    making.directory(source, "1.0")
    state.mkdir()
    state.chmod(0o555)
    store = making.store(source, state)
    with (
        as_nobody(),
        pytest.raises(ReleaseError, match=r"state/releases: no permission for uid \d+; run"),
    ):
        install(store, "1.0")
    assert list(state.iterdir()) == []
    state.chmod(0o755)
    install(store, "1.0")
    shutil.copytree(store.directory / "1.0", store.directory / "kept")
    (store.directory).chmod(0o555)
    with as_nobody(), pytest.raises(ReleaseError, match="no permission"):
        store.point("edge", "1.0")
    store.directory.chmod(0o755)


def test_without_permission_for_the_source_nothing_happens(open_folder: Path) -> None:
    source = open_folder / "source"
    source.mkdir()
    secret = making.directory(source, "1.0") / "lib" / "code.py"
    secret.chmod(0o000)
    state = open_folder / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, NOBODY, NOBODY)
    store = making.store(source, state)
    with as_nobody(), pytest.raises(ReleaseError, match=f"{secret}: no permission"):
        install(store, "1.0")
    assert left(store) == []
    source.chmod(0o000)
    with as_nobody(), pytest.raises(ReleaseError, match=r"source.*: no permission"):
        install(store, "1.0")
    source.chmod(0o755)


@pytest.mark.all
class TestRealDisks:
    def test_too_small_for_a_directory_is_seen_before(self, source: Path, mount: Mount) -> None:
        (making.directory(source, "1.0") / "big").write_bytes(b"x" * (4 << 20))
        store = making.store(source, mount("size=3m"))
        with pytest.raises(ReleaseError, match=r"has 3\.0 MiB free and about 5\.0 MiB are needed"):
            install(store, "1.0")
        assert left(store) == []

    def test_too_small_for_what_is_in_a_wheel_is_seen_before_it_is_unpacked(self, source: Path, mount: Mount) -> None:
        making.wheel(source, "1.0", code="#" * (8 << 20))
        disk = mount("size=12m")
        store = making.store(source, disk)
        with pytest.raises(ReleaseError, match="are needed"):
            install(store, "1.0")
        assert left(store) == []

    @pytest.mark.parametrize("kind", ["directory", "wheel"])
    def test_a_disk_that_fills_up_meanwhile_is_as_before(self, source: Path, mount: Mount, kind: str) -> None:
        making.directory(source, "0.9")
        if kind == "directory":
            made = making.directory(source, "1.0")
            for number in range(60):
                (made / "lib" / f"{number}.py").touch()
        else:
            making.wheel(source, "1.0")
        disk = mount("size=8m,nr_inodes=50" if kind == "directory" else "size=8m,nr_inodes=34")
        store = making.store(source, disk)
        before = install(store, "0.9")
        free = os.statvfs(disk).f_ffree
        with pytest.raises(ReleaseError, match="the disk is full"):
            install(store, "1.0")
        assert left(store) == ["0.9"]
        assert store.verify(before) == []
        assert os.statvfs(disk).f_ffree == free

    def test_pip_that_fills_the_disk_is_told_as_that(self, source: Path, mount: Mount) -> None:
        making.sdist(source, "1.0", before="open(directory + '/big', 'wb').write(b'x' * (16 << 20))")
        disk = mount("size=6m")
        store = making.store(source, disk)
        with pytest.raises(ReleaseError, match="the disk is full"):
            install(store, "1.0")
        assert left(store) == []
        assert os.statvfs(disk).f_bfree * os.statvfs(disk).f_frsize > 5 << 20

    def test_a_disk_without_room_for_a_link_leaves_the_link(self, source: Path, mount: Mount) -> None:
        making.directory(source, "1.0")
        making.directory(source, "2.0")
        disk = mount("size=8m,nr_inodes=200")
        store = making.store(source, disk)
        install(store, "1.0")
        install(store, "2.0")
        store.point("edge", "1.0")
        for number in range(os.statvfs(disk).f_ffree):
            (disk / f"filler{number}").touch()
        with pytest.raises(ReleaseError, match="the disk is full"):
            store.point("edge", "2.0")
        assert store.current("edge") == "1.0"

    def test_a_disk_that_cannot_be_written_is_told_as_that(self, source: Path, mount: Mount) -> None:
        making.directory(source, "1.0")
        making.directory(source, "2.0")
        disk = mount("size=8m")
        store = making.store(source, disk)
        before = install(store, "1.0")
        store.point("edge", "1.0")
        subprocess.run([program("mount"), "-o", "remount,ro", disk], check=True)
        for attempt in (lambda: install(store, "2.0"), lambda: store.prune([])):
            with pytest.raises(ReleaseError, match="mounted read-only"):
                attempt()
        assert store.verify(before) == []
        assert store.current("edge") == "1.0"
