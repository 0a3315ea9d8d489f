"""The runtime directory of one name: two sockets and a lock.

    <runtime>/<name>/control.sock    HTTP and JSON
    <runtime>/<name>/handover.sock   SOCK_SEQPACKET: the handover
    <runtime>/<name>/lock            flock, held for life by the owner of the name

Only the lock permits a cold start. The sockets are unlinked and bound only under the lock, after one
more attempt to connect. The lock belongs to the open file description, flock(2), so it travels in a
handover without a gap; nobody calls LOCK_UN, the kernel releases it with the last copy of the fd.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path

from hotswap.address import MAX_UNIX_PATH
from hotswap.errors import PermissionDenied, UsageError

VARIABLE = "HOTSWAP_RUNTIME_DIR"
_CONNECT_SECONDS = 1.0
_BACKLOG = 128


def default_runtime_dir() -> Path:
    """Where runtime directories live if nobody says otherwise."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/run/hotswap")
    session = os.environ.get("XDG_RUNTIME_DIR")
    if not session:
        raise UsageError(f"no runtime directory: set {VARIABLE}, XDG_RUNTIME_DIR, or give --runtime-dir")
    return Path(session) / "hotswap"


class Runtime:
    """Paths and locks of one name."""

    def __init__(self, base: Path, name: str) -> None:
        self.name = name
        self.path = base.absolute() / name
        self.control_path = self.path / "control.sock"
        self.handover_path = self.path / "handover.sock"
        self.lock_path = self.path / "lock"
        if len(os.fsencode(self.handover_path)) > MAX_UNIX_PATH:
            raise UsageError(
                f"{self.handover_path} is longer than a unix socket's path may be ({MAX_UNIX_PATH} bytes): "
                "use a shorter --runtime-dir"
            )

    def prepare(self) -> None:
        """Make the directory, 0700, and refuse one that others may write to. Raises `PermissionDenied`."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            info = self.path.stat()
        except OSError as error:
            raise PermissionDenied(
                f"the runtime directory {self.path} cannot be made: {error.strerror}; give another --runtime-dir"
            ) from None
        if not stat.S_ISDIR(info.st_mode) or info.st_uid not in {os.geteuid(), 0}:
            raise PermissionDenied(
                f"the runtime directory {self.path} belongs to uid {info.st_uid}: give another --runtime-dir"
            )
        if info.st_mode & 0o077:
            raise PermissionDenied(f"others may enter the runtime directory {self.path}: chmod 0700 it")

    def try_lock(self) -> int | None:
        """The locked fd, or None while another generation holds it. Raises `PermissionDenied`."""
        try:
            fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PermissionDenied(f"{self.lock_path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def connect(self) -> socket.socket | None:
        """A connection to the serving generation, or None if nobody listens. Raises `PermissionDenied`."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(_CONNECT_SECONDS)
        try:
            sock.connect(str(self.handover_path))
        except PermissionError:
            sock.close()
            raise PermissionDenied(f"{self.handover_path} belongs to another user") from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError, TimeoutError, BlockingIOError):
            sock.close()
            return None
        return sock

    def bind(self) -> tuple[int, int]:
        """Fresh (control, handover) sockets, listening. Only under the lock."""
        return (
            _listen(self.control_path, socket.SOCK_STREAM),
            _listen(self.handover_path, socket.SOCK_SEQPACKET),
        )

    def unlink(self) -> None:
        """Take the sockets away at the end of the chain. Only under the lock; the lock file stays."""
        for path in (self.control_path, self.handover_path):
            path.unlink(missing_ok=True)


def _listen(path: Path, kind: socket.SocketKind) -> int:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        # Messages may arrive before accept(2): the listener must ask for their credentials already.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.setblocking(False)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise PermissionDenied(f"{path} cannot be bound: {error.strerror}") from None
    return sock.detach()
