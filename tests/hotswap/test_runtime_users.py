"""The runtime directory of several users, who have a group in common and no capabilities, as in containers."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hotswap.errors import PermissionDenied
from hotswap.runtime import Runtime
from tests.kit.users import COMMON, User, needs_users

pytestmark = needs_users

PATIENCE = 10.0
ONE, OTHER = User(1001, (COMMON,)), User(1002, (COMMON,))
PEERS = frozenset({ONE.uid, OTHER.uid})


@pytest.fixture
def volume() -> Iterator[Path]:
    """As a pod with an fsGroup mounts it. Not in pytest's own directory, which others may not enter."""
    with TemporaryDirectory(prefix="hs", dir="/tmp") as directory:
        made = Path(directory)
        os.chown(made, 0, COMMON)
        made.chmod(0o2775)
        yield made


def state(path: Path) -> tuple[int, int, int]:
    info = path.stat(follow_symlinks=False)
    return info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)


def own(volume: Path, peers: frozenset[int] = PEERS) -> None:
    """Start cold. The sockets stay where they are, as after an end that was none."""
    runtime = Runtime(volume, "edge", peers)
    runtime.prepare()
    assert runtime.try_lock() is not None
    runtime.bind()
    runtime.share()


def call(volume: Path, peers: frozenset[int] = PEERS) -> str:
    """Come as the next one. What went wrong."""
    runtime = Runtime(volume, "edge", peers)
    try:
        runtime.prepare()
        sock = runtime.connect()
        lock = runtime.try_lock()
    except PermissionDenied as error:
        return str(error)
    return f"connected: {sock is not None}, locked: {lock is not None}"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_with_peers_all_of_it_is_open_to_the_group_and_to_nobody_else(volume: Path, mask: int) -> None:
    def masked() -> None:
        os.umask(mask)
        own(volume)

    ONE.run(masked)
    assert state(volume / "edge") == (1001, COMMON, 0o2770)
    for name in ("lock", "control.sock", "handover.sock"):
        assert state(volume / "edge" / name) == (1001, COMMON, 0o660)
    assert OTHER.run(lambda: call(volume)) == "connected: False, locked: True"
    OTHER.run(lambda: own(volume))
    assert state(volume / "edge" / "handover.sock") == (1002, COMMON, 0o660)


def test_without_a_setgid_bit_above_the_directory_has_the_group_of_its_owner(volume: Path) -> None:
    os.chown(volume, 1001, 0)
    volume.chmod(0o755)
    ONE.run(lambda: own(volume))
    assert state(volume / "edge") == (1001, 1001, 0o2770)
    assert "is for group 1001, which this process is not in: give both" in OTHER.run(lambda: call(volume))
    assert User(1002, (1001,)).run(lambda: call(volume)) == "connected: False, locked: True"


def test_what_was_there_before_there_were_peers_is_opened_by_its_owner(volume: Path) -> None:
    ONE.run(lambda: own(volume, frozenset()))
    (volume / "edge").chmod(0o700)
    told = OTHER.run(lambda: call(volume))
    assert "admits nobody else (mode 0700): whoever serves there has to list 1002 in upgrade.peer_uids" in told
    ONE.run(lambda: own(volume))
    for name in ("lock", "control.sock", "handover.sock"):
        assert state(volume / "edge" / name) == (1001, COMMON, 0o660)
    assert OTHER.run(lambda: call(volume)) == "connected: False, locked: True"


def test_a_directory_of_somebody_who_is_not_listed_is_refused(volume: Path) -> None:
    ONE.run(lambda: own(volume))
    for peers in (frozenset[int](), frozenset({1003})):
        told = OTHER.run(lambda peers=peers: call(volume, peers))  # type: ignore[misc]
        assert "belongs to uid 1001: give another --runtime-dir, or list 1001 in upgrade.peer_uids here" in told


def test_a_group_that_is_not_ours_is_told(volume: Path) -> None:
    ONE.run(lambda: own(volume))
    told = User(1002).run(lambda: call(volume))
    assert f"is for group {COMMON}, which this process is not in: give both sides a common group" in told


def test_root_without_capabilities_needs_the_group_as_anybody_does(volume: Path) -> None:
    def confined(groups: tuple[int, ...]) -> str:
        program = (
            "import sys; from pathlib import Path; from hotswap.runtime import Runtime\n"
            "from hotswap.errors import PermissionDenied\n"
            "try:\n    Runtime(Path(sys.argv[1]), 'edge', frozenset({1001})).prepare()\n"
            "except PermissionDenied as error:\n    print(error)"
        )
        argv = User(0, groups).command([sys.executable, "-c", program, str(volume)])
        return subprocess.run(argv, check=True, timeout=PATIENCE, capture_output=True, text=True).stdout

    ONE.run(lambda: own(volume))
    assert "which this process is not in" in confined(())
    assert confined((COMMON,)) == ""


def test_with_peers_others_may_not_enter_either(volume: Path) -> None:
    ONE.run(lambda: own(volume))
    (volume / "edge").chmod(0o2775)
    assert "chmod o-rwx it" in OTHER.run(lambda: call(volume))


def test_whoever_serves_must_be_listed(volume: Path) -> None:
    """The group is not enough: any member could have put a socket there."""
    ONE.run(lambda: own(volume))

    runtime = Runtime(volume, "edge", frozenset({1001}))
    (volume / "edge" / "handover.sock").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(runtime.handover_path))
        (volume / "edge" / "handover.sock").chmod(0o666)
        User(1003).run(lambda: listener.listen(8))  # from here on it is theirs
        told = OTHER.run(lambda: call(volume, frozenset({1001})))
        assert "edge is served by uid 1003, who has no part in this: list 1003 in upgrade.peer_uids here" in told
        assert OTHER.run(lambda: call(volume, frozenset({1001, 1003}))) == "connected: True, locked: True"
