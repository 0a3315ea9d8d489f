from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap.address import MAX_UNIX_PATH
from hotswap.errors import PermissionDenied, UsageError
from hotswap.runtime import VARIABLE, Runtime, default_runtime_dir
from tests.kit.waiting import readable

PATIENCE = 10.0
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make directories of others")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    made = Runtime(tmp_path / "run", "edge")
    made.prepare()
    return made


@pytest.fixture
def bound(runtime: Runtime) -> Iterator[tuple[int, int]]:
    control, handover = runtime.bind()
    yield control, handover
    for fd in (control, handover):
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- the directory -----------------------------------------------------------------------------------


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        runtime = Runtime(tmp_path / "deep" / "run", "edge")
        runtime.prepare()
    finally:
        os.umask(old)
    assert mode(runtime.path) == 0o700
    runtime.prepare()  # and again by the next generation


@pytest.mark.parametrize("bits", [0o701, 0o710, 0o770, 0o777])
def test_a_directory_that_others_may_enter_is_refused(runtime: Runtime, bits: int) -> None:
    runtime.path.chmod(bits)
    with pytest.raises(PermissionDenied, match="chmod 0700"):
        runtime.prepare()


@needs_root
def test_a_directory_of_somebody_else_is_refused(runtime: Runtime) -> None:
    os.chown(runtime.path, NOBODY, NOBODY)
    with pytest.raises(PermissionDenied, match="belongs to uid 65534"):
        runtime.prepare()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "edge").touch(mode=0o600)
    with pytest.raises(PermissionDenied):
        Runtime(tmp_path, "edge").prepare()


def test_a_base_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").touch()
    with pytest.raises(PermissionDenied, match="give another --runtime-dir"):
        Runtime(tmp_path / "base", "edge").prepare()


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    base = tmp_path / ("x" * MAX_UNIX_PATH)
    with pytest.raises(UsageError, match="shorter --runtime-dir"):
        Runtime(base, "edge")
    assert not base.exists()


def test_the_longest_path_allowed_can_be_bound(tmp_path: Path) -> None:
    taken = len(str(tmp_path)) + len("/" + "/edge/handover.sock")
    runtime = Runtime(tmp_path / ("x" * (MAX_UNIX_PATH - taken)), "edge")
    runtime.prepare()
    assert len(str(runtime.handover_path)) == MAX_UNIX_PATH
    for fd in runtime.bind():
        os.close(fd)


def test_the_default_comes_from_the_environment_or_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/some/where")
    assert default_runtime_dir() == Path("/some/where")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_runtime_dir() == Path("/run/hotswap")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_runtime_dir() == Path("/run/user/1000/hotswap")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(UsageError, match="--runtime-dir"):
        default_runtime_dir()


# -- the lock ----------------------------------------------------------------------------------------


def test_only_one_holds_the_lock(runtime: Runtime) -> None:
    lock = runtime.try_lock()
    assert lock is not None
    assert not os.get_inheritable(lock)
    assert runtime.try_lock() is None
    os.close(lock)
    again = runtime.try_lock()
    assert again is not None
    os.close(again)


def test_the_lock_travels_with_its_descriptor(runtime: Runtime) -> None:
    lock = runtime.try_lock()
    assert lock is not None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"."], [lock])
        _, [passed], _, _ = socket.recv_fds(theirs, 1, 1)
    os.close(lock)
    assert runtime.try_lock() is None, "closing the sender's copy released the lock"
    os.close(passed)
    again = runtime.try_lock()
    assert again is not None
    os.close(again)


