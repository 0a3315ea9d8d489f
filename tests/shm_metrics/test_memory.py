"""What the kernel is asked for, and what it may not give."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import prctl
import pytest

from shm_metrics import Registry, memory
from shm_metrics.errors import SegmentForeign, SegmentFull, SegmentTruncated
from shm_metrics.names import FOLDER
from tests.kit.companion import ROOT
from tests.kit.descriptors import descriptors
from tests.kit.users import COMMON, User, needs_users
from tests.shm_metrics.children import finish

PATIENCE = 60.0
NOBODY = 65534


@pytest.fixture
def name() -> Iterator[str]:
    one = f"shm_metrics.test-{uuid.uuid4().hex}.1"
    yield one
    path = FOLDER / one
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def test_memory_by_name_is_made_once_and_for_its_user(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        memory.open_named(name, make=False)
    one = memory.open_named(name, make=True)
    other = memory.open_named(name, make=True)
    assert memory.identity(one) == memory.identity(other)
    assert os.fstat(one).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(one)
    memory.unlink(name)
    memory.unlink(name)
    os.close(one)
    os.close(other)


@pytest.mark.parametrize("kind", ["directory", "link", "pipe", "open to others"])
def test_what_somebody_else_may_have_put_there_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = FOLDER / name
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "victim").touch(0o600)
        path.symlink_to(tmp_path / "victim")
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.touch()
        path.chmod(0o666)
    before = descriptors()
    with pytest.raises(SegmentForeign):
        memory.open_named(name, make=True)
    assert descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_uses_that_of_another_user_only_if_it_was_handed_over(name: str) -> None:
    """Who can truncate it could end the process of root by SIGBUS."""
    (FOLDER / name).touch(0o600)
    os.chown(FOLDER / name, NOBODY, NOBODY)
    with pytest.raises(SegmentForeign, match="belongs to"):
        memory.open_named(name, make=False)
    fd = memory.open_named(name, make=False, of_others=True)
    os.close(memory.reopened(fd))

    def other() -> None:
        os.setuid(NOBODY - 1)
        with pytest.raises(SegmentForeign, match="belongs to another user"):
            memory.reopened(fd)
        with pytest.raises(SegmentForeign, match="belongs to another user"):
            memory.open_named(name, make=False)

    assert finish(other) == 0
    os.close(fd)


def test_memory_without_a_name_cannot_be_made_smaller() -> None:
    fd = memory.unnamed()
    memory.resize(fd, 8192)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 4096)
    os.close(fd)


def test_what_became_shorter_is_not_mapped() -> None:
    fd = memory.unnamed()
    memory.resize(fd, 4096)
    with pytest.raises(SegmentTruncated):
        memory.mapped(fd, 4096, 4096)
    os.close(fd)


def test_a_descriptor_too_many_is_an_error_of_this_package() -> None:
    def work() -> None:
        fd = memory.unnamed()
        memory.resize(fd, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1, fd + 1))
        with pytest.raises(SegmentFull, match=os.strerror(errno.EMFILE)):
            memory.mapped(fd, 0, 4096)
        with pytest.raises(SegmentForeign, match=os.strerror(errno.EMFILE)):
            memory.reopened(fd)

    assert finish(work) == 0


def test_a_limit_of_file_size_is_an_error_of_this_package() -> None:
    def work() -> None:
        fd = memory.unnamed()
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with pytest.raises(SegmentFull, match=os.strerror(errno.EFBIG)):
            memory.resize(fd, 8192)
        with pytest.raises(SegmentFull, match=os.strerror(errno.EFBIG)):
            memory.back(fd, 4096, 4096)

    assert finish(work) == 0


def test_a_closed_descriptor_is_of_no_file() -> None:
    fd = memory.unnamed()
    there = memory.identity(fd)
    os.close(fd)
    assert memory.identity(fd) != there
    assert memory.identity(-1) != there


# In a mount namespace of its own, whose /dev/shm has room for one block and a bit.
FULL = """
import os
from pathlib import Path
from shm_metrics import Registry, SegmentFull
from shm_metrics.layout import Geometry

GEOMETRY = Geometry(slots=3, cells=512, definitions=4096)
registry = Registry.open("tight", GEOMETRY)
first = registry.counter("first_total", "First.")
first.inc(7)
wide = tuple(float(n) for n in range(100))
made = [registry.histogram(f"wide_{n}", "Takes room.", bounds=wide) for n in range(20)]
for one in made:
    one.observe(50.0)
first.inc()
assert "No space left" in registry.trouble, registry.trouble
shown = {one.shape.name: one.members[0].cells for one in registry.collect()}
assert shown["first_total"] == [8.0]
assert all(shown[f"wide_{n}"][0] == 50.0 for n in range(20))

