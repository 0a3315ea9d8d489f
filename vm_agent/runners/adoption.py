"""Finding a sidecar that runs already: who serves its control socket, and that this is no accident of numbers.

The kernel names whoever called listen(2) on the socket (SO_PEERCRED, unix(7)), also if that one hangs. A generation
that comes to own listens again, so it is the serving one. If it answers, ``GET /status`` must name the same process,
else it must hold the lock. A pidfd is opened first and looked at last: a pid that was given to somebody else meanwhile
shows itself.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from hotswap.control_client import CONTROL_SOCKET, ControlClient
from hotswap.errors import HotswapError

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
ANSWER_SECONDS = 2.0
ANNOUNCE_SECONDS = 5.0


@dataclass(frozen=True)
class Found:
    """The serving generation."""

    pid: int
    uid: int
    ready: bool
    """It answered, and serves."""
    answered: bool = True


async def find(runtime_dir: Path, name: str) -> Found | None:
    """Who serves this name; None if nobody does, or somebody who cannot be believed."""
    return await asyncio.to_thread(_find, runtime_dir, name)


async def announce(runtime_dir: Path, name: str) -> bool:
    """Have it tell everything again: MAINPID, READY, its listeners. False: it cannot, or does not answer."""
    client = ControlClient(runtime_dir, name, timeout=ANNOUNCE_SECONDS)
    try:
        await asyncio.to_thread(client.post, "/announce", {})
    except HotswapError:
        return False
    return True


def _find(runtime_dir: Path, name: str) -> Found | None:
    listening = _listening(runtime_dir / name / CONTROL_SOCKET)
    if listening is None:
        return None
    pid, uid = listening
    try:
        if uid not in {(runtime_dir / name).stat().st_uid, 0}:
            return None
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        try:
            status = ControlClient(runtime_dir, name, timeout=ANSWER_SECONDS).get("/status?brief")
        except HotswapError:
            status = {}
        believed = status.get("pid", pid) == pid and (bool(status) or holds(pid, runtime_dir / name / "lock"))
        if not believed or select.select([pidfd], [], [], 0)[0]:
            return None
        return Found(pid, uid, status.get("state") in {"serving", "handover"}, answered=bool(status))
    finally:
        os.close(pidfd)


def _listening(path: Path) -> tuple[int, int] | None:
    """(pid, uid) of whoever listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            sock.connect(str(path))
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return (pid, uid) if pid > 0 else None


def holds(pid: int, path: Path) -> bool:
    """Whether this process has that file open."""
    try:
        wanted = path.stat()
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                info = fd.stat()
            except OSError:
                continue
            if (info.st_dev, info.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    except OSError:
        return False
    return False