def test_the_lock_ends_with_its_holder(runtime: Runtime) -> None:
    program = (
        "import sys; from pathlib import Path; from hotswap.runtime import Runtime\n"
        "assert Runtime(Path(sys.argv[1]), 'edge').try_lock() is not None\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(runtime.path.parent)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert readable(holder.stdout.fileno(), within=PATIENCE)
        assert holder.stdout.readline() == b"held\n"
        assert runtime.try_lock() is None
        holder.kill()
        holder.wait(PATIENCE)
        lock = runtime.try_lock()
    assert lock is not None, "a killed holder still holds the lock"
    os.close(lock)


def test_what_a_lock_file_says_does_not_matter(runtime: Runtime) -> None:
    """Pids are reused: one that lives, left behind in a file, proves nothing."""
    runtime.lock_path.write_text(f"{os.getpid()}\n")
    lock = runtime.try_lock()
    assert lock is not None
    os.close(lock)


def test_the_lock_is_never_taken_through_a_link(runtime: Runtime, tmp_path: Path) -> None:
    target = tmp_path / "target"
    runtime.lock_path.symlink_to(target)
    with pytest.raises(PermissionDenied):
        runtime.try_lock()
    assert not target.exists()


def test_it_is_a_flock_of_the_file_description(runtime: Runtime) -> None:
    """A POSIX lock would be dropped when any descriptor of the file is closed in the process."""
    lock = runtime.try_lock()
    assert lock is not None
    os.close(os.open(runtime.lock_path, os.O_RDWR))
    other = os.open(runtime.lock_path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    os.close(lock)


# -- the sockets -------------------------------------------------------------------------------------


def test_nobody_listens_at_first(runtime: Runtime) -> None:
    assert runtime.connect() is None


def test_whoever_is_bound_is_reached(runtime: Runtime, bound: tuple[int, int]) -> None:
    sock = runtime.connect()
    assert sock is not None
    with sock, socket.socket(fileno=os.dup(bound[1])) as listener:
        assert sock.type == socket.SOCK_SEQPACKET
        assert readable(listener.fileno(), within=PATIENCE)
        accepted, _ = listener.accept()
        accepted.close()


def test_the_sockets_are_private_do_not_block_and_are_not_inherited(runtime: Runtime, bound: tuple[int, int]) -> None:
    for path, fd in zip((runtime.control_path, runtime.handover_path), bound, strict=True):
        assert mode(path) == 0o600
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)


def test_binding_leaves_the_umask_alone(runtime: Runtime) -> None:
    old = os.umask(0o027)
    try:
        for fd in runtime.bind():
            os.close(fd)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)


def test_a_caller_before_the_first_accept_has_proven_who_it_is(runtime: Runtime, bound: tuple[int, int]) -> None:
    caller = runtime.connect()
    assert caller is not None
    with caller, socket.socket(fileno=os.dup(bound[1])) as listener:
        caller.send(b"early")
        accepted, _ = listener.accept()
        with accepted:
            _, ancillary, _, _ = accepted.recvmsg(16, 1024)
    assert any(kind == socket.SCM_CREDENTIALS for _, kind, _ in ancillary)


def test_stale_sockets_answer_nobody_and_are_replaced(runtime: Runtime, bound: tuple[int, int]) -> None:
    for fd in bound:
        os.close(fd)  # as after kill -9: the files stay
    assert runtime.handover_path.is_socket()
    assert runtime.connect() is None
    control, handover = runtime.bind()
    sock = runtime.connect()
    assert sock is not None
    sock.close()
    os.close(control)
    os.close(handover)


@pytest.mark.parametrize("what", ["file", "link"])
def test_other_things_in_place_of_the_socket_are_nobody(runtime: Runtime, what: str) -> None:
    if what == "file":
        runtime.handover_path.touch()
    else:
        runtime.handover_path.symlink_to(runtime.path / "nowhere")
    assert runtime.connect() is None
    for fd in runtime.bind():
        os.close(fd)
    assert runtime.handover_path.is_socket()


def test_the_end_of_the_chain_leaves_the_lock_file_only(runtime: Runtime, bound: tuple[int, int]) -> None:
    lock = runtime.try_lock()
    assert lock is not None
    runtime.unlink()
    assert [path.name for path in runtime.path.iterdir()] == ["lock"]
    runtime.unlink()  # nothing left to do is fine
    os.close(lock)


@needs_root
def test_a_socket_of_somebody_else_is_a_matter_of_permission(runtime: Runtime, bound: tuple[int, int]) -> None:
    program = (
        "import os, sys; from pathlib import Path; from hotswap.runtime import Runtime\n"
        "from hotswap.errors import PermissionDenied\n"
        "runtime = Runtime(Path(sys.argv[1]), 'edge'); os.setuid(65534)\n"
        "try:\n    runtime.connect()\n"
        "except PermissionDenied:\n    sys.exit(7)"
    )
    base = runtime.path.parent
    for directory in (runtime.path, base, *base.parents):
        if directory.stat().st_uid == os.geteuid() and directory.is_relative_to(base.parent):
            directory.chmod(0o755)  # only the socket's own mode is in the way
    found = subprocess.run([sys.executable, "-c", program, str(base)], check=False, timeout=PATIENCE)
    assert found.returncode == PermissionDenied.exit_code