# Nothing can be made either, and what was begun does not stay.
try:
    Registry.open("other", GEOMETRY)
except SegmentFull as error:
    print(error)
assert [one.name for one in Path("/dev/shm").iterdir()] == ["shm_metrics.tight.1", "ballast"]

# With room again all of it moves in.
Path("/dev/shm/ballast").unlink()
os.system("mount -o remount,size=4m /dev/shm")
registry.collect()
assert registry.trouble == ""
reader = Registry.open("tight", GEOMETRY)
shown = {one.shape.name: one.members[0].cells for one in reader.collect()}
assert shown["first_total"] == [8.0]
assert all(shown[f"wide_{n}"][0] == 50.0 for n in range(20))
print("done")
"""
NAMESPACE = ["unshare", "--mount", "--fork", "sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=64k none /dev/shm && head -c 8192 /dev/zero >/dev/shm/ballast && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_full_memory_stops_nobody() -> None:
    if subprocess.run([*NAMESPACE, MOUNT, "sh", "true"], check=False, capture_output=True, timeout=PATIENCE).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(
        [*NAMESPACE, MOUNT, "sh", sys.executable, "-c", FULL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["no memory for it: No space left on device", "done"]


# ---- several users ----


@needs_users
def test_memory_by_name_is_had_by_those_who_share_it_and_by_nobody_else(name: str) -> None:
    share = memory.Share(frozenset({1001, 1002}), COMMON)
    User(1001, (COMMON,)).run(lambda: memory.open_named(name, make=True, share=share))
    there = (FOLDER / name).stat()
    assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (1001, COMMON, 0o660)
    User(1002, (COMMON,)).run(lambda: memory.open_named(name, make=True, share=share))

    def refused(share: memory.Share | None) -> str:
        with pytest.raises(SegmentForeign) as error:
            memory.open_named(name, make=True, share=share)
        return str(error.value)

    assert User(1002).run(lambda: refused(share)) == "it belongs to another user"
    others = memory.Share(frozenset({1003}), COMMON)
    assert User(1002, (COMMON,)).run(lambda: refused(others)) == "it belongs to the user 1001"
    assert User(1002, (COMMON,)).run(lambda: refused(None)) == "it belongs to the user 1001"
    elsewhere = memory.Share(frozenset({1001}), COMMON + 1)
    told = User(1002, (COMMON, COMMON + 1)).run(lambda: refused(elsewhere))
    assert told == "others may write it (mode 660)"


@needs_users
def test_only_who_made_it_takes_its_name_away(name: str) -> None:
    """As far as /dev/shm is sticky; who starts next goes on counting in it."""
    share = memory.Share(frozenset({1001, 1002}), COMMON)
    User(1001, (COMMON,)).run(lambda: memory.open_named(name, make=True, share=share))
    User(1002, (COMMON,)).run(lambda: memory.unlink(name))
    assert (FOLDER / name).exists()
    User(1001).run(lambda: memory.unlink(name))
    assert not (FOLDER / name).exists()


@needs_users
@pytest.mark.parametrize("dumpable", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_another_user_goes_on_counting_in_what_was_handed_over(name: str, *, named: bool, dumpable: bool) -> None:
    """One that may not be dumped, as with TLS, has a /proc/self that belongs to root: it opens its own all the same."""
    share = memory.Share(frozenset({1001, 1002}), COMMON)
    fd = -1

    def made() -> None:
        one = Registry()
        one.counter("calls_total", "Calls.").inc(3)
        if named:
            one.move_to(name.split(".")[1], share=share)
        else:
            one.move_off(share=share)
        socket.send_fds(ours, [b"."], [one.fd])

    def goes_on() -> float:
        prctl.set_dumpable(int(dumpable))
        other = Registry()
        calls = other.counter("calls_total", "Calls.")
        other.move_into(fd, share=share)
        calls.inc(4)
        return other.collect()[0].members[0].cells[0]

    ours, theirs = socket.socketpair()
    with ours, theirs:
        User(1001, (COMMON,)).run(made)
        _, [fd], _, _ = socket.recv_fds(theirs, 1, 1)
    assert User(1002, (COMMON,)).run(goes_on) == "7.0"
    os.close(fd)


@needs_users
def test_a_group_that_is_not_ours_cannot_be_given_it(name: str) -> None:
    def refused() -> str:
        before = descriptors()
        with pytest.raises(SegmentForeign) as error:
            memory.open_named(name, make=True, share=memory.Share(frozenset({1002}), COMMON))
        assert descriptors() == before
        return str(error.value)

    assert f"cannot be given to the group {COMMON}" in User(1001).run(refused)
